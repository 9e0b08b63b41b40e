//go:build race

package soak_test

// buildFlags make the server what this program is.
func buildFlags() []string { return []string{"-race"} }
