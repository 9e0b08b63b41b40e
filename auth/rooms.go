package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/polywire/polywire"
)

// Rule allows something in the rooms of a pattern.
type Rule struct {
	// Pattern is a room's name in which "{name}" and "*" stand for one or more
	// characters: as many as come before what follows in the pattern, or all
	// that are left. Two of them in a row are a mistake.
	//
	// Without Allow, "{user}" is the connection's user, and any other "{name}"
	// what the claim of that name says: text, a number, or one of a list. So
	// "user-{sub}" is each user's own room, and "team:*" every team's.
	Pattern string
	// Subscribe and Publish are what is allowed; at least one is.
	Subscribe, Publish bool
	// Kinds narrows what may be published: kinds, or what they begin with and
	// '*'. Empty: any.
	Kinds []string
	// UsersOnly asks for a connection with a user, where tokens are optional.
	UsersOnly bool
	// Allow decides in place of the claims. An error refuses.
	Allow func(ctx context.Context, c *polywire.Conn, m Match) error
}

// Match is a room that a [Rule] is about.
type Match struct {
	Room    string
	Publish bool
	Kind    string            // of what is published
	Vars    map[string]string // what stands for "{name}" in the pattern
}

// Policy says who may be in which rooms. What no rule and no claim allows is refused.
type Policy struct {
	Rules []Rule
	// SubscribeClaim and PublishClaim name claims that list rooms, or what they
	// begin with and '*'. Empty: none.
	SubscribeClaim, PublishClaim string
}

// Rooms is a [Policy] in use. Its methods are policies of a server; call them
// in one of your own to ask for more than they do. It is immutable, and for many
// goroutines at once.
type Rooms struct {
	rules  []rule
	policy Policy
}

// NewRooms returns the policy for a server. The error is about its rules.
func NewRooms(p Policy) (*Rooms, error) {
	r := &Rooms{policy: p}
	for _, one := range p.Rules {
		parsed, err := newRule(one)
		if err != nil {
			return nil, fmt.Errorf("auth: rule for rooms %q: %w", one.Pattern, err)
		}
		r.rules = append(r.rules, parsed)
	}
	return r, nil
}

// Options returns the policies for subscribing and for publishing.
func (r *Rooms) Options() []polywire.Option {
	return []polywire.Option{polywire.WithSubscribePolicy(r.Subscribe), polywire.WithPublishPolicy(r.Publish)}
}

// Subscribe is a policy for [polywire.WithSubscribePolicy]: nil where a rule or a
// claim allows it, else an error with [polywire.CodeForbidden], or that of a
// rule's own function.
func (r *Rooms) Subscribe(ctx context.Context, c *polywire.Conn, room string) error {
	return r.allow(ctx, c, Match{Room: room}, r.policy.SubscribeClaim)
}

// Publish is a policy for [polywire.WithPublishPolicy]; see [Rooms.Subscribe].
func (r *Rooms) Publish(ctx context.Context, c *polywire.Conn, room, kind string) error {
	return r.allow(ctx, c, Match{Room: room, Publish: true, Kind: kind}, r.policy.PublishClaim)
}

func (r *Rooms) allow(ctx context.Context, c *polywire.Conn, m Match, claim string) error {
	id := c.Identity()
	var refused error
	for i := range r.rules {
		ok, err := r.rules[i].allows(ctx, c, id, m)
		if ok {
			return nil
		}
		refused = errors.Join(refused, err)
	}
	if claim != "" && id != nil && listed(id.Claims[claim], m.Room) {
		return nil
	}
	if coded := (*polywire.Error)(nil); errors.As(refused, &coded) {
		return coded
	}
	return polywire.Errorf(polywire.CodeForbidden, "not allowed")
}

// listed reports whether a claim lists a room.
func listed(claim any, room string) bool {
	if list, ok := elements(claim); ok {
		return slices.ContainsFunc(list, func(e any) bool { s, ok := e.(string); return ok && fits(s, room) })
	}
	s, ok := claim.(string)
	return ok && fits(s, room)
}

// fits reports whether a name is the pattern, or begins with what stands before its '*'.
func fits(pattern, name string) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	return name == pattern || wild && strings.HasPrefix(name, prefix)
}

// rule is a Rule whose pattern is taken apart: literal, hole, literal, ...
type rule struct {
	Rule
	literals []string // one more than holes; the first and the last may be empty
	holes    []string // names; empty for '*'
}

func newRule(r Rule) (rule, error) {
	out := rule{Rule: r}
	if !r.Subscribe && !r.Publish {
		return out, errors.New("it allows nothing")
	}
	if slices.Contains(r.Kinds, "") {
		return out, errors.New("an empty kind")
	}
	rest := r.Pattern
	for {
		i := strings.IndexAny(rest, "{}*")
		if i < 0 {
			break
		}
		if i == 0 && len(out.holes) > 0 {
			return out, errors.New("nothing between two holes: where the one ends is not known")
		}
		out.literals = append(out.literals, rest[:i])
		name := ""
		if rest[i] == '*' {
			rest = rest[i+1:]
		} else {
			end := strings.IndexByte(rest, '}')
			if rest[i] == '}' || end < i+2 || strings.ContainsAny(rest[i+1:end], "{*") {
				return out, errors.New("braces go around a name")
			}
			name, rest = rest[i+1:end], rest[end+1:]
			if slices.Contains(out.holes, name) {
				return out, fmt.Errorf("{%s} twice", name)
			}
		}
		out.holes = append(out.holes, name)
	}
	if out.literals = append(out.literals, rest); r.Pattern == "" {
		return out, errors.New("an empty pattern")
	}
	return out, nil
}

// allows reports whether the rule allows it. The error is what Allow said.
func (r *rule) allows(ctx context.Context, c *polywire.Conn, id *polywire.Identity, m Match) (bool, error) {
	if m.Publish && !r.Publish || !m.Publish && !r.Rule.Subscribe {
		return false, nil
	}
	if m.Publish && len(r.Kinds) > 0 && !slices.ContainsFunc(r.Kinds, func(k string) bool { return fits(k, m.Kind) }) {
		return false, nil
	}
	if r.UsersOnly && (id == nil || id.User == "") {
		return false, nil
	}
	values, ok := r.match(m.Room)
	if !ok {
		return false, nil
	}
	if r.Allow == nil {
		return r.claimed(id, values), nil
	}
	m.Vars = make(map[string]string, len(values))
	for i, name := range r.holes {
		if name != "" {
			m.Vars[name] = values[i]
		}
	}
	err := r.Allow(ctx, c, m)
	return err == nil, err
}

// match returns what stands in the holes of a room's name.
func (r *rule) match(room string) (values []string, ok bool) {
	rest, ok := strings.CutPrefix(room, r.literals[0])
	if !ok {
		return nil, false
	}
	for i := range r.holes {
		next := r.literals[i+1]
		end := len(rest)
		if i < len(r.holes)-1 || next != "" {
			end = strings.Index(rest, next)
		}
		if end < 1 {
			return nil, false
		}
		values, rest = append(values, rest[:end]), rest[end+len(next):]
	}
	return values, rest == ""
}

// claimed reports whether the holes have what the identity claims.
func (r *rule) claimed(id *polywire.Identity, values []string) bool {
	for i, name := range r.holes {
		switch {
		case name == "":
		case id == nil:
			return false
		case name == "user":
			if values[i] != id.User {
				return false
			}
		case !holds(id.Claims[name], values[i]):
			return false
		}
	}
	return true
}
