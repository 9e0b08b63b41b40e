// Package console is the operators' console: a page on the admin listener, and
// the JSON that it and `polywire top` read. docs/console.md shows it.
package console
