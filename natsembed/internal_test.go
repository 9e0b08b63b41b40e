package natsembed

import (
	"context"
	"testing"
	"time"
)

// TestSyncAlways asks the server itself: only a power cut would show it outside.
func TestSyncAlways(t *testing.T) {
	for _, noSync := range []bool{false, true} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s, err := Start(ctx, Options{Dir: t.TempDir(), NoSync: noSync})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.ns.JetStreamConfig().SyncAlways; got == noSync {
			t.Errorf("NoSync %v: SyncAlways is %v", noSync, got)
		}
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}
}
