package natscluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/cluster"
)

// Codes of errors of the JetStream API that nats.go has no names for.
const (
	codeNoPeers       jetstream.ErrorCode = 10005 // not enough servers for the replicas
	codeNotClustered  jetstream.ErrorCode = 10074
	codeNoResources   jetstream.ErrorCode = 10023
	codeNoMemory      jetstream.ErrorCode = 10028
	codeNoStorage     jetstream.ErrorCode = 10047
	codeRepeatPending jetstream.ErrorCode = 10158
)

// defaultReplicas is on how many servers a log is, where there are that many.
const defaultReplicas = 3

// retryPause is between tries to reach a stream.
const retryPause = 50 * time.Millisecond

// renew finds the stream, or makes it, and takes note of its epoch, unless
// somebody has looked after a moment. It tries until ctx ends.
func (l *Log) renew(ctx context.Context, since time.Time) error {
	select {
	case l.fixing <- struct{}{}:
	case <-ctx.Done():
		return unavailable(context.Cause(ctx))
	}
	defer func() { <-l.fixing }()
	if l.found.Load() > since.UnixNano() {
		return nil
	}
	for {
		began := time.Now()
		err := l.find(ctx)
		if err == nil {
			l.found.Store(began.UnixNano())
		}
		if err == nil || permanent(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return unavailable(fmt.Errorf("natscluster: log %q: %w", l.name, err))
		case <-l.b.ctx.Done():
			return cluster.ErrClosed
		case <-time.After(retryPause):
		}
	}
}

// refusal is an error that another try would meet again.
type refusal struct{ error }

func (r refusal) Unwrap() error { return r.error }

func permanent(err error) bool {
	var r refusal
	return errors.As(err, &r)
}

// find is one try of renew.
func (l *Log) find(ctx context.Context) error {
	js := l.b.sess.Load().js
	info, behind, err := l.look(ctx, js)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return l.create(ctx, js)
	case err != nil:
		return classify(err)
	}
	return l.adopt(ctx, js, info, behind)
}

// look asks for the stream once. behind says that it knows less than this node
// had heard of before it asked, if the epoch is the same.
func (l *Log) look(ctx context.Context, js jetstream.JetStream) (info *jetstream.StreamInfo, behind bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*tryTimeout)
	defer cancel()
	top := uint64(0)
	if now := l.now.Load(); now != nil {
		top = now.top.Load()
	}
	s, err := js.Stream(ctx, l.stream)
	if err != nil {
		return nil, false, err
	}
	info = s.CachedInfo()
	return info, info.State.LastSeq < top, nil
}

// classify tells what time may heal from what it will not.
func classify(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) && api.Code < 500 && api.Code != 429 && api.Code != 408 ||
		errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return refusal{fmt.Errorf("natscluster: %w", err)}
	}
	return err
}

// create makes the stream, in a new epoch.
func (l *Log) create(ctx context.Context, js jetstream.JetStream) error {
	var err error
	for _, replicas := range l.replicas() {
		var s jetstream.Stream
		s, err = js.CreateStream(ctx, l.config(newEpoch(), replicas))
		switch {
		case errors.Is(err, jetstream.ErrStreamNameAlreadyInUse):
			return err // another node was first: find it
		case err == nil:
			return l.adopt(ctx, js, s.CachedInfo(), false)
		case !lacksServers(err):
			return classify(err)
		}
	}
	return err
}

// replicas are the numbers to try.
func (l *Log) replicas() []int {
	switch {
	case l.b.opts.Replicas > 0:
		return []int{l.b.opts.Replicas}
	case l.clustered():
		return []int{defaultReplicas, 1}
	}
	return []int{1}
}

// clustered reports whether there may be replicas.
func (l *Log) clustered() bool { return l.b.sess.Load().nc.ConnectedClusterName() != "" }

// lacksServers reports whether there are not enough servers for the replicas.
func lacksServers(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == codeNoPeers || api.ErrorCode == codeNotClustered || api.ErrorCode == codeNoResources)
}

