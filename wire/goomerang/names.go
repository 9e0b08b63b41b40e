package goomerang

import (
	"maps"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/reflect/protoreflect"
)

type fullName = protoreflect.FullName

// names are the names of linked messages that have been asked for: reading
// them takes no lock, and a name that came as bytes needs no memory. There are
// never more than the program has message types.
type names struct {
	mu    sync.Mutex
	known atomic.Pointer[map[string]string]
	// first has for each length, or several, the name that was asked for
	// first: where few are in use nothing is looked up in the map.
	first [8]atomic.Pointer[string]
}

// place is where the names of a length would be.
func (n *names) place(length int) *atomic.Pointer[string] { return &n.first[length%len(n.first)] }

// linked returns b as a string, and whether a message of that name is linked in.
func (n *names) linked(b []byte) (string, bool) {
	if first := n.place(len(b)).Load(); first != nil && *first == string(b) {
		return *first, true
	}
	if known := n.known.Load(); known != nil {
		if name, ok := (*known)[string(b)]; ok {
			return name, true
		}
	}
	return n.ask(string(b))
}

// has reports whether a message of the name is linked in.
func (n *names) has(name string) bool {
	if first := n.place(len(name)).Load(); first != nil && *first == name {
		return true
	}
	if known := n.known.Load(); known != nil {
		if _, ok := (*known)[name]; ok {
			return true
		}
	}
	_, ok := n.ask(name)
	return ok
}

func (n *names) ask(name string) (string, bool) {
	if !isLinked(name) {
		return name, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	more := make(map[string]string, 1)
	if known := n.known.Load(); known != nil {
		maps.Copy(more, *known)
	}
	more[name] = name
	n.known.Store(&more)
	n.place(len(name)).CompareAndSwap(nil, &name)
	return name, true
}
