// Package webhookapi is the HTTP API of a dispatcher of webhooks, with the
// description of it (OpenAPI 3.1), and the forms in which endpoints and
// attempts are shown to people and programs.
package webhookapi
