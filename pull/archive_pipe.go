package pull

import (
	"context"
	"io"
)

// interruptible returns r such that a Read ends when ctx does, also while r
// waits for a writer that has nothing to say. A goroutine does the reading;
// after an interrupt it stays until r's own Read returns, which nothing can
// hasten. stop ends it otherwise.
func interruptible(ctx context.Context, r io.Reader) (in io.Reader, stop func()) {
	p := &pipe{pieces: make(chan piece), free: make(chan []byte, 2), stopped: make(chan struct{}), done: ctx.Done()}
	p.cause = func() error { return context.Cause(ctx) }
	for range cap(p.free) {
		p.free <- make([]byte, blockSize)
	}
	go p.pump(r)
	return p, func() { close(p.stopped) }
}

// piece is what one Read returned.
type piece struct {
	buf []byte
	n   int
	err error
}

type pipe struct {
	pieces  chan piece
	free    chan []byte
	stopped chan struct{}
	done    <-chan struct{}
	cause   func() error

	cur  piece
	rest []byte
}

// pump reads r until it ends or the reading is stopped.
func (p *pipe) pump(r io.Reader) {
	for {
		var buf []byte
		select {
		case buf = <-p.free:
		case <-p.stopped:
			return
		}
		n, err := r.Read(buf)
		select {
		case p.pieces <- piece{buf, n, err}:
		case <-p.stopped:
			return
		}
		if err != nil {
			return
		}
	}
}

// Read implements io.Reader.
func (p *pipe) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.cur.err != nil {
			return 0, p.cur.err
		}
		if p.cur.buf != nil {
			p.free <- p.cur.buf // there is room for all
			p.cur.buf = nil
		}
		select {
		case p.cur = <-p.pieces:
			p.rest = p.cur.buf[:p.cur.n]
		case <-p.done:
			return 0, p.cause()
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
