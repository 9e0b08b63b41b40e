package main

import (
	"net"
	"os"
	"strings"
)

// notify tells the service manager how things are: sd_notify(3). Without one it
// does nothing, and nobody needs to know when it does not listen.
func notify(state string) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	if rest, ok := strings.CutPrefix(name, "@"); ok {
		name = "\x00" + rest // an abstract socket
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close() //nolint:errcheck // nothing to lose
	_, _ = c.Write([]byte(state))
}
