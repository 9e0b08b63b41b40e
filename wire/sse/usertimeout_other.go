//go:build !linux

package sse

import (
	"net"
	"time"
)

func userTimeout(net.Conn, time.Duration) {}
