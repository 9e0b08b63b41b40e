package polywire_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/polywire/polywire"
	"github.com/polywire/polywire/codec/protobuf"
	"github.com/polywire/polywire/wire/drs"
	"github.com/polywire/polywire/wire/goomerang"
	"github.com/polywire/polywire/wire/socketio"
	"github.com/polywire/polywire/wire/sse"
)

// foreign is a wire other than the native one, spoken by hand. Its language says
// whether it has WebSocket frames, and whether messages are text.
type foreign struct {
	language

	scheme string                        // of a listener of its own; empty: HTTP
	open   func(c *rawConn)              // makes a link of a connection; nil: nothing is needed
	well   func(s *site, c *rawConn)     // shows that a link is well
	early  bool                          // the rows are in place of open
	rows   func(l language) []wrongBytes // what a link ends for
}

// wrongBytes is what a peer sends, and how that ends.
type wrongBytes struct {
	name string
	in   []byte
	ends func(c *rawConn)
}

// kindString is a protobuf message that is linked in, as wrapperspb is.
const kindString = "google.protobuf.StringValue"

func linkedIn(s *polywire.Server) {
	polywire.HandleFunc(s, kindString, func(_ context.Context, in *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
		return in, nil
	})
}

func foreigners() []foreign {
	return []foreign{drsStream(), drsWebSocket(), goomerangWire(), socketIOWire(), eventStream()}
}

func drsStream() foreign {
	return foreign{
		language: language{name: "drs stream", json: true}, scheme: "drs+tcp",
		well: func(_ *site, c *rawConn) {
			c.write([]byte(`{"key":"k","action":"echo","body":7}`))
			c.gets(`{"key":"k","action":"drs.response","body":7}` + "\n")
		},
		rows: func(language) (rows []wrongBytes) {
			for name, in := range wrongCommands() {
				rows = append(rows, wrongBytes{name, []byte(in), (*rawConn).ends}) // a stream has no codes
			}
			return append(rows, wrongBytes{"over the limit", []byte(`{"action":"` + spaces(1<<20)), (*rawConn).ends})
		},
	}
}

func drsWebSocket() foreign {
	return foreign{
		language: language{name: "drs websocket", websocket: true, json: true}, open: webSocketAt("/socket"),
		well: func(_ *site, c *rawConn) {
			c.write(c.message(`{"key":"k","action":"echo","body":7}`))
			c.gets("\x81\x2c" + `{"key":"k","action":"drs.response","body":7}`)
		},
		rows: func(l language) (rows []wrongBytes) {
			for name, in := range wrongCommands() {
				rows = append(rows, wrongBytes{name, l.message(in), closed(3501)})
			}
			return append(rows,
				wrongBytes{"two commands", l.message(`{"action":"echo"}{"action":"echo"}`), closed(3501)},
				wrongBytes{"nothing", l.message(""), closed(3501)},
				wrongBytes{"binary", l.frame(opBinary, `{"action":"echo"}`), closed(3501)},
				wrongBytes{"over the limit", l.header(opText, 1<<20+1), closed(1009)})
		},
	}
}

func goomerangWire() foreign {
	return foreign{
		language: language{name: "goomerang", websocket: true}, open: webSocketAt("/ws"),
		well: func(_ *site, c *rawConn) {
			c.write(c.message("\x12\x1b" + kindString + "\x20\x01\x3a\x04\x0a\x02hi"))
			got := string(second(c.read()))
			if !strings.HasPrefix(got, "\x12\x1b"+kindString+"\x18\x04\x20\x01\x2a") || !strings.HasSuffix(got, "\x3a\x04\x0a\x02hi") {
				c.t.Errorf("answered with %q", got)
			}
		},
		rows: func(l language) []wrongBytes {
			return []wrongBytes{
				{"text", l.frame(opText, "hello"), closed(1003)},
				{"no frame", l.message("\xff"), closed(3501)},
				{"no kind", l.message("\x3a\x04\x0a\x02hi"), closed(3501)},
				{"nothing", l.message(""), closed(3501)},
				{"a length that lies", l.message("\x12\xff\xff\xff\xff\x7fx"), closed(3501)},
				{"kind that is not UTF-8", l.message("\x12\x01\xff"), closed(3501)},
				{"no command", l.message("\x12\x1fgoomerang.protocol.SubscribeCmd\x3a\x01\x0a"), closed(3501)},
				{"too many headers", l.message("\x12\x1b" + kindString + manyHeaders(65)), closed(3501)},
				{"over the limit", l.header(opBinary, 1<<20+1), closed(1009)},
			}
		},
	}
}

