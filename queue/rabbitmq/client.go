package rabbitmq

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/polywire/polywire/queue"
)

// Client is a queue.Broker on RabbitMQ with the words of RabbitMQ's users. Its
// methods may be called by many goroutines at once.
type Client struct {
	*queue.Broker

	driver *Driver
}

// NewClient connects as [New] does: with [Options.Optional] the program starts
// without a broker, consumers wait for it, and publishing fails until it is there.
func NewClient(ctx context.Context, o Options, q queue.Options) (*Client, error) {
	d, err := New(ctx, o)
	if err != nil {
		return nil, err
	}
	b, err := queue.New(d, q)
	if err != nil {
		return nil, fmt.Errorf("%w (closing: %v)", err, d.Shutdown(ctx)) //nolint:errorlint // the first one says why
	}
	return &Client{Broker: b, driver: d}, nil
}

// RabbitMQ returns the driver, for its counters and its status.
func (c *Client) RabbitMQ() *Driver { return c.driver }

// PublishMessage writes payload as JSON and publishes it, persistent, to an
// exchange; to the queue routingKey if that is empty. nil means that a queue
// has it for good. Nothing is declared: with no queue for the key the error
// wraps queue.ErrUnroutable, without such an exchange queue.ErrNotFound.
func (c *Client) PublishMessage(ctx context.Context, exchange, routingKey string, payload any) error {
	body, err := json.Marshal(payload)
	if err != nil {
		return fmt.Errorf("%w: %w", queue.ErrInvalid, err)
	}
	if len(exchange) > maxShort || len(routingKey) > maxShort {
		return fmt.Errorf("%w: exchange or routing key longer than %d bytes", queue.ErrInvalid, maxShort)
	}
	return c.driver.publish.publish(ctx, &outgoing{
		exchange: exchange, key: routingKey,
		msg: amqp.Publishing{
			DeliveryMode: amqp.Persistent, ContentType: "application/json",
			MessageId: rand.Text(), Timestamp: time.Now(), Body: body,
		},
	})
}

// RegisterConsumer declares the queue, durable and replicated, and begins to
// give its messages to the handler, one at a time: [queue.Broker.Handle] takes
// options. A queue takes one handler. Errors: as of that.
func (c *Client) RegisterConsumer(name string, handler queue.Handler) error {
	return c.Handle(name, handler, queue.HandleOptions{})
}

// SimpleAckHandler makes a handler of a function that takes the payload, read
// from JSON. nil acknowledges the message; an error has it tried again later,
// and in the end kept as a dead letter. A payload that is no JSON for a T
// becomes a dead letter at once.
func SimpleAckHandler[T any](work func(ctx context.Context, payload T) error) queue.Handler {
	return func(ctx context.Context, d *queue.Delivery) error {
		var payload T
		if err := json.Unmarshal(d.Payload.Data, &payload); err != nil {
			return queue.Discard(fmt.Errorf("payload of %T: %w", payload, err))
		}
		return work(ctx, payload)
	}
}
