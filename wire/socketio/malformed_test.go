package socketio_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/polywire/polywire/wire"
	"github.com/polywire/polywire/wire/socketio"
)

// malformed packets from clients: what official decoders refuse, and what they
// let through without a use for it.
func malformed() []string {
	deep := strings.Repeat("[", 200)
	return []string{
		``, `7`, `7["a"]`, `9`, `a`, `abc`, ` 2["a"]`, "\x002", "é",
		// the attachments' count
		`5`, `51`, `5-`, `5-["a"]`, `5a-["a"]`, `51.23-["a"]`, `5 1-["a"]`, `51e0-["a"]`, `5-1-["a"]`, `5+1-["a"]`, `51["a"]`,
		`511-["a"]`, `599999999999999999999999-["a"]`, `6["a"]`, `6x-1["a"]`, `611-1["a"]`,
		// connect
		`0[]`, `0"invalid"`, `0/admin,"invalid"`, `0null`, `01.5`, `0{`, `0{}{}`, `0{"a":1,}`, `0/admin,[]`, `0 `, `0{"a":` + deep,
		// disconnect
		`1/admin,{}`, `1{}`, `1[]`, `1 `, `1"a"`,
		// events
		`2`, `2[]`, `2 []`, `2/admin`, `2/admin,`, `2["some","data"`, `2["a",]`, `2[,"a"]`, `2["a" "b"]`, `2["a"]]`, `2["a"]x`,
		`2/admin,"invalid`, `2/admin,{}`, `2{}`, `2null`, `2"a"`, `21`, `2abc["x"]`, `2abc[]`, `2-1["x"]`, `21.5["x"]`, `21e3["x"]`, `2+1["x"]`,
		`2admin,["x"]`, `2["\x"]`, `2["a",` + deep, "2[\"a\xff\"]", "2[\"a\",\"\xc3\"]", "2[\"a\",\"\n\"]", `2['a']`, `2[a]`,
		`2[{"toString":"foo"}]`, `2[["a"]]`, `2[true,"foo"]`, `2[false]`, `2[null,"bar"]`, `2[-]`, `2[01]`, `2[NaN]`,
		// reserved names
		`2["connect"]`, `2["connect_error"]`, `2["disconnect","123"]`, `2["disconnecting"]`, `2["newListener"]`, `2["removeListener"]`,
		`2["\u0063onnect"]`, `51-["connect",{"_placeholder":true,"num":0}]`,
		// ids
		`218446744073709551615["a"]`, `2111111111111111111111["a"]`, `2000000000000000000000["a"]`, `318446744073709551615[]`,
		// acknowledgements
		`3`, `312`, `3[]`, `3["a"]`, `3/admin,["a"]`, `312{}`, `312"a"`, `312[`, `3a[]`, `61-[{"_placeholder":true,"num":0}]`, `60-["a"]`,
		// namespaces
		"2/\xff,[\"a\"]", `2/` + strings.Repeat("a", 512) + `,["a"]`, `0/` + strings.Repeat("a", 512),
		// binary events are checked before their attachments come
		`51-`, `51-[]`, `51-{}`, `51-["a"`, `51-[null]`, `51-a["x"]`, `51-/admin`,
		`2["a"` + strings.Repeat(",1", socketio.MaxArgs+1) + `]`,
	}
}

func TestMalformed(t *testing.T) {
	for _, packet := range malformed() {
		for _, version := range []int{4, 5} {
			var p wire.Packet
			ok, err := end{version: version}.session().Decode(text(packet), &p)
			if ok {
				t.Errorf("%.60q was taken", packet)
				continue
			}
			wantEnd(t, err, "forced close")
		}
	}
	for _, version := range []int{4, 5} {
		var p wire.Packet
		_, err := end{version: version, dialled: true}.session().Decode(text(`2{}`), &p)
		wantEnd(t, err, "parse error")
	}
}

