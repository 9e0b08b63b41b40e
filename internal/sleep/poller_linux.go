package sleep

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
)

// Poller is one epoll instance. Each connection is armed for one event, after
// which it has to be added again. Closing a connection takes it out.
type Poller struct {
	file *os.File // the epoll instance itself waits in the runtime's poller
	raw  syscall.RawConn
	done sync.WaitGroup
}

const rdhup = 0x2000 // EPOLLRDHUP; package syscall has it on some architectures only

// New starts a poller that calls wake, one at a time and not to block, with the
// token of each connection that has become readable or has ended.
func New(wake func(token uint64)) (*Poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("sleep: epoll_create1: %w", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		_ = syscall.Close(fd)
		return nil, fmt.Errorf("sleep: %w", err)
	}
	p := &Poller{file: os.NewFile(uintptr(fd), "epoll")}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		_ = p.file.Close()
		return nil, fmt.Errorf("sleep: %w", err)
	}
	p.done.Add(1)
	go p.run(wake)
	return p, nil
}

// Add watches a connection until it is readable; token is given to wake then,
// perhaps before Add returns.
func (p *Poller) Add(conn syscall.RawConn, token uint64) error {
	event := &syscall.EpollEvent{
		Events: syscall.EPOLLIN | rdhup | syscall.EPOLLONESHOT,
		Fd:     int32(uint32(token)),
		Pad:    int32(uint32(token >> 32)),
	}
	var failed error
	control := func(epfd uintptr) {
		err := conn.Control(func(fd uintptr) {
			failed = syscall.EpollCtl(int(epfd), syscall.EPOLL_CTL_MOD, int(fd), event)
			if errors.Is(failed, syscall.ENOENT) {
				failed = syscall.EpollCtl(int(epfd), syscall.EPOLL_CTL_ADD, int(fd), event)
			}
		})
		if err != nil {
			failed = err
		}
	}
	if err := p.raw.Control(control); err != nil {
		return fmt.Errorf("sleep: %w", err)
	}
	if failed != nil {
		return fmt.Errorf("sleep: %w", failed)
	}
	return nil
}

// Close stops the poller and waits for its goroutine.
func (p *Poller) Close() error {
	err := p.file.Close()
	p.done.Wait()
	return err
}

func (p *Poller) run(wake func(token uint64)) {
	defer p.done.Done()
	events := make([]syscall.EpollEvent, 128)
	drain := func(epfd uintptr) bool {
		for {
			n, err := syscall.EpollWait(int(epfd), events, 0)
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			if err != nil {
				return true
			}
			for _, e := range events[:n] {
				wake(uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32)
			}
			if n == 0 {
				return false // and wait until the instance itself is readable
			}
		}
	}
	// Read returns when the file is closed.
	_ = p.raw.Read(drain)
}
