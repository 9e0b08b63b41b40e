// Package e2ecluster has tests only: three processes, each a server with a NATS
// inside, that form a cluster; clients of all wires on all three; and what
// happens when a process is killed, when NATS goes away, and when thousands
// come back at once. In full runs (make test-cluster) everything takes longer
// and is larger.
package e2ecluster