func socketIOWire() foreign {
	return foreign{
		language: language{name: "socketio", websocket: true, json: true},
		open: func(c *rawConn) {
			webSocketAt("/socket.io/?EIO=4&transport=websocket")(c)
			_, hello := c.read()
			c.write(c.message("40"))
			if _, answer := c.read(); hello[0] != '0' || !strings.HasPrefix(string(answer), `40{"sid":`) {
				c.t.Fatalf("the opening was answered with %q, %q", hello, answer)
			}
		},
		well: func(_ *site, c *rawConn) {
			c.write(c.message(`421["echo",7]`))
			c.gets("\x81\x06431[7]")
		},
		rows: func(l language) []wrongBytes {
			return []wrongBytes{
				{"no packet of Engine.IO", l.message("x"), uncoded},
				{"nothing", l.message(""), uncoded},
				{"no packet of Socket.IO", l.message("4x"), closed(3501)},
				{"truncated", l.message(`42["echo"`), closed(3501)},
				{"no name", l.message(`42[]`), closed(3501)},
				{"a name that is reserved", l.message(`42["disconnect"]`), closed(3501)},
				{"nested very deep", l.message(`42["echo",` + strings.Repeat("[", 100_000)), closed(3501)},
				{"an attachment of nothing", l.frame(opBinary, "abc"), closed(3501)},
				{"text in place of an attachment", l.message(`451-["echo",{"_placeholder":true,"num":0}]42["echo"]`), closed(3501)},
				{"too many attachments", l.message(`499999999-["echo"]`), closed(3501)},
				{"over the limit", l.header(opText, 1<<20+1), closed(1009)},
			}
		},
	}
}

func eventStream() foreign {
	return foreign{
		language: language{name: "sse", websocket: true}, early: true,
		open: func(c *rawConn) {
			c.write([]byte("GET /events?room=r HTTP/1.1\r\nHost: example.com\r\n\r\n"))
			resp, err := http.ReadResponse(c.r, nil) //nolint:bodyclose // it is the connection's
			if err != nil || resp.StatusCode != http.StatusOK {
				c.t.Fatalf("the request was answered with %v, %v", resp, err)
			}
			c.r = bufio.NewReader(resp.Body)
			c.gets(": polywire\n\n")
		},
		well: func(s *site, c *rawConn) {
			if err := s.srv.Room("r").Send(c.t.Context(), "news", 7); err != nil {
				c.t.Error(err)
			}
			c.gets("event: news\nroom: \"r\"\ndata: 7\n\n")
		},
		rows: func(language) []wrongBytes {
			get := func(query string, headers ...string) []byte {
				return []byte("GET /events" + query + " HTTP/1.1\r\nHost: example.com\r\n" +
					strings.Join(append(headers, "Connection: close", "", ""), "\r\n"))
			}
			return []wrongBytes{
				{"malformed query", get("?room=%zz"), answered(400)},
				{"room without a name", get("?room="), answered(400)},
				{"long room name", get("?room=" + strings.Repeat("r", 256)), answered(400)},
				{"room of the server's own", get("?room=$x"), answered(403)},
				{"too many rooms", get("?" + manyRooms(129)), answered(429)},
				{"a body", get("", "Transfer-Encoding: chunked"), answered(400)},
				{"two places", get("", "Last-Event-ID: 1", "Last-Event-ID: 2"), answered(400)},
				{"no event stream", get("", "Accept: text/html"), answered(406)},
				{"foreign origin", get("", "Origin: https://evil.example"), answered(403)},
				{"endless request", append(get("?room=r"), spaces(1<<20)...), (*rawConn).drains},
			}
		},
	}
}

