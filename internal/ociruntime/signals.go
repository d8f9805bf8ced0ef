package ociruntime

import (
	"os"
	"os/signal"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/heed"
	"github.com/byhand/byhand/internal/suspend"
)

// signals is what this process gets while a container runs.
type signals struct {
	c    chan unix.Signal
	raw  chan os.Signal
	done chan struct{}
}

// sameKey is the time within which an equal signal is taken for the same
// event. A key typed on the terminal reaches every process of the group,
// and a parent in the group may pass it on once more. Signals do not queue,
// so nobody may count on two within this time being two.
const sameKey = 100 * time.Millisecond

// newSignals takes over every signal but those that stop a background
// process (SIGTTIN, SIGTTOU), that the Go runtime needs, that report a fault of
// this process, or that it was started to ignore: a container under nohup
// outlives the terminal.
func newSignals() *signals {
	s := &signals{make(chan unix.Signal, 64), make(chan os.Signal, 64), make(chan struct{})}
	heed.Notify(s.raw, relayed()...)
	go s.merge()
	return s
}

// merge drops repetitions and SIGPIPE, which is only taken so that a broken
// standard output is an error of a write and not the end of this process.
func (s *signals) merge() {
	last := map[unix.Signal]time.Time{}
	for {
		select {
		case <-s.done:
			return
		case raw := <-s.raw:
			sig, ok := raw.(unix.Signal)
			if !ok || sig == unix.SIGPIPE {
				continue
			}
			if sig == unix.SIGINT || sig == unix.SIGQUIT {
				if time.Since(last[sig]) < sameKey {
					continue
				}
				last[sig] = time.Now()
			}
			select {
			case s.c <- sig:
			case <-s.done:
				return
			}
		}
	}
}

func (s *signals) stop() {
	signal.Stop(s.raw)
	close(s.done)
}

func relayed() []os.Signal {
	left := []unix.Signal{
		unix.SIGKILL, unix.SIGSTOP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCHLD, unix.SIGURG,
		unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGSYS,
		32, 33, 34, // of C libraries; not delivered to Go programs
	}
	var all []os.Signal
	for n := unix.Signal(1); n <= 64; n++ {
		if !slices.Contains(left, n) {
			all = append(all, n)
		}
	}
	return all
}

// handle acts on one signal.
func (s *session) handle(sig unix.Signal) {
	switch {
	case sig == unix.SIGTSTP:
		// The supervisor answers when every process is stopped.
		_ = s.conn.send(message{Kind: kindStop}, nil)
	case sig == unix.SIGCONT:
		s.tty.resume()
	case sig == unix.SIGWINCH && s.tty != nil:
		s.tty.resize()
	case sig == unix.SIGINT && s.interrupts.insist(time.Now()):
		_ = s.conn.send(message{Kind: kindEnd, Signal: int(sig)}, nil) // a supervisor that ended says so itself
	default:
		_ = s.conn.send(message{Kind: kindSignal, Signal: int(sig)}, nil) // a supervisor that ended says so itself
	}
}

// interrupts are the last times at which somebody asked for an end.
type interrupts [2]time.Time

// insist notes one more, and says whether it is the third within a moment: a
// shell that waits for its child, say, has put the first off until then.
func (i *interrupts) insist(now time.Time) bool {
	const moment = 2 * time.Second
	first := i[0]
	i[0], i[1] = i[1], now
	return !first.IsZero() && now.Sub(first) < moment
}

// suspend stops this process after the container's, as a shell's user
// expects of Ctrl-Z, and goes on with both when it is continued.
func (s *session) suspend() {
	s.tty.restore()
	suspend.Self()
	s.tty.resume()
	_ = s.conn.send(message{Kind: kindCont}, nil)
}
