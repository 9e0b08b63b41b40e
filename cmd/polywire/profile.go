package main

import (
	"context"
	"errors"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"

	"github.com/spf13/cobra"
)

// profileFlags are for looking at a server under load.
type profileFlags struct{ cpu, heap string }

func (p *profileFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&p.cpu, "cpu-profile", "", "write a CPU profile of the whole run to this `file`")
	c.Flags().StringVar(&p.heap, "heap-profile", "", "when told to end, with connections still open, write what is in memory to this `file`")
}

// during runs serve with profiles. The context that serve gets ends after
// ctx, when the heap has been written.
func (p *profileFlags) during(ctx context.Context, serve func(context.Context) error) (err error) {
	if p.cpu != "" {
		f, err := os.Create(p.cpu)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return errors.Join(err, f.Close())
		}
		defer func() {
			pprof.StopCPUProfile()
			err = errors.Join(err, f.Close())
		}()
	}
	if p.heap == "" {
		return serve(ctx)
	}
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var (
		heapErr error
		write   sync.WaitGroup
	)
	write.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer write.Done()
		defer cancel()
		heapErr = writeHeap(p.heap)
	})
	err = serve(inner)
	if stop() { // it ended by itself
		return err
	}
	write.Wait()
	return errors.Join(err, heapErr)
}

func writeHeap(path string) error {
	f, err := os.Create(path) //nolint:gosec // a flag says where
	if err != nil {
		return err
	}
	runtime.GC() // the profile is that of the last collection
	return errors.Join(pprof.WriteHeapProfile(f), f.Close())
}
