package rabbittest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	memoryLimit = "1GB"
	diskLimit   = "10MB"
	alarmTime   = time.Minute
)

// MemoryAlarm raises the memory alarm, or lets it go, and returns when it is
// so: while it is on, the broker reads from no connection that publishes.
func (b *Broker) MemoryAlarm(t testing.TB, on bool) {
	t.Helper()
	limit := fmt.Sprintf("{absolute, %q}", memoryLimit)
	if on {
		limit = "0.00001"
	}
	b.Eval(t, "vm_memory_monitor:set_vm_memory_high_watermark("+limit+")")
	b.awaitAlarm(t, "memory", on)
}

// DiskAlarm is MemoryAlarm for the space on the disk.
func (b *Broker) DiskAlarm(t testing.TB, on bool) {
	t.Helper()
	limit := diskLimit
	if on {
		limit = "1000000GB"
	}
	b.Eval(t, fmt.Sprintf("rabbit_disk_monitor:set_disk_free_limit(%q)", limit))
	b.awaitAlarm(t, "disk", on)
}

func (b *Broker) awaitAlarm(t testing.TB, resource string, on bool) {
	t.Helper()
	deadline := time.Now().Add(alarmTime)
	for {
		alarms := b.Eval(t, "rabbit_alarm:get_alarms()")
		if strings.Contains(alarms, resource) == on {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("rabbittest: the alarm for %s is not as wanted (%v): %s", resource, on, alarms)
		}
	}
}