// adopt makes a stream that is there the log's.
func (l *Log) adopt(ctx context.Context, js jetstream.JetStream, info *jetstream.StreamInfo, behind bool) error {
	c := info.Config
	epoch := l.epochIn(&c)
	if epoch == "" {
		return refusal{fmt.Errorf("natscluster: the stream %s is not one of this adapter", l.stream)}
	}
	if there := optionsOf(&c); there != l.opts {
		if who := l.b.members.user(l.name, l.opts); who != "" {
			return refusal{fmt.Errorf("natscluster: log %q is open at node %s with other options: %s", l.name, who, differences(l.opts, there))}
		}
		if there.Storage != l.opts.Storage {
			if err := js.DeleteStream(ctx, l.stream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				return classify(err)
			}
			return errors.New("the stream is made anew")
		}
		want := l.config(epoch, c.Replicas)
		if _, err := js.UpdateStream(ctx, want); err != nil {
			return classify(err)
		}
		c = want
	}
	l.grow(ctx, js, c)
	now := l.now.Load()
	switch {
	case now == nil || now.epoch != epoch:
		l.enter(epoch, info.State.LastSeq)
	case now.lost.Load() || behind:
		return l.restart(ctx, js, now)
	default:
		now.heard(info.State.LastSeq)
	}
	return nil
}

// enter begins an era.
func (l *Log) enter(epoch string, last uint64) {
	e := &era{epoch: epoch}
	e.top.Store(last)
	if l.now.Swap(e) != nil {
		l.b.counters.epochs.Add(1)
		l.b.opts.Logger.Warn("a log begins anew", "log", l.name, "epoch", epoch)
	}
}

// epochIn returns the epoch in a stream's subjects; empty: they are not ours.
func (l *Log) epochIn(c *jetstream.StreamConfig) string {
	if len(c.Subjects) != 1 || c.RePublish == nil {
		return ""
	}
	epoch := epochOf(c.Subjects[0], l.appended(""))
	if epoch == "" || c.RePublish.Destination != l.sent(epoch)+">" {
		return ""
	}
	return epoch
}

// grow gives a log that began in a small cluster its replicas. What does not
// work now works when a log is opened next.
func (l *Log) grow(ctx context.Context, js jetstream.JetStream, c jetstream.StreamConfig) {
	want := l.replicas()[0]
	if c.Replicas >= want {
		return
	}
	c.Replicas = want
	if _, err := js.UpdateStream(ctx, c); err != nil && !lacksServers(err) {
		l.b.opts.Logger.Info("a log keeps fewer replicas than it should", "log", l.name, "error", err)
	}
}

// restart gives the stream a new epoch: it knows less than it has said before,
// as one does whose memory was lost with its servers. What is in it came after
// that, nobody knows what before. The caller has found that once; it may have
// been a server that has not caught up.
func (l *Log) restart(ctx context.Context, js jetstream.JetStream, bad *era) error {
	info, behind, err := l.look(ctx, js)
	if err != nil {
		return err
	}
	c := info.Config
	switch epoch := l.epochIn(&c); epoch {
	case bad.epoch:
	case "":
		return errors.New("the stream is being changed")
	default:
		l.enter(epoch, info.State.LastSeq)
		return nil
	}
	if !bad.lost.Load() && !behind {
		return nil
	}
	epoch := nextEpoch(bad.epoch)
	l.rename(&c, epoch)
	s, err := js.UpdateStream(ctx, c)
	if err != nil {
		return err
	}
	l.enter(epoch, info.State.LastSeq)
	// Nobody looks for the old subjects' messages any more.
	if err := s.Purge(ctx, jetstream.WithPurgeSubject(l.appended(bad.epoch)+"*")); err != nil {
		l.b.opts.Logger.Info("messages of a log's last epoch stay for a while", "log", l.name, "error", err)
	}
	return nil
}
