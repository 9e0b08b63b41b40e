// Command grpc-unary measures unary calls of grpc-go, many at a time on one
// TCP connection: `serve` in one process, `run` in another.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/polywire/polywire/bench/internal/calls"
	"github.com/polywire/polywire/bench/internal/tool"
)

const (
	service = "polywire.bench.Echo"
	method  = "/" + service + "/Echo"
)

func main() { os.Exit(tool.Main("grpc-unary", run)) }

func run(ctx context.Context, args []string, out, _ io.Writer) error {
	if len(args) == 0 {
		return errors.New("want serve or run")
	}
	f := flag.NewFlagSet(args[0], flag.ContinueOnError)
	switch args[0] {
	case "serve":
		listen := f.String("listen", "127.0.0.1:9002", "`address` to listen on")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		ln, err := net.Listen("tcp", *listen)
		if err != nil {
			return err
		}
		return serve(ctx, ln, out)
	case "run":
		var cfg calls.Config
		cfg.Register(f)
		target := f.String("target", "127.0.0.1:9002", "server `address`")
		if err := f.Parse(args[1:]); err != nil {
			return err
		}
		res, err := drive(ctx, *target, cfg)
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(res)
	}
	return fmt.Errorf("%q: want serve or run", args[0])
}

// serve says where it listens, and serves until ctx ends.
func serve(ctx context.Context, ln net.Listener, out io.Writer) error {
	// Workers spare it a goroutine for each call. Larger buffers
	// were tried and gained nothing.
	srv := grpc.NewServer(grpc.NumStreamWorkers(uint32(runtime.NumCPU())))
	srv.RegisterService(&grpc.ServiceDesc{
		ServiceName: service,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Echo", Handler: echo}},
	}, struct{}{})
	defer context.AfterFunc(ctx, srv.Stop)()
	if _, err := fmt.Fprintf(out, "listening on tcp://%s\n", ln.Addr()); err != nil {
		return errors.Join(err, ln.Close())
	}
	return srv.Serve(ln)
}

//nolint:revive // the signature is grpc's
func echo(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	in := new(wrapperspb.BytesValue)
	if err := decode(in); err != nil {
		return nil, err
	}
	return in, nil
}

func drive(ctx context.Context, target string, cfg calls.Config) (res calls.Result, err error) {
	cc, err := grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, cc.Close()) }()
	return calls.Drive(ctx, cfg, func(ctx context.Context, payload []byte) error {
		out := new(wrapperspb.BytesValue)
		if err := cc.Invoke(ctx, method, &wrapperspb.BytesValue{Value: payload}, out); err != nil {
			return err
		}
		if len(out.GetValue()) != len(payload) {
			return fmt.Errorf("an answer of %d bytes", len(out.GetValue()))
		}
		return nil
	})
}
