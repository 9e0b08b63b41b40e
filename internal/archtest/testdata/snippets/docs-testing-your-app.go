package p

import (
	"time"

	"github.com/polywire/polywire"
)

type House struct{ srv *polywire.Server }

func NewHouse(...polywire.Option) (*House, error) { return nil, nil }

type Lot struct {
	Name  string
	Lasts time.Duration
}

type Bid struct {
	Lot    string
	Amount int
}