// A namespace of version 4 has 512 bytes without its query, which may be longer.
func TestVersion4LongQuery(t *testing.T) {
	token := strings.Repeat("a", 2000)
	var p wire.Packet
	if ok, err := (end{version: 4}).session().Decode(text("0/admin?token="+token), &p); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if p.Namespace != "/admin" || string(p.Payload.Data) != `{"token":"`+token+`"}` {
		t.Errorf("%q, %.40s", p.Namespace, p.Payload.Data)
	}
	for query, want := range map[string]string{
		"a=%zz&b=%41%20+": `{"a":"%zz","b":"A  "}`,
		"&&a&=b&c=d=e":    `{"a":"","":"b","c":"d=e"}`,
		"a=%22%5C&b=%ff":  `{"a":"\"\\","b":"` + "\uFFFD" + `"}`,
	} {
		p.Reset()
		if ok, err := (end{version: 4}).session().Decode(text("0/a?"+query), &p); !ok || err != nil || string(p.Payload.Data) != want {
			t.Errorf("%s: %v, %v, %s", query, ok, err, p.Payload.Data)
		}
	}
	_, err := end{version: 4}.session().Decode(text("0/a?b=\xff"), &p)
	wantEnd(t, err, "forced close")
	many := "0/a?"
	for i := range 101 {
		many += fmt.Sprintf("&k%d=", i)
	}
	_, err = end{version: 4}.session().Decode(text(many), &p)
	wantEnd(t, err, "forced close")
}

// A client may not refuse.
func TestConnectErrorFromClient(t *testing.T) {
	for _, packet := range []string{`4{"message":"x"}`, `4`, `4"x"`, `4/admin,[]`} {
		var p wire.Packet
		ok, err := end{}.session().Decode(text(packet), &p)
		if ok {
			t.Errorf("%s was taken", packet)
		}
		wantEnd(t, err, "forced server close")
	}
}

// What only servers send.
func TestMalformedFromServer(t *testing.T) {
	for _, packet := range []string{
		`0`, `0{}`, `0{"sid":1}`, `0{"pid":"x"}`, `0"x"`, `4`, `4[]`, `4null`, `4true`, `4{`, `4{}{}`, `41`, `4"a`, `1{}`, `3[]`, `2`,
	} {
		var p wire.Packet
		ok, err := end{dialled: true}.session().Decode(text(packet), &p)
		if ok {
			t.Errorf("%s was taken", packet)
		}
		wantEnd(t, err, "parse error")
	}
}

// Attachments that are not as announced, or that nobody has announced.
func TestMalformedAttachments(t *testing.T) {
	for _, frames := range []string{
		`2["a"] | 00`,
		`50-["a"] | 00`,
		`51-["a",{"_placeholder":true,"num":0}] | 00 | 00`,
		`51-["a",{"_placeholder":true,"num":1}] | 00`,
		`51-["a",{"_placeholder":true,"num":-1}] | 00`,
		`51-["a",{"_placeholder":true,"num":0.5}] | 00`,
		`51-["a",{"_placeholder":true,"num":1e99}] | 00`,
		`51-["a",{"_placeholder":true,"num":99999999999999999999}] | 00`,
		`51-["a",{"_placeholder":true,"num":"0"}] | 00`,
		`51-["a",{"_placeholder":true,"num":"splice"}] | 00`,
		`51-["a",{"_placeholder":true,"num":null}] | 00`,
		`51-["a",{"_placeholder":true}] | 00`,
		`51-["a",{"b":[{"_placeholder":true,"num":7}]}] | 00`,
		`61-1[{"_placeholder":true,"num":2}] | 00`,
	} {
		s := end{}.session()
		all := framesOf(t, frames)
		for i, f := range all {
			var p wire.Packet
			ok, err := s.Decode(f, &p)
			if i < len(all)-1 {
				if err != nil {
					t.Errorf("%s: %v", frames, err)
				}
				continue
			}
			if ok {
				t.Errorf("%s: taken", frames)
			}
			wantEnd(t, err, "forced close")
		}
	}
	// Text between attachments, and a binary frame before anything.
	s := end{}.session()
	var p wire.Packet
	if ok, err := s.Decode(text(`52-["a"]`), &p); ok || err != nil {
		t.Fatal(ok, err)
	}
	if ok, err := s.Decode(binary("1"), &p); ok || err != nil {
		t.Fatal(ok, err)
	}
	_, err := s.Decode(text(`2["a"]`), &p)
	wantEnd(t, err, "forced close")
	_, err = end{}.session().Decode(binary("1"), &p)
	wantEnd(t, err, "forced close")
}

