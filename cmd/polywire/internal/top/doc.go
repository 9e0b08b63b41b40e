// Package top shows a server's figures in a terminal, as the console does in a
// browser: it asks the console's HTTP API, and draws what it says in whatever
// room there is.
package top
