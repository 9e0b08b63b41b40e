package top

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// Screen is a terminal, and who types at it.
type Screen struct {
	Out *os.File
	In  *os.File // nil, or no terminal: nobody types
	// Color: figures that matter stand out.
	Color bool
	// Every is the time from one page to the next. Zero: 1 s.
	Every time.Duration
}

// orders are those of the busiest connections.
func orders() []string { return []string{"in", "out", "queued", "idle"} }

// What is written to a terminal around the pages.
const (
	enter     = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J" // another screen, without the cursor
	leave     = "\x1b[?25h\x1b[?1049l"
	home      = "\x1b[H"
	endOfLine = "\x1b[K"
	endOfPage = "\x1b[J"
)

// Show draws a server's figures until ctx ends, or somebody types q or Ctrl-C.
// The terminal is as it was before then.
func (s Screen) Show(ctx context.Context, c *Client) (err error) {
	if s.Every == 0 {
		s.Every = time.Second
	}
	ctx, cancel := context.WithCancel(ctx)
	var goes sync.WaitGroup
	defer goes.Wait()
	defer cancel()
	typed := make(chan byte)
	if s.In != nil && keysWork && term.IsTerminal(int(s.In.Fd())) {
		before, err := term.MakeRaw(int(s.In.Fd()))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, term.Restore(int(s.In.Fd()), before)) }()
		goes.Go(func() { readKeys(ctx, s.In, typed) }) // ends soon after cancel, before the terminal is given back
		defer goes.Wait()
		defer cancel()
	}
	if _, err := io.WriteString(s.Out, enter); err != nil {
		return err
	}
	defer func() {
		_, errOut := io.WriteString(s.Out, leave)
		err = errors.Join(err, errOut)
	}()
	return s.loop(ctx, c, &goes, typed)
}

// loop asks in a goroutine of its own, so that keys and sizes count meanwhile.
func (s Screen) loop(ctx context.Context, c *Client, goes *sync.WaitGroup, typed <-chan byte) error {
	resized, stop := watchSize()
	defer stop()
	order, told := make(chan string, 1), make(chan Figures)
	goes.Go(func() { ask(ctx, c, s.Every, order, told) })
	var now Figures
	var before *Figures
	by := 0
	now.At, now.Server = time.Now(), c.base.Host
	for {
		if err := s.draw(now, before); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-resized:
		case next := <-told:
			if next.Error == ErrToken.Error() && now.Overview == nil { // which no waiting would help
				return ErrToken
			}
			if next.Error == "" && now.Error == "" && now.Overview != nil {
				b := now
				before = &b
			}
			now = next
		case key := <-typed:
			switch key {
			case 'q', 'Q', 3: // Ctrl-C is a letter to a terminal in raw mode
				return nil
			case 's', 'S':
				by = (by + 1) % len(orders())
				select {
				case <-order:
				default:
				}
				order <- orders()[by]
			}
		}
	}
}

// ask sends figures now and then, until ctx ends.
func ask(ctx context.Context, c *Client, every time.Duration, order <-chan string, told chan<- Figures) {
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	by := orders()[0]
	for {
		f := c.Ask(ctx, by)
		select {
		case told <- f:
		case <-ctx.Done():
			return
		}
		select {
		case <-ticks.C:
		case by = <-order:
		case <-ctx.Done():
			return
		}
	}
}

func (s Screen) draw(f Figures, before *Figures) error {
	w, h, err := term.GetSize(int(s.Out.Fd()))
	if err != nil || w <= 0 || h <= 0 {
		w, h = 80, 24
	}
	page := Page(f, View{Width: w, Height: max(h-1, 1), Color: s.Color, Before: before})
	const keys = "q ends, s sorts connections"
	var b strings.Builder
	b.WriteString(home)
	for _, line := range page {
		b.WriteString(line + endOfLine + "\r\n")
	}
	b.WriteString(fit(keys, min(w, len(keys)), false) + endOfLine + endOfPage)
	_, err = io.WriteString(s.Out, b.String())
	return err
}
