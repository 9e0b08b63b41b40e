package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/polywire/polywire/cmd/polywire/apiv1/apiv1connect"
)

// operation is one procedure of polywire.proto: what serves its paths and its
// procedure, and what describes it, come from here.
type operation struct {
	procedure string
	scope     Scope
	write     bool // Idempotency-Key counts
	paths     []path
	needs     []string      // fields that must be there
	errs      []problemCode // besides those of every operation
	maxBody   int64         // zero: maxBodyBytes
	takes     time.Duration // at most; zero: operationTimeout

	newIn, newOut func() proto.Message
	do            func(ctx context.Context, s *service, in proto.Message) (proto.Message, error)
	rpc           func(h *Handler, op *operation, opts ...connect.HandlerOption) http.Handler
}

// path is one way to an operation by HTTP. What is between braces is a field
// of the request, or of its target.
type path struct {
	method, pattern string
	to              []string // fields that the braces set, in their order
	id              string   // in the description
}

// Bounds of requests.
const (
	maxBodyBytes     = 64 << 10
	maxPayloadBody   = 4 << 20 // with a payload: its base64 and what is around it
	operationTimeout = 30 * time.Second
	longTimeout      = 65 * time.Second
)

func (op *operation) within() time.Duration {
	if op.takes > 0 {
		return op.takes
	}
	return operationTimeout
}

func (op *operation) limit() int64 {
	if op.maxBody > 0 {
		return op.maxBody
	}
	return maxBodyBytes
}

// method is the name of the procedure's method.
func (op *operation) method() string {
	return op.procedure[strings.LastIndexByte(op.procedure, '/')+1:]
}

// message is a pointer to a message's struct.
type message[T any] interface {
	*T
	proto.Message
}

// perform makes an operation of a method of the service.
func perform[In, Out any, PIn message[In], POut message[Out]](procedure string, do func(*service, context.Context, PIn) (POut, error), op operation) *operation {
	op.procedure = procedure
	op.newIn = func() proto.Message { return PIn(new(In)) }
	op.newOut = func() proto.Message { return POut(new(Out)) }
	op.do = func(ctx context.Context, s *service, in proto.Message) (proto.Message, error) {
		out, err := do(s, ctx, in.(PIn)) //nolint:forcetypeassert // newIn made it
		if err != nil {
			return nil, err
		}
		return out, nil
	}
	op.rpc = func(h *Handler, op *operation, opts ...connect.HandlerOption) http.Handler {
		return connect.NewUnaryHandler(op.procedure, func(ctx context.Context, r *connect.Request[In]) (*connect.Response[Out], error) {
			out, replayed, err := h.run(ctx, callOf(ctx), PIn(r.Msg))
			if err != nil {
				return nil, h.tell(ctx, op, err).rpc()
			}
			a := connect.NewResponse((*Out)(out.(POut))) //nolint:forcetypeassert // do, or newOut, made it
			markReplayed(a.Header(), replayed)
			return a, nil
		}, opts...)
	}
	return &op
}

// toTargets are the paths of an operation on connections.
func toTargets(verb string) []path {
	title := strings.ToUpper(verb[:1]) + verb[1:]
	return []path{
		{http.MethodPost, "/" + verb, nil, verb},
		{http.MethodPost, "/all/" + verb, []string{"target.all"}, verb + "ToAll"},
		{http.MethodPost, "/rooms/{room}/" + verb, []string{"target.rooms"}, "room" + title},
		{http.MethodPost, "/users/{user}/" + verb, []string{"target.users"}, "user" + title},
		{http.MethodPost, "/connections/{connection}/" + verb, []string{"target.connections"}, "connection" + title},
	}
}

func get(pattern, id string, to ...string) []path { return []path{{http.MethodGet, pattern, to, id}} }

func post(pattern, id string, to ...string) []path { return []path{{http.MethodPost, pattern, to, id}} }

// operations returns all of them.
func operations() []*operation {
	return append(messageOperations(), append(readOperations(), queueOperations()...)...)
}

