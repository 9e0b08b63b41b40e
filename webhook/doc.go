// Package webhook tells other systems what happened here, by HTTP requests
// that they can verify, and verifies such requests of others.
//
// [Signer], [Verifier] and [Middleware] speak Standard Webhooks 1.0.0
// (https://www.standardwebhooks.com), with symmetric (v1) and asymmetric (v1a)
// signatures, and the format of the Gost framework. [Client] makes the
// requests, to public addresses only unless it was told otherwise. [Send] and
// [DispatchWithRetry] are for programs that come from Gost.
//
// Secrets have types of their own that no print, log or JSON encoding reveals;
// see [Secret.Reveal].
package webhook
