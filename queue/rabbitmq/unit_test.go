package rabbitmq

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/queue"
)

func TestNames(t *testing.T) {
	ours := names{prefix: "app "}
	seen := map[string]string{}
	for _, q := range []string{
		"orders", "dead.orders", "%64ead.orders", "%2564ead.orders", "delay.3", "delay.due", "lock.orders", "amq.orders",
		"%61mq.orders", "Dead.orders", "orders.eu", "*", "#", "żółć ✓", strings.Repeat("x", queue.MaxNameBytes),
	} {
		for what, name := range map[string]string{"work": ours.work(q), "dead": ours.dead(q), "lock": ours.lock(q)} {
			if len(name) > maxShort || !strings.HasPrefix(name, "app ") {
				t.Errorf("%s of %q is %q", what, q, name)
			}
			if other, taken := seen[name]; taken {
				t.Errorf("%s of %q and %s have the same name %q", what, q, other, name)
			}
			seen[name] = what + " of " + q
		}
	}
	for level := range levels {
		if other, taken := seen[ours.delay(level)]; taken {
			t.Errorf("level %d is called as %s", level, other)
		}
	}
	for q, want := range map[string]string{"orders": "orders", "amq.x": "%61mq.x", "dead.x": "%64ead.x", "%x": "%25x"} {
		if got := (names{}).work(q); got != want {
			t.Errorf("the queue of %q is %q, want %q", q, got, want)
		}
	}
}

func TestWordsAreOneAndOwn(t *testing.T) {
	seen := map[string]string{}
	dots, stars := strings.Repeat(".", queue.MaxNameBytes), strings.Repeat("*", queue.MaxNameBytes)
	for _, q := range []string{"a", "a.b", "a%2Eb", "*", "%2A", "#", "%", "%h", dots, stars, "%h" + strings.Repeat("0", 32)} {
		w := word(q)
		if strings.ContainsAny(w, ".*#") {
			t.Errorf("%q becomes %q, which is not one word without wildcards", q, w)
		}
		if other, taken := seen[w]; taken {
			t.Errorf("%q and %q become the same word %q", q, other, w)
		}
		seen[w] = q
		if key, _ := delayKey(maxUnits, q); len(key) > maxShort {
			t.Errorf("the key for %q has %d bytes", q, len(key))
		}
	}
}

func TestDelayUnits(t *testing.T) {
	for _, c := range []struct {
		delay time.Duration
		units int
		rest  time.Duration
	}{
		{-time.Second, 0, 0},
		{0, 0, 0},
		{1, 1, 0},
		{unit, 1, 0},
		{unit + 1, 2, 0},
		{10 * time.Second, 40, 0},
		{255 * time.Second, 1020, 0},
		{256*time.Second + 1, 1026, 0}, // 11 bits are rounded up to 10
		{time.Hour, 14400, 0},
		{maxUnits * unit, maxUnits, 0},
		{maxUnits*unit + time.Nanosecond, maxUnits, time.Nanosecond},
		{queue.MaxDelay, maxUnits, queue.MaxDelay - maxUnits*unit},
	} {
		units, rest := delayUnits(c.delay)
		if units != c.units || rest != c.rest {
			t.Errorf("%v is %d units and %v, want %d and %v", c.delay, units, rest, c.units, c.rest)
		}
	}
	for d := time.Millisecond; d < maxUnits*unit; d += d/7 + time.Millisecond {
		units, _ := delayUnits(d)
		late := time.Duration(units)*unit - d
		if late < 0 || late > unit && late > d/500 {
			t.Fatalf("%v becomes %d units, %v too long", d, units, late)
		}
	}
}

// TestDelayWalk follows keys through the patterns of the ladder, as the
// broker's topic exchanges do.
func TestDelayWalk(t *testing.T) {
	for _, units := range []int{1, 2, 3, 40, 14400, maxUnits - 1<<14, maxUnits} {
		key, level := delayKey(units, "a.b")
		walked := 0
		for ; level >= 0; level-- {
			one, zero := topicMatches(stepPattern(level, '1'), key), topicMatches(stepPattern(level, '0'), key)
			if one == zero {
				t.Fatalf("%d units at level %d: %v %v", units, level, one, zero)
			}
			if one {
				walked += 1 << level
			}
		}
		if walked != units {
			t.Errorf("%d units walk %d", units, walked)
		}
		if !topicMatches(duePattern("a.b"), key) || topicMatches(duePattern("b"), key) || topicMatches(duePattern("*"), key) {
			t.Errorf("%d units do not end in their queue alone", units)
		}
	}
	if longest := (unit << (levels - 1)).Milliseconds(); longest > 1<<32-1 {
		t.Errorf("%d ms are more than RabbitMQ takes", longest)
	}
}

