//go:build !unix

package load

// raiseDescriptorLimit has nothing to do: there is no such limit.
func raiseDescriptorLimit(int) error { return nil }
