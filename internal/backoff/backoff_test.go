package backoff

import (
	"testing"
	"time"

	"github.com/polywire/polywire/internal/testenv"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

func TestGrowsToItsCap(t *testing.T) {
	for _, c := range []struct {
		name string
		b    Backoff
		want []time.Duration // before the random part is taken
	}{
		{"default", Backoff{}, []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9, 30e9, 30e9}},
		{"given", Backoff{Min: 10, Max: 35}, []time.Duration{10, 20, 35, 35}},
		{"minimum over maximum", Backoff{Min: 100, Max: 35}, []time.Duration{35, 35}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 {
				for i, want := range c.want {
					if got := c.b.Next(); got < want/2 || got > want {
						t.Errorf("try %d waits %v, want %v to %v", i+1, got, want/2, want)
					}
				}
				if c.b.Tries() != len(c.want) {
					t.Errorf("Tries is %d, want %d", c.b.Tries(), len(c.want))
				}
				c.b.Reset()
			}
		})
	}
}

func TestNeverOverflows(t *testing.T) {
	b := Backoff{Min: time.Hour, Max: 24 * time.Hour}
	for range 200 {
		if got := b.Next(); got <= 0 || got > 24*time.Hour {
			t.Fatalf("waits %v", got)
		}
	}
}
