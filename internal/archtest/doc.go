// Package archtest holds the tests that keep the project in shape: which
// package may import which, how long a file and a function may be, what every
// package with tests must have, and that links in the documents lead somewhere.
// docs/architecture.md says why.
package archtest
