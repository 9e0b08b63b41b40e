package polywire

import "context"

// Plugin adds handlers, middleware and hooks to a server.
type Plugin interface {
	// Activate registers what the plugin brings. It is called when the server
	// starts, in the order of [WithPlugins]; an error stops the start.
	Activate(s *Server) error
	// Deactivate is called in reverse order when the server has shut down,
	// with the context of Shutdown.
	Deactivate(ctx context.Context) error
}
