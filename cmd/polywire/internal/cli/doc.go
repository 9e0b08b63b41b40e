// Package cli has what the commands of polywire share: how they read secrets,
// times and payloads, print JSON, and show how far long work has come.
package cli
