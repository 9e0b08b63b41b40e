package webhook_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/polywire/polywire/webhook"
)

// A receiver verifies what a sender signed, and handles it once.
func ExampleMiddleware() {
	secret := webhook.GenerateSecret()
	fmt.Println(secret) // secret.Reveal() is for the receiver's eyes

	verifier, err := webhook.NewVerifier(webhook.VerifierOptions{}, secret)
	if err != nil {
		panic(err)
	}
	receiver := webhook.Middleware(verifier, webhook.ReceiverOptions{})(
		http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			m, _ := webhook.FromContext(r.Context())
			fmt.Println("handled", m.Type)
		}))

	signer, err := webhook.NewSigner(secret)
	if err != nil {
		panic(err)
	}
	event := webhook.Event{ID: webhook.NewID(), Type: "payment.approved", Time: time.Now(), Data: 100}
	body, err := event.Body(webhook.FormatStandard)
	if err != nil {
		panic(err)
	}
	for range 2 {
		r := httptest.NewRequest(http.MethodPost, "/hook", strings.NewReader(string(body)))
		if err := signer.SetHeaders(r.Header, event.ID, time.Now(), body); err != nil {
			panic(err)
		}
		w := httptest.NewRecorder()
		receiver.ServeHTTP(w, r)
		fmt.Println(w.Code)
	}
	// Output:
	// whsec_***
	// handled payment.approved
	// 200
	// 200
}
