package jetstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/queue"
)

// Codes of errors of the server, which nats.go has no names for.
const (
	codeResources       = 10002 // of the account
	codeNoPeers         = 10005 // not enough servers for the replicas, for now
	codeNoLeader        = 10008 // of JetStream in a cluster, for now
	codeInsufficient    = 10023
	codeMemory          = 10028
	codeStorage         = 10047
	codeStoreFailed     = 10077
	codeConsumerPerWork = 10100 // another consumer has the queue
)

// translate puts an error of nats.go under one of package queue.
func translate(err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil, isOurs(err):
		return err
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", queue.ErrTooLarge, err)
	case errors.Is(err, nats.ErrBadHeaderMsg), errors.Is(err, nats.ErrBadSubject):
		return fmt.Errorf("%w: %w", queue.ErrInvalid, err)
	case errors.As(err, &api):
		return fmt.Errorf("%w: %w", kind(api), err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
	default: // the connection's
		return fmt.Errorf("%w: %w", queue.ErrUnavailable, err)
	}
}

func isOurs(err error) bool {
	for _, ours := range []error{
		queue.ErrInvalid, queue.ErrClosed, queue.ErrUnavailable, queue.ErrUnroutable, queue.ErrRefused,
		queue.ErrTooLarge, queue.ErrStale, queue.ErrNotFound, queue.ErrUnsupported,
	} {
		if errors.Is(err, ours) {
			return true
		}
	}
	return false
}

// kind is the error of package queue that one of the server is.
func kind(api *jetstream.APIError) error {
	switch api.ErrorCode {
	case jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return queue.ErrTooLarge
	case codeResources, codeInsufficient, codeMemory, codeStorage, codeStoreFailed:
		return queue.ErrRefused
	case jetstream.JSErrCodeStreamNotFound, jetstream.JSErrCodeConsumerNotFound, jetstream.JSErrCodeMessageNotFound:
		return queue.ErrNotFound
	case jetstream.JSErrCodeMessageSchedulesDisabled:
		return queue.ErrUnsupported
	}
	if api.Code >= 500 || api.ErrorCode == codeNoPeers { // no leader, starting, shutting down
		return queue.ErrUnavailable
	}
	return queue.ErrRefused
}
