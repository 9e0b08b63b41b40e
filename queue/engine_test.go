package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/queue"
)

func open(t *testing.T, o queue.Options) (*queue.Broker, *queue.Memory) {
	t.Helper()
	m := queue.NewMemory(queue.MemoryOptions{})
	b, err := queue.New(m, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b, m
}

// inBubble runs a test whose time is virtual.
func inBubble(t *testing.T, f func(t *testing.T, b *queue.Broker, m *queue.Memory)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b, m := open(t, queue.Options{})
		f(t, b, m)
	})
}

func publish(t *testing.T, b *queue.Broker, m queue.Message) {
	t.Helper()
	if err := b.Publish(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func TestDone(t *testing.T) {
	inBubble(t, func(t *testing.T, b *queue.Broker, m *queue.Memory) {
		var got []string
		err := b.Handle("q", func(_ context.Context, d *queue.Delivery) error {
			got = append(got, fmt.Sprintf("%s %d %v", d.ID, d.Attempt, d.Last))
			if d.Attempt < 3 {
				return errors.New("not yet")
			}
			return nil
		}, queue.HandleOptions{})
		if err != nil {
			t.Fatal(err)
		}
		publish(t, b, queue.Message{Queue: "q", ID: "a"})
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := strings.Join(got, ", "); s != "a 1 false, a 2 false, a 3 false" {
			t.Error(s)
		}
		if d, err := m.Inspect(t.Context(), "q"); err != nil || d != (queue.Depth{}) {
			t.Errorf("%+v, %v", d, err)
		}
	})
}