// wrongCommands of DRS, whatever carries them.
func wrongCommands() map[string]string {
	return map[string]string{
		"no JSON":              "hello",
		"malformed":            `{"action":echo}`,
		"no object":            `["echo"]`,
		"no action":            `{"key":"k"}`,
		"action that is none":  `{"action":7}`,
		"key that is none":     `{"action":"echo","key":{}}`,
		"nested very deep":     `{"action":"echo","body":` + strings.Repeat("[", 100_000),
		"a number that is bad": `{"action":"echo","body":01}`,
	}
}

// manyHeaders of a Goomerang frame have names of one byte.
func manyHeaders(n int) string {
	var b []byte
	for i := range n {
		b = append(b, "\x32\x03\x0a\x01"...)
		b = append(b, byte('!'+i))
	}
	return string(b)
}

func manyRooms(n int) string {
	query := url.Values{}
	for i := range n {
		query.Add("room", fmt.Sprint("r", i))
	}
	return query.Encode()
}

func second[A, B any](_ A, b B) B { return b }

func webSocketAt(path string) func(c *rawConn) {
	return func(c *rawConn) {
		c.t.Helper()
		c.write([]byte(strings.Replace(request(), "/polywire", path, 1)))
		resp, err := http.ReadResponse(c.r, nil) //nolint:bodyclose // it has none
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			c.t.Fatalf("the handshake was answered with %v, %v", resp, err)
		}
	}
}

func closed(code polywire.CloseCode) func(c *rawConn) {
	return func(c *rawConn) { c.t.Helper(); c.closes(code) }
}

// uncoded is the end of an Engine.IO session, whose close frame says nothing.
func uncoded(c *rawConn) {
	c.t.Helper()
	c.gets("\x88\x00")
	_, _ = c.nc.Write(c.frame(opClose, "")) // it may be gone already
	c.ends()
}

func answered(status int) func(c *rawConn) {
	return func(c *rawConn) {
		c.t.Helper()
		resp, err := http.ReadResponse(c.r, nil) //nolint:bodyclose // it is read to the end
		if err != nil || resp.StatusCode != status {
			c.t.Fatalf("answered with %v, %v, want %d", resp, err, status)
		}
		c.drains()
	}
}

// gets reads exactly this.
func (c *rawConn) gets(want string) {
	c.t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c.r, got); err != nil || string(got) != want {
		c.t.Fatalf("got %q, %v, want %q", got[:n], err, want)
	}
}

// What is against a wire's rules ends the connection that it came on, as that
// wire ends, and nothing else.
func TestBadInputOfForeignWires(t *testing.T) {
	newSite(t, nil).close() // what the runtime opens once, it opens here
	for _, f := range foreigners() {
		for _, row := range f.rows(f.language) {
			t.Run(f.name+"/"+row.name, func(t *testing.T) {
				before, files := goleak.IgnoreCurrent(), descriptors()
				s := newSite(t, linkedIn,
					polywire.WithWires(drs.New(), goomerang.New(), socketio.New(), sse.New()), polywire.WithCodecs(protobuf.Codec{}))
				if f.scheme != "" {
					s.tcp = s.listen(f.scheme)
				}
				enter := func(open bool) *rawConn {
					c := s.connect(f.language)
					if open && f.open != nil {
						f.open(c)
					}
					return c
				}
				witness, other, bad := enter(true), s.open(languages()[0]), enter(!f.early)
				f.well(s, witness)
				if !f.early {
					f.well(s, bad)
				}
				_, _ = bad.nc.Write(row.in) // the end may come before all of it is written
				row.ends(bad)
				f.well(s, witness)
				other.echo()
				witness.nc.Close()
				other.nc.Close()
				s.close()
				nothingLeft(t, before, files)
			})
		}
	}
}
