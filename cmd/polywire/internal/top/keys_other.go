//go:build !unix

package top

import (
	"context"
	"os"
)

// keysWork: reading what is typed cannot be ended here. Ctrl-C ends the program.
const keysWork = false

func readKeys(context.Context, *os.File, chan<- byte) {}

// watchSize: the size is asked for with each page.
func watchSize() (resized <-chan os.Signal, stop func()) { return nil, func() {} }
