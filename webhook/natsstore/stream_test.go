package natsstore

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// TestConfirmed has answers as a server gives them to what was to be stored, and others.
func TestConfirmed(t *testing.T) {
	for answer, good := range map[string]bool{
		`{"stream":"a-webhook-events", "seq":7}`:                               true,
		`{"stream":"a-webhook-events","domain":"d","seq":7,"duplicate": true}`: true,
		`{"seq":7,"stream":"a"}`:                                               true,
		``:                                                                     false,
		`{}`:                                                                   false,
		`{"seq":7}`:                                                            false,
		`{"stream`:                                                             false,
		`[]`:                                                                   false,
		`-ERR`:                                                                 false,
		`{"error":{"code":400,"err_code":10077,"description":"maximum bytes exceeded"}}`:    false,
		`{"stream":"a","seq":0,"error":{"code":503,"err_code":10023,"description":"none"}}`: false,
	} {
		if err := confirmed([]byte(answer)); (err == nil) != good {
			t.Errorf("%s: %v", answer, err)
		}
	}
	err := confirmed([]byte(`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"a","seq":0}`))
	if api, ok := errors.AsType[*jetstream.APIError](err); !ok || api.ErrorCode != 10077 || !full(api) {
		t.Errorf("got %v", err)
	}
}
