package ociruntime

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// feed copies the caller's input to the container for as long as it may: no
// byte is taken from a terminal while another job of the shell has it,
// nor after stop.
type feed struct {
	from, to   *os.File
	wake       [2]int // a pipe whose readable end means stop
	once       sync.Once
	wakeErr    error
	tty        bool
	typing     bool // to is a terminal, where a key says that input has ended
	unfinished bool // what was typed last has no end of line
}

// newFeed takes ownership of to.
func newFeed(from, to *os.File) (*feed, error) {
	f := &feed{from: from, to: to, tty: isTerminal(from)}
	if err := unix.Pipe2(f.wake[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		_ = to.Close()
		return nil, fmt.Errorf("create pipe: %w", err)
	}
	return f, nil
}

// run copies until the end of input, an error, or stop.
func (f *feed) run() {
	defer f.finish()
	buf := make([]byte, 32<<10)
	for f.ready() {
		n, err := unix.Read(int(f.from.Fd()), buf)
		switch {
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			continue
		case err != nil || n == 0:
			return
		}
		if _, err := f.to.Write(buf[:n]); err != nil {
			return // the container does not read any more
		}
		f.unfinished = !slices.Contains([]byte{'\n', '\r', endOfTransmission}, buf[n-1])
	}
}

// endOfTransmission is what Ctrl-D types.
const endOfTransmission = 4

// finish tells the container that there is no more. On a terminal the key
// ends what there is of a line first, and only at the beginning of one the input.
func (f *feed) finish() {
	if !f.typing {
		_ = f.to.Close()
		return
	}
	keys := []byte{endOfTransmission}
	if f.unfinished {
		keys = append(keys, endOfTransmission)
	}
	_, _ = f.to.Write(keys) // a terminal that has gone needs none
}

// ready waits for input that is ours to read; false means stop.
func (f *feed) ready() bool {
	const background = 200 * time.Millisecond
	for {
		fds := []unix.PollFd{
			{Fd: int32(f.wake[0]), Events: unix.POLLIN},
			{Fd: int32(f.from.Fd()), Events: unix.POLLIN},
		}
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || fds[0].Revents != 0:
			return false
		case !f.tty || foreground(f.from):
			return true
		}
		time.Sleep(background) // reading now would stop this process
	}
}

// stop ends run soon. It may be called more than once.
func (f *feed) stop() {
	f.once.Do(func() { _, f.wakeErr = unix.Write(f.wake[1], []byte{0}) })
}

// foreground says whether this process's group may read from the terminal.
func foreground(tty *os.File) bool {
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp() // not our controlling terminal: no rule
}
