package rabbitmq

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/queue"
)

// workerStart makes this test's program a worker whose start is measured:
// startBare or startQueue.
const (
	workerStart = "POLYWIRE_TEST_RABBIT_START"
	startBare   = "bare"
	startQueue  = "queue"
)

const (
	startWaiting = 100_000 // messages
	startHandled = 5_000   // of them, before the worker's memory is looked at
)

// started is what a worker says of itself, when it has handled its first
// message and when it has handled thousands.
type started struct {
	HeapMB float64 // in use
	RSSMB  float64
	PeakMB float64 // of RSS
}

func memory() started {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	now := started{HeapMB: float64(m.HeapInuse) / 1e6}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return now
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kb, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
		switch name {
		case "VmRSS":
			now.RSSMB = kb * 1024 / 1e6
		case "VmHWM":
			now.PeakMB = kb * 1024 / 1e6
		}
	}
	return now
}

// start is the worker. It returns when it is measured.
func start(kind, url, q string) error {
	report := json.NewEncoder(os.Stdout)
	if err := report.Encode(memory()); err != nil { // as it is without a broker
		return err
	}
	handled := make(chan struct{}, benchWindow)
	var begin func() error
	switch kind {
	case startQueue:
		begin = func() error { return startOurs(url, q, handled) }
	default:
		begin = func() error { return startBareWorker(url, q, handled) }
	}
	if err := begin(); err != nil {
		return err
	}
	for n := range startHandled {
		<-handled
		if n == 0 || n == startHandled-1 {
			if err := report.Encode(memory()); err != nil {
				return err
			}
		}
	}
	return nil
}

func startOurs(url, q string, handled chan<- struct{}) error {
	d, err := New(context.Background(), options(url))
	if err != nil {
		return err
	}
	b, err := queue.New(d, queue.Options{})
	if err != nil {
		return err
	}
	return b.Handle(q, func(context.Context, *queue.Delivery) error { handled <- struct{}{}; return nil },
		queue.HandleOptions{Concurrency: benchWorkers})
}

func startBareWorker(url, q string, handled chan<- struct{}) error {
	conn, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if err := ch.Qos(2*benchWorkers, 0, false); err != nil { // as many as ours has in hand
		return err
	}
	in, err := ch.Consume(q, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	go func() { // ends with the process
		for m := range in {
			handled <- struct{}{}
			_ = m.Ack(false) // the process may end here
		}
	}()
	return nil
}

// BenchmarkWorkerStart measures how soon a new program has its first message
// done where 100,000 of a kilobyte wait, from the start of its process, and the
// memory that it takes then and while it goes on, beside a bare loop, by turns:
//
//	go test -run '^$' -bench WorkerStart -benchtime 3x ./queue/rabbitmq
func BenchmarkWorkerStart(b *testing.B) {
	broker := shared.Broker(b)
	q := fresh("start")
	d := open(b, options(broker.URL()))
	ours, err := queue.New(openQuietly{d}, queue.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer ours.Close()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	kinds := []string{startBare, startQueue}
	var first, rss, heap, peak [2][]float64
	for round := 0; b.Loop(); round++ {
		for turn := range kinds {
			i := (turn + round) % len(kinds) // who begins finds a broker that has just been filled
			fill(b, ours, d, q)
			took, reports, err := measureStart(self, kinds[i], broker.URL(), q)
			if err != nil {
				b.Fatal(err)
			}
			first[i] = append(first[i], took.Seconds())
			rss[i] = append(rss[i], reports[1].RSSMB-reports[0].RSSMB)
			heap[i] = append(heap[i], reports[1].HeapMB)
			peak[i] = append(peak[i], reports[2].PeakMB)
		}
	}
	b.ReportMetric(median(first[1]), "s-to-first")
	b.ReportMetric(median(first[1])/median(first[0]), "first-ratio")
	b.ReportMetric(median(peak[1]), "MB-RSS-peak")
	for i, kind := range kinds {
		b.Logf("%s: with %d waiting the first is done after %.3f s; then %.1f MB of heap in use, RSS grown by %.1f MB; RSS at most %.1f MB in all while %d are done",
			kind, startWaiting, median(first[i]), median(heap[i]), median(rss[i]), median(peak[i]), startHandled)
	}
}

// fill brings a queue to 100,000 messages or a little more.
func fill(b *testing.B, ours *queue.Broker, d *Driver, q string) {
	b.Helper()
	for {
		depth, err := d.Inspect(b.Context(), q)
		if err != nil && !errors.Is(err, queue.ErrNotFound) {
			b.Fatal(err)
		}
		if depth.Waiting >= startWaiting {
			return
		}
		publishSome(b, ours, q, min(benchMessages, startWaiting-int(depth.Waiting)))
	}
}

// measureStart runs a worker until it has handled thousands.
func measureStart(self, kind, url, q string) (first time.Duration, reports []started, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), workerURL+"="+url, workerQueue+"="+q, workerStart+"="+kind)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, nil, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var r started
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return 0, nil, fmt.Errorf("%q: %w", lines.Text(), err)
		}
		if reports = append(reports, r); len(reports) == 2 {
			first = time.Since(begin)
		}
	}
	if err := cmd.Wait(); err != nil {
		return 0, nil, err
	}
	if len(reports) != 3 {
		return 0, nil, fmt.Errorf("a worker that reports %d times", len(reports))
	}
	return first, reports, nil
}
