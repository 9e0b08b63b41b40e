package main

import (
	"github.com/polywire/polywire/cmd/polywire/internal/config"
	"github.com/polywire/polywire/cmd/polywire/internal/traces"
)

func (f *traceFlags) declare(s *config.Set) {
	s.Add(config.Setting{
		Key: "traces.url", Flag: "traces-url", Secret: config.SecretInURL,
		Doc: "`URL` of a collector of traces (OpenTelemetry, OTLP over HTTP), as http://127.0.0.1:4318; off unless given",
	}, config.Text(&f.url, "", "a URL with http or https", func(text string) error {
		if text == "" {
			return nil
		}
		return traces.CheckURL(text)
	}))
	s.Add(config.Setting{
		Key: "traces.headers", Flag: "traces-header", Secret: config.Secret,
		Doc: "HTTP `headers` for the collector, name=value each",
	}, config.List(&f.headers, nil, "a list of name=value", false, nil))
	s.Add(config.Setting{
		Key: "traces.sample", Flag: "traces-sample",
		Doc: "`share` of the traces that begin here which is kept, 0 to 1; what comes with a trace keeps that one's decision",
	}, config.Float(&f.sample, 1, 0, 1))
}
