package ociruntime

import (
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// terminal returns what the supervisor must know of the caller's.
func (r *request) terminal(o Options) {
	if !r.Terminal {
		return
	}
	for _, f := range []*os.File{o.Stdin, o.Stdout} {
		if size, err := windowSize(f); err == nil {
			r.Size = size
			break
		}
	}
	if o.Stdin == nil {
		return
	}
	if saved, err := unix.IoctlGetTermios(int(o.Stdin.Fd()), unix.TCGETS); err == nil {
		raw := rawMode(*saved)
		r.Restore, r.Raw = saved, &raw
	}
}

// terminal is the caller's terminal with the container's attached to it.
type terminal struct {
	in, out    *os.File // the caller's
	saved, raw *unix.Termios
	master     *os.File
	feed       *feed
	copies     sync.WaitGroup
}

// attach puts the caller's terminal in raw mode and copies both ways.
func (s *session) attach(master *os.File) {
	if master == nil || s.tty != nil {
		return
	}
	t := &terminal{in: s.opts.Stdin, out: s.opts.Stdout, saved: s.req.Restore, raw: s.req.Raw, master: master}
	s.tty = t
	t.resume()
	t.copies.Go(func() {
		if err := t.show(); err != nil {
			s.io.fail(err)
			// As a terminal does that nobody looks at any more.
			_ = s.conn.send(message{Kind: kindSignal, Signal: int(unix.SIGHUP)}, nil) // a supervisor that ended needs none
		}
		_, _ = io.Copy(io.Discard, master) // what nobody takes must not stop the container
	})
	if t.in == nil {
		return
	}
	to, err := dup(master)
	if err != nil {
		return
	}
	if t.feed, err = newFeed(t.in, to); err != nil {
		return
	}
	t.feed.typing = true
	go t.feed.run()
}

// show copies what the container writes, to the end of its last process. An error
// is one of the caller's side.
func (t *terminal) show() error {
	if t.out == nil {
		return nil
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := t.master.Read(buf)
		if _, writeErr := t.out.Write(buf[:n]); writeErr != nil {
			return writeErr
		}
		if err != nil {
			return nil // EIO: the last process has closed its side
		}
	}
}

// detach gives the terminal back.
func (s *session) detach() {
	if s.tty == nil {
		return
	}
	if s.tty.feed != nil {
		s.tty.feed.stop()
	}
	s.tty.copies.Wait()
	s.tty.restore()
	_ = s.tty.master.Close()
}

// resume puts the caller's terminal in raw mode (again) and tells the
// container its size. A nil terminal has nothing to do.
func (t *terminal) resume() {
	if t == nil {
		return
	}
	if t.raw != nil {
		_ = unix.IoctlSetTermios(int(t.in.Fd()), unix.TCSETSW, t.raw) // a terminal that hung up
	}
	t.resize()
}

// restore leaves the caller's terminal as it was found.
func (t *terminal) restore() {
	if t != nil && t.saved != nil {
		_ = unix.IoctlSetTermios(int(t.in.Fd()), unix.TCSETSW, t.saved) // a terminal that hung up
	}
}

// resize hands the caller's window size on.
func (t *terminal) resize() {
	for _, f := range []*os.File{t.in, t.out} {
		if size, err := windowSize(f); err == nil {
			_ = unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, size) // the container has ended
			return
		}
	}
}

// restoreTerminal is done by the supervisor when the caller was killed: a
// terminal that is still as Run made it gets its former mode back. One that
// somebody else has set since is theirs.
func (s *supervisor) restoreTerminal() {
	if s.req.Restore == nil || s.req.Raw == nil {
		return
	}
	now, err := unix.IoctlGetTermios(ttyFD, unix.TCGETS)
	if err == nil && *now == *s.req.Raw {
		_ = unix.IoctlSetTermios(ttyFD, unix.TCSETSW, s.req.Restore) // nobody is left to tell
	}
}

// rawMode is what cfmakeraw(3) makes of t.
func rawMode(t unix.Termios) unix.Termios {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag &^= unix.CSIZE | unix.PARENB
	t.Cflag |= unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return t
}

func isTerminal(f *os.File) bool {
	if f == nil {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func windowSize(f *os.File) (*unix.Winsize, error) {
	if f == nil {
		return nil, unix.ENOTTY
	}
	return unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
}

func dup(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
