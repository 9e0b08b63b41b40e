package testenv

import "testing"

func TestMachineTime(t *testing.T) {
	for stat, want := range map[string][3]float64{
		"cpu  10 20 30 400 5 6 7 8 9000 9000\ncpu0 1 1 1 1 1 1 1 1 1 1\n": {81, 400, 486},
		"cpu 1 2 3 4": {6, 4, 10}, // an old kernel's
		"cpu 1 2 3 x": {},
		"cpu 1 x 3 4": {},
		"cpu":         {},
		"":            {},
	} {
		if used, idle, all := machineTime(stat); used != want[0] || idle != want[1] || all != want[2] {
			t.Errorf("%q: %v used and %v idle of %v, want %v", stat, used, idle, all, want)
		}
	}
}
