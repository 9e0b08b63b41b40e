package auth

import (
	"context"
	"slices"
)

// Replace has the keys and options of next hold from now on, at once: for
// connections and tokens that come, and for refreshes. Connections that are
// open stay; see [Tokens.Revoke]. A key set of the same URL and options
// ([JWKS]) stays with the keys that it has; one in a file is read again. Keys
// that are not needed any more are let go of. next is of no use afterwards.
//
// What cannot be fetched refuses tokens: ask next.Ready before, where that
// should change nothing.
func (t *Tokens) Replace(next *Tokens) {
	if t == next {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	before, after := t.now.Load(), next.now.Load()
	next.now.Store(newVerifier(Static(), after.o)) // so that its Close takes no keys away
	had, have := keySets(before.keys), keySets(after.keys)
	keep := make(map[*KeySet]*KeySet) // those of after that are there already
	for _, s := range have {
		for _, old := range had {
			if s != old && s.url != nil && s.at == old.at && s.o == old.o {
				keep[s] = old
			}
		}
	}
	t.now.Store(newVerifier(withKept(after.keys, keep), after.o))
	for _, s := range have {
		if keep[s] != nil {
			s.close()
		}
	}
	kept := keySets(t.now.Load().keys)
	for _, s := range had {
		if !slices.Contains(kept, s) {
			s.close()
		}
	}
}

// Ready fetches the key sets that have not been, and returns why there are no
// keys of one; nil if there are, and where there are none to fetch. It is a
// check for /readyz.
func (t *Tokens) Ready(ctx context.Context) error {
	for _, s := range keySets(t.now.Load().keys) {
		if err := s.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Stale returns why a key set was not fetched when that was last tried, while
// the keys of before are used on; nil: it was.
func (t *Tokens) Stale() error {
	for _, s := range keySets(t.now.Load().keys) {
		if err := s.Stale(); err != nil {
			return err
		}
	}
	return nil
}

// keySets returns those among keys that are fetched.
func keySets(keys Keys) []*KeySet {
	switch keys := keys.(type) {
	case *KeySet:
		return []*KeySet{keys}
	case several:
		var found []*KeySet
		for _, k := range keys {
			found = append(found, keySets(k)...)
		}
		return found
	}
	return nil
}

// withKept returns keys with some of their sets replaced.
func withKept(keys Keys, by map[*KeySet]*KeySet) Keys {
	switch keys := keys.(type) {
	case *KeySet:
		if old := by[keys]; old != nil {
			return old
		}
	case several:
		out := make(several, len(keys))
		for i, k := range keys {
			out[i] = withKept(k, by)
		}
		return out
	}
	return keys
}
