package config

import (
	"strings"
	"unicode/utf8"
)

// nearest returns the name that takes the fewest changes of a letter to become
// text, and how many; the first of several.
func nearest(text string, names []string) (near string, changes int) {
	const most = 64
	for utf8.RuneCountInString(text) > most { // what is longer is near to nothing
		text = text[:len(text)/2]
	}
	for _, n := range names {
		if d := distance(text, n); near == "" || d < changes {
			near, changes = n, d
		}
	}
	return near, changes
}

// distance counts letters that are added, left out, replaced, or swapped with
// their neighbour.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, last := make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := range x {
		row := make([]int, len(y)+1)
		row[0] = i + 1
		for j := range y {
			cost := 1
			if x[i] == y[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(y)]
}

// Near returns the name that text was most likely meant to be, empty if none
// is near: the one that it is the beginning of, where there is one only, or
// that which takes the fewest changes of a letter, a third of its letters at most.
func Near(text string, names []string) string {
	var begun []string
	for _, n := range names {
		if text != "" && strings.HasPrefix(n, text) {
			begun = append(begun, n)
		}
	}
	if len(begun) == 1 {
		return begun[0]
	}
	near, changes := nearest(text, names)
	if changes > max(1, utf8.RuneCountInString(near)/3) || changes >= utf8.RuneCountInString(near) {
		return ""
	}
	return near
}
