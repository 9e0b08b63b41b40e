package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/polywire/polywire/natsembed"
	"github.com/polywire/polywire/queue"
)

// start is the line of `start`: a process that embeds the server and handles a
// queue in which messages wait.
type start struct {
	Waiting       int     `json:"waiting"`
	FirstSeconds  float64 `json:"first_handled_seconds"` // from the process's start
	Handled       int     `json:"handled"`               // when the memory was looked at
	PeakMegabytes float64 `json:"peak_rss_mb"`
}

// handledFor is how many messages the worker handles before it looks at its memory.
const handledFor = 1000

// started fills a queue in one process, and starts a worker on it in another.
func started(ctx context.Context, c config, out *json.Encoder) error {
	dir, err := os.MkdirTemp(c.dir, "queue-jetstream-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary one
	if err := fill(ctx, dir, c); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "worker", "-dir", dir) //nolint:gosec // this program
	cmd.Env, cmd.Stderr = append(os.Environ(), childVariable+"=1"), os.Stderr
	began := time.Now()
	text, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	var w workerLine
	if err := json.Unmarshal(text, &w); err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	return out.Encode(start{
		Waiting: c.messages, FirstSeconds: w.First.Sub(began).Seconds(), Handled: w.Handled, PeakMegabytes: float64(w.PeakKB) / 1024,
	})
}

// childVariable lets a test's program be the worker.
const childVariable = "QUEUE_JETSTREAM_WORKER"

// serving opens a server and a broker for as long as do takes.
func serving(ctx context.Context, o natsembed.Options, do func(b *queue.Broker) error) (err error) {
	s, err := natsembed.Start(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shutdown(ctx, s)) }()
	b, err := openBroker(ctx, s, 1024)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	return do(b)
}

func fill(ctx context.Context, dir string, c config) error {
	payload := make([]byte, c.size)
	return serving(ctx, natsembed.Options{Dir: dir, NoSync: true}, func(b *queue.Broker) error {
		for left := c.messages; left > 0; {
			batch := make([]queue.Message, min(left, 1000))
			for i := range batch {
				batch[i].Queue, batch[i].Payload.Data = queueName, payload
			}
			if err := b.PublishBatch(ctx, batch); err != nil {
				return err
			}
			left -= len(batch)
		}
		return nil
	})
}

// shutdown ends a server, whether ctx is over or not.
func shutdown(ctx context.Context, s *natsembed.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return s.Shutdown(ctx)
}

// workerLine is what the worker says.
type workerLine struct {
	First   time.Time `json:"first"` // message handled
	Handled int       `json:"handled"`
	PeakKB  int64     `json:"peak_kb"`
}

// worker handles some messages of a queue, as a program with the embedded
// server at its defaults does.
func worker(ctx context.Context, dir string, out *json.Encoder) error {
	return serving(ctx, natsembed.Options{Dir: dir}, func(b *queue.Broker) error {
		line, err := work(ctx, b)
		if err != nil {
			return err
		}
		return out.Encode(line)
	})
}

func work(ctx context.Context, b *queue.Broker) (line workerLine, err error) {
	depth, err := b.Inspect(ctx, queueName)
	if err != nil {
		return line, err
	}
	handled := make(chan time.Time, handledFor)
	err = b.Handle(queueName, func(ctx context.Context, _ *queue.Delivery) error {
		select {
		case handled <- time.Now():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}, queue.HandleOptions{Concurrency: 16})
	if err != nil {
		return line, err
	}
	for enough := min(handledFor, int(depth.Waiting)); line.Handled < max(enough, 1); line.Handled++ {
		select {
		case at := <-handled:
			if line.Handled == 0 {
				line.First = at
			}
		case <-ctx.Done():
			return line, ctx.Err()
		}
	}
	line.PeakKB, err = peak()
	return line, err
}

// peak is the most memory that this process had, in KiB.
func peak() (int64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, found := bytes.Cut(text, []byte("VmHWM:"))
	line, _, _ := strings.Cut(string(rest), "\n")
	if !found {
		return 0, errors.New("no VmHWM in /proc/self/status")
	}
	return strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(line), "kB")), 10, 64)
}