func TestMalformedMsgpack(t *testing.T) {
	str := func(s string) string { return hex.EncodeToString([]byte(s)) }
	packet := func(typ, rest string) string {
		return "83" + str("\xa4type") + typ + str("\xa3nsp\xa1/\xa4data") + rest
	}
	rows := []string{
		"", "c0", "01", "90", "80", "a0", "c1", "dc", "de00", "81", "81a1", "df7fffffff", "ddffffffff", "81a474797065",
		"82" + str("\xa4type") + "05" + str("\xa3nsp\xa1/"), "82" + str("\xa4type") + "ff" + str("\xa3nsp\xa1/"),
		"82" + str("\xa4type\xa10\xa3nsp\xa1/"), "82" + str("\xa4type") + "cb0000000000000000" + str("\xa3nsp\xa1/"),
		"81" + str("\xa4type") + "00", "81" + str("\xa3nsp\xa1/"), "82" + str("\xa4type") + "00" + str("\xa3nsp\xa0"),
		"82" + str("\xa4type") + "00" + str("\xa3nsp") + "c0", "82" + str("\xa4type") + "00" + str("\xa3nsp\xa5admin"),
		"82" + str("\xa4type") + "00" + str("\xa3nsp\xa2/\xff"), "82" + str("\xa4type") + "01" + str("\xa3nsp\xa1/") + "00",
		packet("00", "90"), packet("00", "01"), packet("01", "80"), packet("02", "c0"), packet("02", "80"), packet("02", "90"),
		packet("02", "91c0"), packet("02", "91c3"), packet("02", "9180"), packet("02", "91c400"), packet("02", "92a16b"),
		packet("02", "91"+str("\xa7connect")), packet("02", "92"+str("\xa1k\xa1\xff")), packet("02", "92a16bc1"), packet("02", "92a16bdb7fffffff"),
		packet("02", "92a16bc6ffffffff00"), packet("02", "92a16bc97fffffff00"), packet("02", "92a16bcd00"), packet("02", "92a16bdd00ffffff00"),
		packet("02", "92a16b"+strings.Repeat("91", 200)+"00"), packet("02", "dd00000500"+strings.Repeat("00", 0x500)),
		packet("03", "90"),
		"84" + str("\xa4type") + "02" + str("\xa3nsp\xa1/\xa4data\x91\xa1k\xa2id") + "ff", "84" + str("\xa4type") + "02" + str("\xa3nsp\xa1/\xa4data\x91\xa1k\xa2id\xa11"),
		"84" + str("\xa4type") + "02" + str("\xa3nsp\xa1/\xa4data\x91\xa1k\xa2id") + "cfffffffffffffffff",
		"84" + str("\xa4type") + "02" + str("\xa3nsp\xa1/\xa4data\x91\xa1k\xa2id") + "d08f",
	}
	msgpack := end{options: []socketio.Option{socketio.WithParser(socketio.Msgpack)}}
	for _, row := range rows {
		data, err := hex.DecodeString(row)
		if err != nil {
			t.Fatal(row, err)
		}
		var p wire.Packet
		ok, err := msgpack.session().Decode(binary(string(data)), &p)
		if ok {
			t.Errorf("%s was taken", row)
		}
		wantEnd(t, err, "forced close")
	}
	var p wire.Packet
	_, err := msgpack.session().Decode(text(`2["a"]`), &p)
	wantEnd(t, err, "forced close")
	data, err := hex.DecodeString(packet("04", "80"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = msgpack.session().Decode(binary(string(data)), &p)
	wantEnd(t, err, "forced server close")
	msgpack.dialled = true
	for _, row := range []string{packet("00", "80"), packet("00", "81"+str("\xa3sid")+"01"), packet("04", "90"), packet("04", "c0")} {
		data, err := hex.DecodeString(row)
		if err != nil {
			t.Fatal(err)
		}
		_, err = msgpack.session().Decode(binary(string(data)), &p)
		wantEnd(t, err, "parse error")
	}
}
