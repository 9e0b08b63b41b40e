// Package e2e has tests only: the Socket.IO wire with the official JavaScript
// clients in Node and in Chromium, and a room whose members each have a wire of
// their own. README.md says what the scenarios need of a server.
package e2e
