package jetstream

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/polywire/polywire/queue"
)

// A server that has no room when a schedule is due marks it as sent, and does
// not try again before it restarts (nats-server 2.15, scheduler.go: inflight).
// So whoever consumes a queue looks now and then for schedules that are late,
// and sends them itself.
const (
	overdueFirst = 10 * time.Second
	overdueEvery = 15 * time.Second
	overdueBy    = 5 * time.Second
	overdueShare = 50 // of the time may be spent on looking: one part in so many
)

// rescue looks for late schedules, and returns when to look again.
func (d *Driver) rescue(ctx context.Context, l *link, name string) time.Duration {
	start := time.Now()
	if err := d.sendOverdue(ctx, l, name); err != nil && ctx.Err() == nil {
		d.o.Logger.Debug("looking for late messages", "queue", name, "error", err)
	}
	return max(overdueEvery, overdueShare*time.Since(start))
}

func (d *Driver) sendOverdue(ctx context.Context, l *link, name string) error {
	str, err := l.js.Stream(ctx, d.names.stream(name))
	if err != nil || str.CachedInfo().State.Msgs == 0 {
		return err
	}
	info, err := str.Info(ctx, jetstream.WithSubjectFilter(d.names.anyAt(name)))
	if err != nil {
		return err
	}
	late := info.TimeStamp.Add(-overdueBy) // by the server's clock
	if info.TimeStamp.IsZero() {
		late = time.Now().Add(-overdueBy)
	}
	for subject := range info.State.Subjects {
		if at, ok := due(subject); !ok || at.After(late) {
			continue
		}
		m, err := str.GetLastMsgForSubject(ctx, subject)
		if err != nil {
			continue // the server has sent it
		}
		if err := d.put(ctx, fired(d.names.now(name), m)); err != nil {
			return err
		}
		d.o.Logger.Info("sent a message that the server was late with", "queue", name, "id", m.Header.Get(queue.FieldID))
	}
	return nil
}

// fired is what the server would have sent; that it is stored removes the schedule.
func fired(subject string, scheduled *jetstream.RawStreamMsg) *nats.Msg {
	h := make(nats.Header, len(scheduled.Header))
	for name, values := range scheduled.Header {
		if !strings.HasPrefix(name, "Nats-") {
			h[name] = values
		}
	}
	h[headerScheduler] = []string{scheduled.Subject}
	h[headerScheduleNext] = []string{"purge"}
	h[headerMsgID] = []string{fmt.Sprintf("late %d %d", scheduled.Sequence, scheduled.Time.UnixNano())}
	return &nats.Msg{Subject: subject, Header: h, Data: scheduled.Data}
}
