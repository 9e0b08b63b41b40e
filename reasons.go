package polywire

// Why connections end, in the words of Socket.IO (its server's documentation,
// "disconnect reasons"), which its users compare. The transport has further
// ones: "transport close", "transport error", "parse error", "forced close".
const (
	reasonPingTimeout = "ping timeout"
	reasonShutdown    = "server shutting down"
	reasonServerClose = "forced server close"
	reasonPeerLeft    = "client namespace disconnect"
	reasonLeft        = "server namespace disconnect"
	reasonForced      = "forced close"
)

// faultError is an error that is its text.
type faultError string

func (e faultError) Error() string { return string(e) }
