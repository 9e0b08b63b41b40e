package httphead

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/polywire/polywire/internal/testenv"
)

func TestMain(m *testing.M) { testenv.VerifyNoLeaks(m) }

func TestElements(t *testing.T) {
	h := http.Header{"Connection": {"keep-alive , Upgrade", "", " ,\t,x"}}
	if got := slices.Collect(Elements(h, "connection")); !slices.Equal(got, []string{"keep-alive", "Upgrade", "x"}) {
		t.Errorf("%q", got)
	}
	for range Elements(h, "Connection") { // ends where its reader does
		break
	}
	for token, want := range map[string]bool{"upgrade": true, "X": true, "keep": false, "": false, "keep-alive , Upgrade": false} {
		if Has(h, "Connection", token) != want {
			t.Errorf("%q: %v", token, !want)
		}
	}
	if Has(h, "Upgrade", "x") {
		t.Error("a header that is not there has an element")
	}
}

func TestSameOrigin(t *testing.T) {
	for _, tt := range []struct {
		origins []string
		want    bool
	}{
		{nil, true},
		{[]string{"https://a.example:8080"}, true},
		{[]string{"http://A.EXAMPLE:8080"}, true},
		{[]string{"https://a.example"}, false},
		{[]string{"https://b.example:8080"}, false},
		{[]string{"https://a.example:8080", "https://a.example:8080"}, false},
		{[]string{"null"}, false},
		{[]string{""}, false},
		{[]string{"https://a.example:8080:"}, false},
		{[]string{"%"}, false},
	} {
		r := &http.Request{Host: "a.example:8080", Header: http.Header{"Origin": tt.origins}}
		if got := SameOrigin(r); got != tt.want {
			t.Errorf("%q: %v", tt.origins, got)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UTC().Truncate(time.Second)
		for s, want := range map[string]time.Duration{
			"": 0, "0": 0, "7": 7 * time.Second, "-7": 0, "+7": 0, "7.5": 0, "soon": 0,
			"2147483647": 2147483647 * time.Second, "2147483648": 0,
			now.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
			now.Add(-time.Minute).Format(http.TimeFormat): 0,
		} {
			if got := RetryAfter(http.Header{"Retry-After": {s}}); got != want {
				t.Errorf("%q: %v, want %v", s, got, want)
			}
		}
		if got := RetryAfter(http.Header{}); got != 0 {
			t.Errorf("nothing: %v", got)
		}
	})
}

func TestFinal(t *testing.T) {
	for status, want := range map[int]bool{204: true, 403: true, 404: true, 408: false, 425: false, 429: false, 500: false, 503: false} {
		if Final(status) != want {
			t.Errorf("%d: %v", status, !want)
		}
	}
}

func TestCopy(t *testing.T) {
	as := "x-one" // as nobody writes it who uses Set
	from := http.Header{as: {"1", "2"}, "Upgrade": {"x"}, "Host": {"h"}}
	to := http.Header{"X-Two": {"3"}}
	if host := Copy(to, from, map[string]bool{"Upgrade": true}); host != "h" {
		t.Errorf("host %q", host)
	}
	from[as][0] = "changed"
	if want := (http.Header{"X-One": {"1", "2"}, "X-Two": {"3"}}); !maps.EqualFunc(to, want, slices.Equal) {
		t.Errorf("%v, want %v", to, want)
	}
	if host := Copy(to, http.Header{"Host": nil}, nil); host != "" || to["Host"] != nil {
		t.Errorf("host %q of none, %v", host, to["Host"])
	}
}

func TestAuthorize(t *testing.T) {
	for _, tt := range []struct {
		user       *url.Userinfo
		have, want string
	}{
		{nil, "", ""},
		{url.UserPassword("a", "b"), "", "Basic YTpi"},
		{url.User("a"), "", "Basic YTo="},
		{url.UserPassword("a", "b"), "Bearer c", "Bearer c"},
	} {
		h := http.Header{"Authorization": {tt.have}}
		if Authorize(h, tt.user); h.Get("Authorization") != tt.want {
			t.Errorf("%v: %q, want %q", tt.user, h.Get("Authorization"), tt.want)
		}
	}
}
