package natscluster

import (
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestWhole takes each message out of a batch, as an outage of a moment does:
// that has to be seen, or the page would pass for complete.
func TestWhole(t *testing.T) {
	var batch []*nats.Msg
	last := 0
	for _, seq := range []int{3, 4, 9, 10} {
		batch = append(batch, &nats.Msg{Header: nats.Header{
			jetstream.SequenceHeader: {fmt.Sprint(seq)}, lastSequence: {fmt.Sprint(last)},
		}})
		last = seq
	}
	batch = append(batch, &nats.Msg{Header: nats.Header{"Status": {"204"}, lastSequence: {fmt.Sprint(last)}}})
	if !whole(batch) {
		t.Error("all are there")
	}
	for i := range len(batch) - 1 {
		for k := i + 1; k < len(batch); k++ {
			if whole(slices.Delete(slices.Clone(batch), i, k)) {
				t.Errorf("%d to %d are missing, and nobody notices", i, k-1)
			}
		}
	}
	if !whole([]*nats.Msg{{Header: nats.Header{"Status": {"404"}}}}) {
		t.Error("of nothing nothing is missing")
	}
}
