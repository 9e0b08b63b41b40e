// Package archtest holds the tests that keep the project in shape: which
// package may import which, how long a file and a function may be, what every
// package with tests must have, that links in the documents lead somewhere, and
// that the names in them exist.
// docs/architecture.md says why.
package archtest
