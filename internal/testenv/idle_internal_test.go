package testenv

import "testing"

func TestTimeOf(t *testing.T) {
	for stat, want := range map[string][2]float64{
		"cpu  10 20 30 400 5 6 7 8 9000 9000\ncpu0 1 1 1 1 1 1 1 1 1 1\n": {400, 486},
		"cpu 1 2 3 4": {4, 10}, // an old kernel's
		"cpu 1 2 3 x": {},
		"cpu":         {},
		"":            {},
	} {
		if idle, all := timeOf(stat); idle != want[0] || all != want[1] {
			t.Errorf("%q: %v of %v, want %v", stat, idle, all, want)
		}
	}
}
