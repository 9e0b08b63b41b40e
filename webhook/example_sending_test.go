package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"time"

	"github.com/polywire/polywire/webhook"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// Two secrets sign while one of them is replaced.
func ExampleSigner_Sign() {
	secret, err := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	check(err)
	signer, err := webhook.NewSigner(secret)
	check(err)
	signature, err := signer.Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	check(err)
	fmt.Println(signature)
	// Output: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=
}

// Without the middleware: the headers and the body, byte by byte as it came.
func ExampleVerifier_Verify() {
	secret, err := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	check(err)
	verifier, err := webhook.NewVerifier(webhook.VerifierOptions{
		Now: func() time.Time { return time.Unix(1614265400, 0) }, // of this example; leave it out
	}, secret)
	check(err)
	h := http.Header{}
	h.Set(webhook.HeaderID, "msg_p5jXN8AQM9LWM0D4loKWxJek")
	h.Set(webhook.HeaderTimestamp, "1614265330")
	h.Set(webhook.HeaderSignature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")

	m, err := verifier.Verify(h, []byte(`{"test": 2432232314}`))
	fmt.Println(m.ID, err)
	_, err = verifier.Verify(h, []byte(`{"test": 2432232315}`))
	fmt.Println(errors.Is(err, webhook.ErrNoMatch))
	// Output:
	// msg_p5jXN8AQM9LWM0D4loKWxJek <nil>
	// true
}

// One delivery, and what came of it. Package webhook/dispatch makes them
// durable and tries again.
func ExampleDestination_Deliver() {
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "120")
		http.Error(w, "later", http.StatusServiceUnavailable)
	}))
	defer busy.Close()

	client, err := webhook.NewClient(webhook.ClientOptions{ // the receiver is on this machine, which is refused otherwise
		AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
	})
	check(err)
	defer client.Close()
	to, err := client.Prepare(webhook.Endpoint{
		ID: "ep_1", URL: busy.URL, Types: []string{"payment.*"}, Secrets: []webhook.Secret{webhook.GenerateSecret()},
	})
	check(err)
	event := webhook.Event{ID: webhook.NewID(), Type: "payment.approved", Time: time.Now(), Data: map[string]int{"order": 7}}
	body, err := event.Body(webhook.FormatStandard)
	check(err)

	attempt := to.Deliver(context.Background(), event.ID, event.Type, body, 1)
	fmt.Println(attempt.Class, attempt.Status, attempt.Verdict())
	wait, again := webhook.DefaultSchedule().Next(attempt, 0.5)
	fmt.Println(again, wait)
	// Output:
	// throttled 503 retry
	// true 2m0s
}

// A schedule of one's own: at once, after a minute, and after an hour.
func ExampleNewSchedule() {
	schedule, err := webhook.NewSchedule(0, 0, time.Minute, time.Hour)
	check(err)
	for try := 1; ; try++ {
		wait, there := schedule.Delay(try, 0.5)
		if !there {
			break
		}
		fmt.Println("try", try, "after", wait)
	}
	// Output:
	// try 1 after 0s
	// try 2 after 1m0s
	// try 3 after 1h0m0s
}
