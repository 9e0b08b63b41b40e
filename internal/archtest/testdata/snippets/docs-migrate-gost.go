package p

import "context"

type Order struct{}

var (
	order    Order
	userData any
)

func process(context.Context, Order) error { return nil }