// TestAddressIsWrittenLate has a message wait for its broker: what is left of
// its delay counts, and none is left when it is due.
func TestAddressIsWrittenLate(t *testing.T) {
	n, now := names{prefix: "app "}, time.Now()
	m := &outgoing{queue: "q", key: n.work("q"), due: now.Add(maxUnits*unit + time.Hour), msg: amqp.Publishing{Headers: amqp.Table{}}}
	for _, c := range []struct {
		wait          time.Duration
		exchange, key string
		rest          any
	}{
		{0, "app delay.24", strings.Repeat("0.", 24) + "1.q", "1h0m0s"},
		{time.Hour - time.Minute, "app delay.24", strings.Repeat("0.", 24) + "1.q", "1m0s"},
		{time.Hour, "app delay.24", strings.Repeat("0.", 24) + "1.q", nil},
		{time.Hour + maxUnits*unit - time.Second, "app delay.2", "0.0.1.q", nil},
		{time.Hour + maxUnits*unit - 1, "app delay.0", "1.q", nil},
		{time.Hour + maxUnits*unit, "", "app q", nil},
		{2*time.Hour + maxUnits*unit, "", "app q", nil},
	} {
		m.address(n, now.Add(c.wait))
		if m.exchange != c.exchange || m.key != c.key || m.ladder != (c.exchange != "") || m.msg.Headers[fieldRest] != c.rest {
			t.Errorf("after %v: exchange %q, key %q, ladder %v, headers %v", c.wait, m.exchange, m.key, m.ladder, m.msg.Headers)
		}
	}
	m = &outgoing{exchange: "e", key: "k"}
	if m.address(n, now); m.exchange != "e" || m.key != "k" || m.ladder {
		t.Errorf("without a time: %+v", m)
	}
}

// TestYouth is that of a queue in a session, however often it is made again.
func TestYouth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s session
		if s.young("q") {
			t.Error("a queue that was never seen is young")
		}
		s.meet("q")
		time.Sleep(youth - 1)
		s.forget("q")
		s.meet("q")
		if !s.young("q") || s.young("other") {
			t.Errorf("shortly before its time: %v; another one: %v", s.young("q"), s.young("other"))
		}
		time.Sleep(time.Nanosecond)
		if s.young("q") {
			t.Error("after its time it is young")
		}
		for n := range 2 * maxKnown {
			s.meet(strconv.Itoa(n))
		}
		if n := len(s.admin.first); n > maxKnown {
			t.Errorf("%d queues are remembered", n)
		}
	})
}

// topicMatches is a topic exchange's rule for "*" anywhere and "#" at one end.
func topicMatches(pattern, key string) bool {
	p, k := strings.Split(pattern, "."), strings.Split(key, ".")
	if p[0] == "#" {
		p, k = p[1:], k[max(0, len(k)-len(p)+1):]
	}
	for i, w := range p {
		if w == "#" {
			return true
		}
		if i >= len(k) || w != "*" && w != k[i] {
			return false
		}
	}
	return len(p) == len(k)
}

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want error
		text string
	}{
		{"closed", amqp.ErrClosed, queue.ErrUnavailable, ""},
		{"network", errors.New("broken pipe"), queue.ErrUnavailable, "broken pipe"},
		{"missing", &amqp.Error{Code: 404, Reason: "NOT_FOUND - no queue 'q' in vhost '/'"}, queue.ErrNotFound, "no queue 'q'"},
		{"right", &amqp.Error{Code: 403, Reason: "ACCESS_REFUSED - no"}, queue.ErrRefused, "ACCESS_REFUSED"},
		{
			"type", &amqp.Error{Code: 406, Reason: "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'it's' in vhost '/': received 'quorum' but current is 'classic'"},
			ErrTopology, `queue "it's" has x-queue-type classic, and quorum is needed`,
		},
		{
			"unset", &amqp.Error{Code: 406, Reason: "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q' in vhost 'v': received the value '250' of type 'long' but current is none"},
			queue.ErrRefused, `queue "q" has x-message-ttl unset, and 250 is needed`,
		},
		{"reworded", &amqp.Error{Code: 406, Reason: "PRECONDITION_FAILED - inequivalent in new words"}, ErrTopology, "new words"},
		{"other", &amqp.Error{Code: 406, Reason: "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out"}, queue.ErrRefused, "timed out"},
		{"hard", &amqp.Error{Code: 541, Reason: "INTERNAL_ERROR"}, queue.ErrUnavailable, "INTERNAL_ERROR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := explain(c.err)
			if !errors.Is(got, c.want) || !strings.Contains(got.Error(), c.text) {
				t.Errorf("it becomes %v, want %v with %q", got, c.want, c.text)
			}
		})
	}
	if explain(nil) != nil {
		t.Error("no error becomes one")
	}
}

func TestOptionsKeepTheirSecrets(t *testing.T) {
	for _, url := range []string{
		"", "http://guest:s3cret@host/", "amqp://guest:s3cret@host:port/", "amqp://guest:s3c/ret@host", "amqp://guest:s3cret@ho st/", "://s3cret",
	} {
		_, err := New(t.Context(), Options{URLs: []string{url}})
		if !errors.Is(err, queue.ErrInvalid) {
			t.Errorf("%q: %v", url, err)
		} else if strings.Contains(err.Error(), "s3c") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	_, err := New(t.Context(), Options{URLs: []string{"amqp://guest:s3cret@127.0.0.1:1/"}, DialTimeout: time.Second})
	if !errors.Is(err, queue.ErrUnavailable) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("nobody there: %v", err)
	}
}

func TestBadOptions(t *testing.T) {
	url := []string{"amqp://host/"}
	for name, o := range map[string]Options{
		"no URL":          {},
		"negative time":   {URLs: url, Heartbeat: -1},
		"window":          {URLs: url, Window: MaxWindow + 1},
		"negative window": {URLs: url, Window: -1},
		"size":            {URLs: url, MaxMessageBytes: -1},
		"replicas":        {URLs: url, Replicas: -1},
		"prefix":          {URLs: url, Prefix: "a\nb"},
		"long prefix":     {URLs: url, Prefix: strings.Repeat("p", MaxPrefixBytes+1)},
	} {
		if _, err := New(t.Context(), o); !errors.Is(err, queue.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
