package p

import (
	"testing"

	"github.com/polywire/polywire/cluster"
)

type engine struct{}

func (engine) Addr() string         { return "" }
func (engine) Stop()                {}
func (engine) Start()               {}
func (engine) KillNode(string)      {}
func startEngine(*testing.T) engine { return engine{} }

var mine struct {
	New func(addr string) cluster.Adapter
}
