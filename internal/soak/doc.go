// Package soak has tests only: `polywire serve` as a process of its own, with
// clients of every wire, its HTTP API, a queue and webhooks at once, behind
// networks that cut, delay, narrow and swallow, for as long as the variable
// SOAK says (some seconds unless it is set; make soak). A ledger says whether
// what was promised came: all that was accepted, in order, once. At the end the
// server and this process must be as they were at the beginning.
package soak
