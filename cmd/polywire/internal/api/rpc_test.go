package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	v1 "github.com/polywire/polywire/cmd/polywire/apiv1"
	"github.com/polywire/polywire/cmd/polywire/apiv1/apiv1connect"
)

// showKey adds a header to each request.
func showKey(name, value string) connect.Interceptor {
	return connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
			r.Header().Set(name, value)
			return next(ctx, r)
		}
	})
}

// TestRPC has the same operations by gRPC, gRPC-Web and Connect.
func TestRPC(t *testing.T) {
	w := newWorld(t, worldOptions{})
	ada := make(messages, 100)
	w.connect("ada", ada.handle)
	mux := http.NewServeMux()
	for _, p := range Patterns() {
		mux.Handle(p, w.api)
	}
	s := httptest.NewUnstartedServer(mux)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	defer s.Close()
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	defer h2.CloseIdleConnections()
	for name, c := range map[string]struct {
		client *http.Client
		opts   []connect.ClientOption
	}{
		"gRPC":         {&http.Client{Transport: h2}, []connect.ClientOption{connect.WithGRPC()}},
		"gRPC-Web":     {s.Client(), []connect.ClientOption{connect.WithGRPCWeb()}},
		"Connect":      {s.Client(), nil},
		"Connect JSON": {s.Client(), []connect.ClientOption{connect.WithProtoJSON()}},
	} {
		t.Run(name, func(t *testing.T) { w.tryRPC(t, c.client, s.URL, name, ada, c.opts...) })
	}
}

func (w *world) tryRPC(t *testing.T, c *http.Client, url, name string, ada messages, opts ...connect.ClientOption) {
	t.Helper()
	as := func(key string, more ...connect.Interceptor) []connect.ClientOption {
		more = append(more, showKey("Authorization", "Bearer "+secretOf(key)))
		return append(slices.Clip(opts), connect.WithInterceptors(more...))
	}
	send := &v1.SendRequest{Target: &v1.Target{Users: []string{"ada"}}, Kind: "k", Payload: &v1.SendRequest_Json{Json: &v1.Json{Text: []byte(`{"n":18446744073709551615}`)}}}
	m := apiv1connect.NewMessagesClient(c, url, as("send", showKey(idempotencyHeader, strings.ReplaceAll(name, " ", "-")))...)
	for range 2 { // the second is a repetition
		if _, err := m.Send(t.Context(), send); err != nil {
			t.Fatal(err)
		}
	}
	ada.want(t, `k {"n":18446744073709551615}`)
	ada.none(t)
	list, err := apiv1connect.NewConnectionsClient(c, url, as("read")...).ListConnections(t.Context(), &v1.ListConnectionsRequest{User: "ada"})
	if err != nil || len(list.Connections) != 1 || list.Connections[0].GetUser() != "ada" {
		t.Errorf("%v, %v", list, err)
	}
	unknown := &v1.SendRequest{Kind: "k", Target: &v1.Target{All: true}}
	unknown.Target.ProtoReflect().SetUnknown([]byte{0xfa, 0x01, 0x01, 'x'})
	for what, try := range map[string]struct {
		do   func() error
		want connect.Code
		code problemCode
	}{
		"no key": {func() error {
			_, err := apiv1connect.NewMessagesClient(c, url, opts...).Send(t.Context(), send)
			return err
		}, connect.CodeUnauthenticated, ""},
		"the wrong scope": {func() error {
			_, err := apiv1connect.NewMessagesClient(c, url, as("read")...).Send(t.Context(), send)
			return err
		}, connect.CodePermissionDenied, ""},
		"a reused key": {func() error {
			_, err := m.Send(t.Context(), &v1.SendRequest{Target: send.Target, Kind: "other"})
			return err
		}, connect.CodeInvalidArgument, codeKeyReused},
		"no kind": {func() error {
			_, err := apiv1connect.NewMessagesClient(c, url, as("send")...).Send(t.Context(), &v1.SendRequest{Target: send.Target})
			return err
		}, connect.CodeInvalidArgument, codeInvalid},
		"no JSON": {func() error {
			_, err := apiv1connect.NewMessagesClient(c, url, as("send")...).Send(t.Context(), &v1.SendRequest{
				Target: send.Target, Kind: "k", Payload: &v1.SendRequest_Json{Json: &v1.Json{Text: []byte(`{"x`)}},
			})
			return err
		}, connect.CodeInvalidArgument, codeInvalid},
		"nobody": {func() error {
			_, err := apiv1connect.NewMessagesClient(c, url, as("send")...).Send(t.Context(), &v1.SendRequest{
				Target: &v1.Target{Connections: []string{"nobody"}}, Kind: "k",
			})
			return err
		}, connect.CodeNotFound, codeNoConnections},
		"too large": {func() error {
			_, err := apiv1connect.NewConnectionsClient(c, url, as("manage")...).Disconnect(t.Context(), &v1.DisconnectRequest{
				Target: send.Target, Reason: strings.Repeat("x", maxBodyBytes+1),
			})
			return err
		}, connect.CodeResourceExhausted, ""},
		"unknown fields": {func() error {
			_, err := apiv1connect.NewMessagesClient(c, url, as("send")...).Send(t.Context(), unknown)
			return err
		}, connect.CodeInvalidArgument, codeJSON},
	} {
		if what == "unknown fields" && name == "Connect JSON" {
			continue // there are none without names
		}
		err := try.do()
		var e *connect.Error
		if !errors.As(err, &e) || e.Code() != try.want || try.code != "" && e.Meta().Get(codeHeader) != string(try.code) {
			t.Errorf("%s: %v", what, err)
		}
	}
	ada.none(t)
}

// TestConnectByCurl has no protocol header, and unknown names.
func TestConnectByCurl(t *testing.T) {
	w := newWorld(t, worldOptions{})
	w.connect("ada")
	ask := func(body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, apiv1connect.ServersStatsProcedure, strings.NewReader(body))
		as("read")(r)
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		w.api.ServeHTTP(rec, r)
		return rec
	}
	if rec := ask(`{}`); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "connections") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	for _, body := range []string{`{"unheard":"of"}`, `[]`, `{`, ``, `{} {}`} {
		if rec := ask(body); rec.Code != http.StatusBadRequest {
			t.Errorf("%q: %d %s", body, rec.Code, rec.Body)
		}
	}
}
