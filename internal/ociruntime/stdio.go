package ociruntime

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// plumbing connects the caller's streams with the container's.
type plumbing struct {
	child  [3]*os.File // the supervisor's, and with it the container's
	ours   []*os.File  // child files that we made, to be closed here
	in     *feed       // nil where the container has standard input itself
	out    []tap
	err    tap // held back until release or discard
	copies sync.WaitGroup

	mu     sync.Mutex
	failed error // the first write that the caller's side refused
}

// tap is a pipe from the container and where it leads.
type tap struct{ from, to *os.File }

// plumb prepares the streams. With a terminal the container's are its own
// terminal, and only what the runtime says comes through here.
func plumb(o Options, terminal bool) (*plumbing, error) {
	p := &plumbing{}
	err := p.plumbErr(o.Stderr)
	if err == nil && terminal {
		err = errors.Join(p.null(0), p.null(1))
	} else if err == nil {
		err = errors.Join(p.plumbIn(o.Stdin), p.plumbOut(o))
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *plumbing) plumbErr(to *os.File) error {
	r, w, err := pipe()
	if err != nil {
		return err
	}
	p.err = tap{r, to}
	p.give(2, w)
	return nil
}

func (p *plumbing) plumbIn(from *os.File) error {
	if from == nil {
		return p.null(0)
	}
	if isPipe(from) {
		p.child[0] = from
		return nil
	}
	r, w, err := pipe()
	if err != nil {
		return err
	}
	p.give(0, r)
	p.in, err = newFeed(from, w)
	return err
}

func (p *plumbing) plumbOut(o Options) error {
	switch {
	case o.Stdout == nil:
		return p.null(1)
	case sameFile(o.Stdout, o.Stderr):
		p.child[1] = p.child[2] // one pipe keeps the order of what is written
		return nil
	case isPipe(o.Stdout):
		p.child[1] = o.Stdout
		return nil
	}
	r, w, err := pipe()
	if err != nil {
		return err
	}
	p.out = append(p.out, tap{r, o.Stdout})
	p.give(1, w)
	return nil
}

// null gives the container /dev/null.
func (p *plumbing) null(fd int) error {
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open standard stream: %w", err)
	}
	p.give(fd, f)
	return nil
}

func (p *plumbing) give(fd int, f *os.File) {
	p.child[fd] = f
	p.ours = append(p.ours, f)
}

// started closes what the supervisor has now.
func (p *plumbing) started() {
	for _, f := range p.ours {
		_ = f.Close()
	}
	p.ours = nil
}

// release begins to copy: the container has started.
func (p *plumbing) release() {
	if p.in != nil {
		go p.in.run()
	}
	for _, t := range append(p.out, p.err) {
		p.copies.Go(func() { p.copy(t) })
	}
	p.out, p.err = nil, tap{}
}

// copy copies to the end of the container's stream. When nobody takes it any
// more, closing the pipe tells the container so.
func (p *plumbing) copy(t tap) {
	defer func() { _ = t.from.Close() }()
	if t.to == nil {
		_, _ = io.Copy(io.Discard, t.from)
		return
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{t.to}, struct{ io.Reader }{t.from}, make([]byte, 64<<10))
	p.fail(err)
}

// fail notes that the caller's side refused output. A reader that has gone is no
// failure, nor is a terminal that hung up; a full disk is.
func (p *plumbing) fail(err error) {
	if err == nil || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.EIO) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil {
		p.failed = err
	}
}

// lost tells why output of the container did not arrive, after drain.
func (p *plumbing) lost() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed != nil {
		return fmt.Errorf("pass on the container's output: %w", p.failed)
	}
	return nil
}

// discard returns what the runtime said on standard error instead of starting
// a container, in one line.
func (p *plumbing) discard() string {
	if p.err.from == nil {
		return "" // released
	}
	said, _ := io.ReadAll(io.LimitReader(p.err.from, maxText)) // what there is, is enough
	text := strings.Join(strings.Fields(string(said)), " ")
	if msg := lastError(said); msg != "" {
		text = msg
	}
	return trimPrefixes(text)
}

// drain waits until everything is copied.
func (p *plumbing) drain() {
	if p.err.from != nil {
		p.release() // a container that ended at once, or was never started
	}
	if p.in != nil {
		p.in.stop()
	}
	p.copies.Wait()
}

func (p *plumbing) close() {
	p.started()
	if p.in != nil {
		p.in.stop()
	}
	for _, t := range append(p.out, p.err) {
		if t.from != nil {
			_ = t.from.Close()
		}
	}
}

// pipe returns both ends in blocking mode, as programs expect theirs.
func pipe() (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("create pipe: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe"), nil
}

// isPipe says whether f is a pipe without a name, or /dev/null: nothing that a
// container could spoil for others.
func isPipe(f *os.File) bool {
	var fs unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &fs) == nil && fs.Type == unix.PIPEFS_MAGIC {
		return true
	}
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}

// sameFile says whether two descriptors lead to one place.
func sameFile(a, b *os.File) bool {
	if a == nil || b == nil {
		return false
	}
	x, errX := a.Stat()
	y, errY := b.Stat()
	return errX == nil && errY == nil && os.SameFile(x, y)
}
