package cli

// Variables of the environment that several commands read, for what should
// not be seen in lists of processes.
const (
	EnvNATS      = "POLYWIRE_NATS"       // the URL of a NATS server
	EnvNATSToken = "POLYWIRE_NATS_TOKEN" //nolint:gosec // its name
	EnvAMQP      = "POLYWIRE_AMQP"       // the URL of a RabbitMQ
)
