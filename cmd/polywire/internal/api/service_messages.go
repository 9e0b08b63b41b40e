package api

import (
	"context"
	"errors"
	"time"

	"github.com/polywire/polywire"
	v1 "github.com/polywire/polywire/cmd/polywire/apiv1"
)

// Bounds of calls.
const (
	maxAsked       = 1000
	maxAnswers     = 16 << 20 // bytes of all answers together
	defaultWait    = 5 * time.Second
	maxWait        = 60 * time.Second
	maxCloseReason = 123 // RFC 6455, section 5.5
)

// Send sends to connections.
func (s *service) Send(ctx context.Context, in *v1.SendRequest) (*v1.SendResponse, error) {
	to, single, err := s.target(in.GetTarget())
	if err != nil {
		return nil, err
	}
	var text *string
	if t, ok := in.GetPayload().(*v1.SendRequest_Text); ok {
		text = &t.Text
	}
	var raw []byte
	if b, ok := in.GetPayload().(*v1.SendRequest_Bytes); ok {
		raw = nonNil(b.Bytes)
	}
	payload, opts, err := outgoing(in.GetKind(), in.GetHeader(), in.GetJson(), text, raw)
	if err != nil {
		return nil, err
	}
	if in.GetMustReach() || single {
		opts = append(opts, polywire.MustReach())
	}
	if in.GetVolatile() {
		opts = append(opts, polywire.Volatile())
	}
	if err := to.Send(ctx, in.GetKind(), payload, opts...); err != nil {
		return nil, err
	}
	return &v1.SendResponse{}, nil
}

// outgoing checks what is common to all messages.
func outgoing(kind string, header map[string]string, json *v1.Json, text *string, raw []byte) (p polywire.Payload, opts []polywire.SendOption, err error) {
	if err := checkKind(kind); err != nil {
		return p, nil, err
	}
	if err := checkHeader(header); err != nil {
		return p, nil, err
	}
	for name, value := range header {
		opts = append(opts, polywire.WithHeader(name, value))
	}
	p, err = payloadIn(json, text, raw)
	return p, opts, err
}

// Call asks connections.
func (s *service) Call(ctx context.Context, in *v1.CallRequest) (*v1.CallResponse, error) {
	to, single, err := s.target(in.GetTarget())
	if err != nil {
		return nil, err
	}
	wait, err := duration("timeout", in.GetTimeout(), maxWait)
	if err != nil {
		return nil, err
	}
	if wait == 0 {
		wait = defaultWait
	}
	var text *string
	if t, ok := in.GetPayload().(*v1.CallRequest_Text); ok {
		text = &t.Text
	}
	var raw []byte
	if b, ok := in.GetPayload().(*v1.CallRequest_Bytes); ok {
		raw = nonNil(b.Bytes)
	}
	payload, opts, err := outgoing(in.GetKind(), in.GetHeader(), in.GetJson(), text, raw)
	if err != nil {
		return nil, err
	}
	if !single && in.GetTarget().GetPick() == "" {
		count, cancel := context.WithTimeout(ctx, maxNodeWait)
		n, err := to.Count(count)
		cancel()
		if _, err = missingNodes(err); err != nil {
			return nil, err
		}
		if n > maxAsked {
			return nil, problemf(codeTooMany, "%d connections are there; at most %d are asked at once", n, maxAsked)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var answers []polywire.Answer[polywire.Payload]
	err = to.Call(ctx, in.GetKind(), payload, polywire.Collect(&answers), opts...)
	out := &v1.CallResponse{}
	if out.MissingNodes, err = missingNodes(err); err != nil && (len(answers) == 0 || ctx.Err() == nil) {
		return nil, err
	}
	size := 0
	for _, a := range answers {
		if size += len(a.Value.Data); size > maxAnswers {
			return nil, problemf(codeTooMany, "the answers have more than %d bytes together; they are lost", maxAnswers)
		}
		if a.Err != nil {
			out.Missing++
		}
		out.Answers = append(out.Answers, s.answer(a))
	}
	return out, nil
}

func (s *service) answer(a polywire.Answer[polywire.Payload]) *v1.Answer {
	out := &v1.Answer{Connection: some(a.ID), Node: a.Node}
	if a.Err != nil {
		out.Error = &v1.Failure{Code: valid(string(polywire.CodeOf(a.Err))), Message: "no answer"}
		if e, ok := errors.AsType[*polywire.Error](a.Err); ok {
			out.Error.Message = valid(e.Message)
		}
		return out
	}
	switch f := s.form(a.Value); {
	case f.json != nil:
		out.Payload = &v1.Answer_Json{Json: f.json}
	case f.text != nil:
		out.Payload = &v1.Answer_Text{Text: *f.text}
	case f.bytes != nil:
		out.Payload = &v1.Answer_Bytes{Bytes: f.bytes}
	}
	return out
}

// count tells how many are meant. Of a single connection there must be one.
func (s *service) count(ctx context.Context, t *v1.Target) (to polywire.Target, n int, err error) {
	to, single, err := s.target(t)
	if err != nil {
		return to, 0, err
	}
	if t.GetPick() != "" {
		return to, 0, invalid("target.pick is for messages")
	}
	ctx, cancel := context.WithTimeout(ctx, maxNodeWait)
	defer cancel()
	n, err = to.Count(ctx)
	if _, err = missingNodes(err); err == nil && n == 0 && single {
		err = polywire.ErrNoConnections
	}
	return to, n, err
}

// Disconnect ends connections.
func (s *service) Disconnect(ctx context.Context, in *v1.DisconnectRequest) (*v1.DisconnectResponse, error) {
	code := polywire.CloseForceDisconnect
	if in.GetCode() != 0 {
		if in.GetCode() < 3000 || in.GetCode() > 4999 {
			return nil, invalid("code: want 3000 to 4999")
		}
		code = polywire.CloseCode(in.GetCode())
	}
	if len(in.GetReason()) > maxCloseReason {
		return nil, invalid("reason: want at most %d bytes", maxCloseReason)
	}
	to, n, err := s.count(ctx, in.GetTarget())
	if err == nil {
		reason := in.GetReason()
		if reason == "" {
			reason = "disconnected"
		}
		err = to.Disconnect(ctx, code, reason)
	}
	if err != nil {
		return nil, err
	}
	return &v1.DisconnectResponse{Connections: int32(n)}, nil
}

// Join puts connections into rooms.
func (s *service) Join(ctx context.Context, in *v1.JoinRequest) (*v1.JoinResponse, error) {
	n, err := s.move(ctx, in.GetTarget(), in.GetRooms(), polywire.Target.Join)
	if err != nil {
		return nil, err
	}
	return &v1.JoinResponse{Connections: int32(n)}, nil
}

// Leave takes connections out of rooms.
func (s *service) Leave(ctx context.Context, in *v1.LeaveRequest) (*v1.LeaveResponse, error) {
	n, err := s.move(ctx, in.GetTarget(), in.GetRooms(), polywire.Target.Leave)
	if err != nil {
		return nil, err
	}
	return &v1.LeaveResponse{Connections: int32(n)}, nil
}

func (s *service) move(ctx context.Context, t *v1.Target, rooms []string, do func(polywire.Target, context.Context, ...string) error) (int, error) {
	if err := s.checkNames("rooms", rooms); err != nil {
		return 0, err
	}
	to, n, err := s.count(ctx, t)
	if err != nil {
		return 0, err
	}
	return n, do(to, ctx, rooms...)
}
