package p

import (
	"go.opentelemetry.io/otel/trace"

	"github.com/polywire/polywire/queue"
)

var (
	tp     trace.TracerProvider
	driver queue.Driver
)
