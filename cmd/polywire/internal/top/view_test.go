package top_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/rivo/uniseg"

	"github.com/polywire/polywire/cmd/polywire/internal/top"
)

func updated() bool { return flag.Lookup("test.run") != nil && os.Getenv("UPDATE_GOLDEN") != "" }

// answers are what a console says, by path.
func answers() map[string]string {
	return map[string]string{
		"overview": `{"node":"7fae","name":"one","version":"(devel)","state":"running","started":"2026-11-20T10:00:00Z","uptime_ms":93784000,
 "parts":{"queues":true,"webhooks":true,"settings":true,"cluster":true},
 "now":{"connections":12345,"asleep":12000,"rooms":42,"memberships":2024,"queued_bytes":123456,"accepted":20001,"refused":7,"dropped":3,"slow":2,
  "nodes":2,"cluster_available":true,"wires":[
  {"wire":"native","connections":12000,"accepted":19000,"messages_in":1200,"messages_out":90000,"queued_bytes":100000},
  {"wire":"socketio","connections":345,"accepted":1001,"messages_in":34,"messages_out":100,"queued_bytes":23456}]},
 "point":{"at_ms":1790000000000,"accepted":1.5,"refused":0,"messages_in":1234.5,"messages_out":98765,"bytes_in":45678,"bytes_out":123456789,
  "handled":1200,"failed":2,"p50_ms":0.12,"p99_ms":3.4,"dropped":1,"queued_bytes":123456,"memory_bytes":123456789,"heap_bytes":45678901,"goroutines":321}}`,
		"nodes": `{"self":"7fae","available":true,"missing_nodes":["0002"],"nodes":[
 {"id":"7fae","name":"one","self":true,"connections":12345,"rooms":42,"queued_bytes":123456,"slow":2},{"id":"0002","name":"two"}]}`,
		"queues": `{"available":true,"connection":{"state":"connected"},"queues":[
 {"name":"orders","waiting":1200,"delayed":3,"unacked":8,"dead":2,"handler":{"paused":false,"done_rate":12.5}},
 {"name":"mails","waiting":0,"unacked":0,"dead":0,"handler":{"paused":true,"done_rate":0}},{"name":"lost","error":"no such stream"}]}`,
		"webhooks": `{"available":true,"accepted":10,"attempts":12,"delivered":9,"retried":2,"failed":1,"endpoints":[
 {"id":"shop","host":"shop.example:443","disabled":false,"breaker":"closed","running":2,"waiting":1,"delivered":9,"failed":0},
 {"id":"crm","host":"crm.example:443","disabled":false,"failing_since":"2026-11-21T11:00:00Z","breaker":"open","running":0,"waiting":4,"delivered":0,"failed":1}]}`,
		"connections": `{"matched":12345,"next":"x","connections":[
 {"id":"7fae-1","node":"7fae","wire":"native","namespace":"/","user":"ada","address":"192.0.2.1:5000","messages_in":900,"messages_out":80,"queued_bytes":0,"idle_ms":1200},
 {"id":"7fae-2","node":"7fae","wire":"socketio","namespace":"/","address":"[2001:db8::1]:5000","messages_in":12,"messages_out":9999999,"queued_bytes":99999,"idle_ms":100}]}`,
	}
}

// figures are what answers say.
func figures(t *testing.T, said map[string]string) top.Figures {
	t.Helper()
	f := top.Figures{At: time.Date(2026, 11, 21, 12, 3, 4, 0, time.UTC), Server: "127.0.0.1:9090"}
	for path, to := range map[string]any{"overview": &f.Overview, "nodes": &f.Nodes, "queues": &f.Queues, "webhooks": &f.Webhooks, "connections": &f.Busiest} {
		if err := json.Unmarshal([]byte(said[path]), to); err != nil {
			t.Fatal(path, err)
		}
	}
	f.Busiest.By = "in"
	return f
}

// earlier are the figures of ten seconds before.
func earlier(t *testing.T) *top.Figures {
	t.Helper()
	f := figures(t, answers())
	f.At = f.At.Add(-10 * time.Second)
	for i := range f.Overview.Now.Wires {
		w := &f.Overview.Now.Wires[i]
		w.MessagesIn, w.MessagesOut = w.MessagesIn-10, w.MessagesOut-55
	}
	return &f
}