func messageOperations() []*operation {
	return []*operation{
		perform(apiv1connect.MessagesSendProcedure, (*service).Send, operation{
			scope: ScopeSend, write: true, paths: toTargets("send"), needs: []string{"target", "kind"},
			errs: []problemCode{codeNoConnections, codePartial}, maxBody: maxPayloadBody,
		}),
		perform(apiv1connect.MessagesCallProcedure, (*service).Call, operation{
			scope: ScopeSend, write: true, paths: toTargets("call"), needs: []string{"target", "kind"},
			errs: []problemCode{codeNoConnections, codeTooMany}, maxBody: maxPayloadBody, takes: longTimeout,
		}),
		perform(apiv1connect.ConnectionsDisconnectProcedure, (*service).Disconnect, operation{
			scope: ScopeManage, write: true, paths: toTargets("disconnect"), needs: []string{"target"},
			errs: []problemCode{codeNoConnections, codePartial},
		}),
		perform(apiv1connect.ConnectionsJoinProcedure, (*service).Join, operation{
			scope: ScopeManage, write: true, paths: toTargets("join"), needs: []string{"target", "rooms"},
			errs: []problemCode{codeNoConnections, codePartial},
		}),
		perform(apiv1connect.ConnectionsLeaveProcedure, (*service).Leave, operation{
			scope: ScopeManage, write: true, paths: toTargets("leave"), needs: []string{"target", "rooms"},
			errs: []problemCode{codeNoConnections, codePartial},
		}),
	}
}

func readOperations() []*operation {
	return []*operation{
		perform(apiv1connect.ConnectionsListConnectionsProcedure, (*service).ListConnections, operation{
			scope: ScopeRead, paths: get("/connections", "listConnections"),
		}),
		perform(apiv1connect.ConnectionsReadConnectionProcedure, (*service).ReadConnection, operation{
			scope: ScopeRead, paths: get("/connections/{connection}", "readConnection", "connection"), needs: []string{"connection"},
			errs: []problemCode{codeNotFound, codePartial},
		}),
		perform(apiv1connect.RoomsListRoomsProcedure, (*service).ListRooms, operation{
			scope: ScopeRead, paths: get("/rooms", "listRooms"),
		}),
		perform(apiv1connect.RoomsPresenceProcedure, (*service).Presence, operation{
			scope: ScopeRead, paths: get("/rooms/{room}/presence", "presence", "room"), needs: []string{"room"},
		}),
		perform(apiv1connect.RoomsHistoryProcedure, (*service).History, operation{
			scope: ScopeHistory, paths: get("/rooms/{room}/history", "history", "room"), needs: []string{"room"},
			errs: []problemCode{codeUnsupported},
		}),
		perform(apiv1connect.ServersListNodesProcedure, (*service).ListNodes, operation{
			scope: ScopeRead, paths: get("/nodes", "listNodes"),
		}),
		perform(apiv1connect.ServersStatsProcedure, (*service).Stats, operation{
			scope: ScopeRead, paths: get("/stats", "stats"),
		}),
	}
}

func queueOperations() []*operation {
	return []*operation{
		perform(apiv1connect.QueuesListQueuesProcedure, (*service).ListQueues, operation{
			scope: ScopeRead, paths: get("/queues", "listQueues"), errs: []problemCode{codeUnsupported},
		}),
		perform(apiv1connect.QueuesReadQueueProcedure, (*service).ReadQueue, operation{
			scope: ScopeRead, paths: get("/queues/{queue}", "readQueue", "queue"), needs: []string{"queue"},
			errs: []problemCode{codeUnsupported, codeNotFound},
		}),
		perform(apiv1connect.QueuesPublishToQueueProcedure, (*service).PublishToQueue, operation{
			scope: ScopeQueues, write: true, paths: post("/queues/{queue}/messages", "publishToQueue", "queue"), needs: []string{"queue"},
			errs: []problemCode{codeUnsupported}, maxBody: maxPayloadBody,
		}),
		perform(apiv1connect.QueuesPurgeQueueProcedure, (*service).PurgeQueue, operation{
			scope: ScopeQueues, write: true, paths: post("/queues/{queue}/purge", "purgeQueue", "queue"), needs: []string{"queue"},
			errs: []problemCode{codeUnsupported, codeNotFound},
		}),
		perform(apiv1connect.QueuesListDeadLettersProcedure, (*service).ListDeadLetters, operation{
			scope: ScopeQueues, paths: get("/queues/{queue}/dead", "listDeadLetters", "queue"), needs: []string{"queue"},
			errs: []problemCode{codeUnsupported, codeNotFound},
		}),
		perform(apiv1connect.QueuesReplayDeadLettersProcedure, (*service).ReplayDeadLetters, operation{
			scope: ScopeQueues, write: true, paths: post("/queues/{queue}/dead/replay", "replayDeadLetters", "queue"), needs: []string{"queue"},
			errs: []problemCode{codeUnsupported, codeNotFound}, takes: longTimeout,
		}),
		perform(apiv1connect.QueuesPurgeDeadLettersProcedure, (*service).PurgeDeadLetters, operation{
			scope: ScopeQueues, write: true, paths: post("/queues/{queue}/dead/purge", "purgeDeadLetters", "queue"), needs: []string{"queue"},
			errs: []problemCode{codeUnsupported, codeNotFound}, takes: longTimeout,
		}),
	}
}
