package imagetree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/byhand/byhand/internal/tempfile"
)

// files gives the content of files in any order, of layers that are read once.
type files struct {
	layers []layerFiles
	early  early
}

// layerFiles is what is wanted of a layer.
type layerFiles struct {
	index  int
	source Source
	wanted []*node // in the order of the archive
	next   int     // the first of them that was not read yet
	size   int64   // of all of them

	stream io.ReadCloser // nil while it is not open
	in     *content
}

// ahead reads the layers that would be too many to have open at once, the
// smallest ones, so that memory does not grow with their number.
func (f *files) ahead(ctx context.Context, most int) error {
	var order []*layerFiles
	for i := range f.layers {
		if len(f.layers[i].wanted) > 0 {
			order = append(order, &f.layers[i])
		}
	}
	slices.SortFunc(order, func(a, b *layerFiles) int { return cmp.Compare(b.size, a.size) })
	for i := most; i < len(order); i++ {
		for l := order[i]; l.next < len(l.wanted); {
			if err := l.read(ctx, f.early.sink); err != nil {
				return err
			}
		}
	}
	return nil
}

// copy writes the content of n.
func (f *files) copy(ctx context.Context, n *node, write func([]byte) error) error {
	if ok, err := f.early.take(n, write); ok || err != nil {
		return err
	}
	// An error of what is written to is no business of the layer.
	var failed error
	out := sink{write: func(p []byte) error {
		failed = write(p)
		return failed
	}}
	l := &f.layers[n.layer]
	for found := false; !found; {
		if l.next == len(l.wanted) {
			return inLayer(l.index, errChanged)
		}
		found = l.wanted[l.next] == n
		err := l.read(ctx, func(of *node) (sink, error) {
			if of == n {
				return out, nil
			}
			return f.early.sink(of)
		})
		if failed != nil {
			return failed
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// read gives the content of the next file to where to says. After the last one
// the layer is read to its end, whose verdict counts.
func (l *layerFiles) read(ctx context.Context, to func(*node) (sink, error)) error {
	if l.stream == nil {
		r, err := l.source.Open(ctx)
		if err != nil {
			return inLayer(l.index, err)
		}
		l.stream, l.in = r, newContent(r)
	}
	n := l.wanted[l.next]
	out, err := to(n)
	if err != nil {
		return err
	}
	h, err := l.in.seek(n)
	if err != nil {
		return inLayer(l.index, err)
	}
	if err := l.in.copyTo(ctx, h, out); err != nil {
		return inLayer(l.index, err)
	}
	if l.next++; l.next < len(l.wanted) {
		return nil
	}
	return inLayer(l.index, errors.Join(l.in.tar.Drain(), l.close()))
}

func (l *layerFiles) close() error {
	if l.stream == nil {
		return nil
	}
	r := l.stream
	l.stream, l.in = nil, nil
	return r.Close()
}

func (f *files) close() error {
	err := f.early.close()
	for i := range f.layers {
		err = errors.Join(err, inLayer(i, f.layers[i].close()))
	}
	return err
}

// early keeps content that came before its place, with its holes.
type early struct {
	file *os.File // nil while there is none
	end  int64
	at   map[*node]int64
}

// sink returns what keeps the content of n.
func (e *early) sink(n *node) (sink, error) {
	if e.file == nil {
		f, err := tempfile.Unnamed("byhand-export-")
		if err != nil {
			return sink{}, fmt.Errorf("keep content until its place comes: %w", err)
		}
		e.file, e.at = f, map[*node]int64{}
	}
	e.at[n] = e.end
	return sink{
		write: func(p []byte) error {
			written, err := e.file.WriteAt(p, e.end)
			e.end += int64(written)
			if err != nil {
				err = fmt.Errorf("keep content until its place comes: %w", err)
			}
			return err
		},
		hole: func(n int64) error {
			e.end += n
			return e.file.Truncate(e.end)
		},
	}, nil
}

// take writes the content of n, if it came before.
func (e *early) take(n *node, write func([]byte) error) (bool, error) {
	at, ok := e.at[n]
	if !ok {
		return false, nil
	}
	delete(e.at, n)
	copied, err := io.Copy(writerFunc(write), io.NewSectionReader(e.file, at, n.size))
	if err == nil && copied != n.size {
		err = io.ErrUnexpectedEOF
	}
	return true, err
}

func (e *early) close() error {
	if e.file == nil {
		return nil
	}
	return e.file.Close()
}

// writerFunc is a function as an io.Writer.
type writerFunc func([]byte) error

func (f writerFunc) Write(p []byte) (int, error) {
	if err := f(p); err != nil {
		return 0, err
	}
	return len(p), nil
}