func TestPage(t *testing.T) {
	for _, size := range []struct{ w, h int }{{40, 12}, {40, 50}, {60, 24}, {80, 24}, {132, 43}} {
		t.Run(fmt.Sprintf("%dx%d", size.w, size.h), func(t *testing.T) {
			page := top.Page(figures(t, answers()), top.View{Width: size.w, Height: size.h, Before: earlier(t)})
			got := strings.Join(page, "\n") + "\n"
			golden := filepath.Join("testdata", fmt.Sprintf("%dx%d.txt", size.w, size.h))
			if updated() {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || got != string(want) {
				t.Errorf("%v; %s (UPDATE_GOLDEN=1 writes it) is not\n%s", err, golden, got)
			}
		})
	}
}

// inside checks that lines fit, and have nothing that moves a cursor.
func inside(t *testing.T, page []string, w, h int, colour bool) {
	t.Helper()
	if len(page) > h {
		t.Errorf("%d lines in %d", len(page), h)
	}
	for _, line := range page {
		for _, way := range []string{"\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[33m"} {
			if colour {
				line = strings.ReplaceAll(line, way, "")
			}
		}
		if n := uniseg.StringWidth(line); n != w {
			t.Errorf("%d columns in %d: %q", n, w, line)
		}
		for _, r := range line {
			if !unicode.IsPrint(r) || unicode.In(r, unicode.M, unicode.Hebrew, unicode.Arabic, unicode.Syriac, unicode.Adlam) {
				t.Errorf("%U is in %q", r, line)
			}
		}
	}
}

// Whatever the room, it is kept to.
func TestEverySize(t *testing.T) {
	f, before := figures(t, answers()), earlier(t)
	for w := 40; w <= 160; w++ {
		for _, h := range []int{4, 5, 9, 14, 20, 60} {
			inside(t, top.Page(f, top.View{Width: w, Height: h, Before: before}), w, h, false)
			inside(t, top.Page(f, top.View{Width: w, Height: h, Color: true}), w, h, true)
		}
	}
	for _, v := range []top.View{{}, {Width: -1, Height: -1}, {Width: 3, Height: 1}} {
		inside(t, top.Page(f, v), 40, 4, false)
	}
}

// hostile is what strangers call themselves.
func hostile() []string {
	return []string{
		"\x1b]0;owned\x07", "\x1b[2J\x1b[H", "\u009b31m", "a\r\nb\tc\x00", "\u202etxt.exe", "שלום עולם", "مرحبا", "e\u0301\u0301\u0301\u0301", "\u200d\u200b\ufeff",
		"漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字", "👩‍👩‍👧‍👦🇩🇪", strings.Repeat("x", 100_000), "\xff\xfe\x80", "\U0001E900\U00010B00", "\u2066\u2069",
	}
}

func TestHostileNames(t *testing.T) {
	for _, name := range hostile() {
		f := figures(t, answers())
		f.Server, f.Overview.Name, f.Overview.State = name, name, name
		for i := range f.Overview.Now.Wires {
			f.Overview.Now.Wires[i].Wire = name
		}
		for i := range f.Nodes.Nodes {
			f.Nodes.Nodes[i].Name = name
		}
		f.Queues.Connection.State = name
		for i := range f.Queues.Queues {
			f.Queues.Queues[i].Name, f.Queues.Queues[i].Error = name, name
		}
		for i := range f.Webhooks.Endpoints {
			e := &f.Webhooks.Endpoints[i]
			e.ID, e.Host, e.Breaker = name, name, name
		}
		for i := range f.Busiest.Connections {
			c := &f.Busiest.Connections[i]
			c.ID, c.User, c.Address, c.Wire = name, name, name, name
		}
		for _, w := range []int{40, 57, 80, 133} {
			inside(t, top.Page(f, top.View{Width: w, Height: 60}), w, 60, false)
			inside(t, top.Page(f, top.View{Width: w, Height: 60, Color: true}), w, 60, true)
		}
		f.Error = name
		inside(t, top.Page(f, top.View{Width: 60, Height: 60}), 60, 60, false)
		line := top.Line(f)
		inside(t, []string{line}, uniseg.StringWidth(line), 1, false)
		text, err := top.JSON(f)
		if err != nil || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%v: %.200q", err, text)
		}
		var back top.Figures
		if err := json.Unmarshal([]byte(text), &back); err != nil || back.Overview.Name != strings.ToValidUTF8(name, "\ufffd") && !strings.Contains(name, "\xff") {
			t.Errorf("%v: %.200q became %.200q", err, name, back.Overview.Name)
		}
	}
}

// Numbers that nobody expects do no harm.
func TestStrangeNumbers(t *testing.T) {
	said := answers()
	for _, number := range []string{"-1", "0", "9223372036854775807", "-9223372036854775808", "999.95", "1e18", "1023.9"} {
		f := figures(t, said)
		var n float64
		if err := json.Unmarshal([]byte(number), &n); err != nil {
			t.Fatal(err)
		}
		p, o := &f.Overview.Point, f.Overview
		p.MessagesIn, p.BytesIn, p.Failed, p.Handled, o.Uptime = n, n, n, n, n
		p.P50, p.P99 = &n, nil
		f.Overview.Now.Connections, f.Overview.Now.QueuedBytes = int64(n), int64(n)
		for _, w := range []int{40, 80} {
			inside(t, top.Page(f, top.View{Width: w, Height: 60}), w, 60, false)
		}
	}
	empty := top.Figures{Overview: new(top.Overview), Nodes: new(top.Nodes), Queues: &top.Queues{Available: true}, Webhooks: &top.Webhooks{Available: true}, Busiest: new(top.Busiest)}
	inside(t, top.Page(empty, top.View{Width: 40, Height: 60}), 40, 60, false)
	inside(t, top.Page(top.Figures{Error: "away"}, top.View{Width: 40, Height: 60}), 40, 60, false)
}

func TestLine(t *testing.T) {
	f := figures(t, answers())
	if got, want := strings.Fields(top.Line(f)), 14; len(got) < want {
		t.Errorf("%d figures: %q", len(got), got)
	}
	if a, b := len([]rune(top.Line(f))), len([]rune(top.Heading())); a != b {
		t.Errorf("a line has %d letters, its heading %d", a, b)
	}
	f.Error = "refused"
	if got := top.Line(f); got != "12:03:04  away: refused" {
		t.Error(got)
	}
}
