package imagetree

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/tarstream"
	"github.com/byhand/byhand/unpack"
)

// WriteContent writes what the regular file e of the tree holds to w, zeros
// for its holes. Only the layer that has the content is opened once more, and
// read to its end: what was written is verified if WriteContent returns nil.
//
// A file that is larger than the limit "bytes" is refused.
func (t *Tree) WriteContent(ctx context.Context, e Entry, w io.Writer) (err error) {
	switch {
	case !e.IsRegular():
		return &fs.PathError{Op: "read", Path: e.Name, Err: notAFile(&e)}
	case e.Size > t.limits.Bytes:
		return &unpack.LimitError{Limit: "bytes", Max: t.limits.Bytes, Got: e.Size}
	case e.Size == 0:
		return nil
	}
	index := e.Content.Layer - 1
	r, err := t.sources[index].Open(ctx)
	if err != nil {
		return inLayer(index, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	in := newContent(r)
	h, err := in.seek(e.node)
	if err != nil {
		return inLayer(index, err)
	}
	var failed error // of w: no business of the layer
	write := func(p []byte) error {
		_, failed = w.Write(p)
		return failed
	}
	if err := in.copyTo(ctx, h, sink{write: write}); err != nil {
		if failed != nil {
			return failed
		}
		return inLayer(index, err)
	}
	return inLayer(index, in.tar.Drain())
}

// ArchiveName returns the name that the layer's archive gives the entry at c,
// which may be written in another way than the tree's. The layer is opened and
// read up to there.
func (t *Tree) ArchiveName(ctx context.Context, c Content) (_ string, err error) {
	index := c.Layer - 1
	r, err := t.sources[index].Open(ctx)
	if err != nil {
		return "", inLayer(index, err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	tar := tarstream.NewReader(r, tarstream.Options{HeaderSize: 1<<63 - 1})
	for ordinal := int64(0); ; ordinal++ {
		h, err := tar.Next()
		if errors.Is(err, io.EOF) {
			err = errChanged
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return "", inLayer(index, err)
		}
		if ordinal == c.Ordinal {
			return h.Name, nil
		}
	}
}

func notAFile(e *Entry) error {
	if e.IsDir() {
		return unix.EISDIR
	}
	return errNotRegular
}

// errNotRegular says that only regular files have content in an image.
var errNotRegular = errors.New("not a regular file")

// content is a layer's archive being read for its files.
type content struct {
	tar  *tarstream.Reader
	at   int64  // number of the entry last read
	rest []byte // read and not used yet
}

func newContent(r io.Reader) *content {
	// What is too large was refused when the tree was built.
	return &content{tar: tarstream.NewReader(r, tarstream.Options{HeaderSize: 1<<63 - 1}), at: -1}
}

// seek goes on to the entry that holds n.
func (c *content) seek(n *node) (*tarstream.Header, error) {
	c.rest = nil
	for {
		h, err := c.tar.Next()
		if errors.Is(err, io.EOF) {
			return nil, errChanged
		}
		if err != nil {
			return nil, err
		}
		if c.at++; c.at < int64(n.ordinal) {
			continue
		}
		if h.Type != tarstream.TypeReg || h.Size != n.size {
			return nil, errChanged
		}
		return h, nil
	}
}

// next returns up to n bytes of the entry's content.
func (c *content) next(n int64) ([]byte, error) {
	if len(c.rest) == 0 {
		p, err := c.tar.Data()
		if errors.Is(err, io.EOF) {
			err = errChanged
		}
		if err != nil {
			return nil, err
		}
		c.rest = p
	}
	p := c.rest[:min(int64(len(c.rest)), n)]
	c.rest = c.rest[len(p):]
	return p, nil
}

// errChanged says that a source did not give the same stream twice.
var errChanged = errors.New("layer is another one than when it was read first")

// sink takes the content of a file.
type sink struct {
	write func([]byte) error
	hole  func(n int64) error // nil: zeros are written
}

func (s sink) skip(ctx context.Context, n int64) error {
	if n <= 0 || s.hole == nil {
		return writeZeros(ctx, n, s.write)
	}
	return s.hole(n)
}

// copyTo gives the content of the entry h to out.
func (c *content) copyTo(ctx context.Context, h *tarstream.Header, out sink) error {
	whole := [1]tarstream.Segment{{Length: c.tar.Left()}}
	segs := whole[:]
	if h.IsSparse {
		segs = h.Sparse
	}
	at := int64(0)
	for _, seg := range segs {
		if err := out.skip(ctx, seg.Offset-at); err != nil {
			return err
		}
		if err := c.copy(ctx, seg.Length, out.write); err != nil {
			return err
		}
		at = seg.Offset + seg.Length
	}
	return out.skip(ctx, h.Size-at)
}

// copy writes the next n bytes of the entry's content.
func (c *content) copy(ctx context.Context, n int64, write func([]byte) error) error {
	for n > 0 {
		p, err := c.next(n)
		if err != nil {
			return err
		}
		if err := write(p); err != nil {
			return err
		}
		n -= int64(len(p))
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func writeZeros(ctx context.Context, n int64, write func([]byte) error) error {
	if n <= 0 {
		return nil
	}
	zeros := make([]byte, min(n, 32<<10))
	for n > 0 {
		m := min(n, int64(len(zeros)))
		if err := write(zeros[:m]); err != nil {
			return err
		}
		n -= m
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}
