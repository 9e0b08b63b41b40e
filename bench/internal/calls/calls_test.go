package calls

import (
	"context"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestDriveCountsWhatIsMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{InFlight: 10, PayloadBytes: 7, Warmup: 3 * time.Second, Duration: 2 * time.Second, PID: os.Getpid()}
		res, err := Drive(t.Context(), cfg, func(_ context.Context, payload []byte) error {
			if len(payload) != 7 {
				t.Errorf("a payload of %d bytes", len(payload))
			}
			time.Sleep(time.Millisecond) // of the bubble's time
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if math.Abs(float64(res.Calls)-20_000) > 20 || math.Abs(res.PerSecond-10_000) > 10 {
			t.Errorf("%d calls, %v a second, want 20,000 and 10,000", res.Calls, res.PerSecond)
		}
		if res.ClientMicros <= 0 || res.ServerMicros <= 0 || res.PerCPUSecond <= 0 {
			t.Errorf("no CPU time: %+v", res)
		}
	})
}

func TestDriveEndsEarly(t *testing.T) {
	broken := errors.New("broken")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	waits := func(ctx context.Context, _ []byte) error {
		<-ctx.Done()
		return ctx.Err()
	}
	for _, tt := range []struct {
		name string
		ctx  context.Context
		cfg  Config
		call func(context.Context, []byte) error
		want error
	}{
		{"a call fails", t.Context(), Config{InFlight: 2, Duration: time.Hour}, func(context.Context, []byte) error { return broken }, broken},
		{"cancelled", cancelled, Config{InFlight: 2, Duration: time.Hour}, waits, context.Canceled},
		{"nobody calls", t.Context(), Config{Duration: time.Hour}, waits, nil},
		{"no time", t.Context(), Config{InFlight: 1}, waits, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Drive(tt.ctx, tt.cfg, tt.call)
			if err == nil || (tt.want != nil && !errors.Is(err, tt.want)) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

func TestSilenceIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := Drive(t.Context(), Config{InFlight: 2, Duration: time.Second}, func(ctx context.Context, _ []byte) error {
			<-ctx.Done()
			return ctx.Err()
		})
		if !errors.Is(err, ErrSilent) {
			t.Errorf("a server that answers nothing: %v", err)
		}
	})
}

func TestFlags(t *testing.T) {
	var c Config
	f := flag.NewFlagSet("", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	c.Register(f)
	if err := f.Parse([]string{"-in-flight", "3", "-duration", "2s"}); err != nil {
		t.Fatal(err)
	}
	if c.InFlight != 3 || c.Duration != 2*time.Second || c.PayloadBytes != 100 || c.Warmup != time.Second {
		t.Errorf("%+v", c)
	}
}
