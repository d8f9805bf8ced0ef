package overlay

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
	"github.com/byhand/byhand/unpack"
)

// flattener copies or moves one merged tree.
type flattener struct {
	move    atomic.Bool
	squash  bool
	slots   chan struct{} // one for each directory worked on beside the first
	buffers sync.Pool
	failure atomic.Pointer[error]
	copier

	mu      sync.Mutex
	names   map[fileID]string // name in linksFD of a file that has several names
	linksFD int
	skipped map[unpack.SkipKind]*unpack.Skip
}

// fileID tells whether two names are one file.
type fileID struct{ dev, ino uint64 }

func newFlattener(o FlattenOptions, links int) *flattener {
	if o.Jobs <= 0 {
		o.Jobs = 2
	}
	f := &flattener{
		squash: o.Owners == unpack.Squash, slots: make(chan struct{}, o.Jobs-1), copier: newCopier(),
		names: map[fileID]string{}, linksFD: links, skipped: map[unpack.SkipKind]*unpack.Skip{},
		buffers: sync.Pool{New: func() any { b := make([]byte, direntBuf); return &b }},
	}
	f.move.Store(o.Move)
	f.refused = f.skip
	return f
}

// fail keeps the first error and passes err on.
func (f *flattener) fail(err error) error {
	f.failure.CompareAndSwap(nil, &err)
	return err
}

// dir fills the directory dst with what src shows, and gives it the
// attributes of src at the end, when nothing changes its times any more. rel
// ends in a slash, or is empty for the root.
func (f *flattener) dir(ctx context.Context, src *mergedDir, dst int, rel string) error {
	top := src.parts[0].fd
	var st unix.Stat_t
	if err := sys.Fstat(top, &st); err != nil {
		return f.fail(entryError(rel, "read directory", err))
	}
	if f.move.Load() {
		makeWritable(src)
	}
	buf, _ := f.buffers.Get().(*[]byte)
	nodes, err := src.list(*buf)
	f.buffers.Put(buf)
	if err != nil {
		return f.fail(entryError(rel+".", "read directory", err))
	}
	var wg sync.WaitGroup
	for _, n := range nodes {
		if err = ctx.Err(); err != nil {
			break
		}
		if f.failure.Load() != nil {
			err = context.Canceled
			break
		}
		if n.typ == unix.DT_DIR {
			err = f.subdir(ctx, src, n, dst, rel, &wg)
		} else if err = f.leaf(n, dst, rel); err != nil {
			err = f.fail(entryError(rel+n.name, "copy", err))
		}
		if err != nil {
			break
		}
	}
	wg.Wait()
	if err != nil {
		return err
	}
	if err := f.attrs(&st, top, dst, rel); err != nil {
		return f.fail(entryError(rel+".", "set attributes", err))
	}
	return nil
}

// subdir makes a directory and fills it, beside the caller where a slot is
// free.
func (f *flattener) subdir(ctx context.Context, src *mergedDir, n node, dst int, rel string, wg *sync.WaitGroup) error {
	full := rel + n.name
	if f.move.Load() && len(n.from) == 1 {
		moved, err := f.moveDir(n, dst)
		if err != nil {
			return f.fail(entryError(full, "move", err))
		}
		if moved {
			return nil
		}
	}
	sub, err := src.enter(n)
	if err != nil {
		return f.fail(entryError(full, "open directory", err))
	}
	if err = sys.Mkdirat(dst, n.name, 0o700); err != nil {
		sub.close()
		return f.fail(entryError(full, "make directory", err))
	}
	fd, err := openDirAt(dst, n.name)
	if err != nil {
		sub.close()
		return f.fail(entryError(full, "open directory", err))
	}
	work := func() error {
		defer sub.close()
		defer func() { _ = unix.Close(fd) }()
		return f.dir(ctx, sub, fd, full+"/")
	}
	select {
	case f.slots <- struct{}{}:
		wg.Go(func() {
			defer func() { <-f.slots }()
			_ = work() // a failure is in f.failure
		})
		return nil
	default:
		return work()
	}
}

// leaf makes anything but a directory.
func (f *flattener) leaf(n node, dst int, rel string) error {
	if f.move.Load() {
		err := sys.Renameat(n.fd, n.name, dst, n.name)
		if !errors.Is(err, unix.EXDEV) {
			return err
		}
		f.move.Store(false)
	}
	return f.copyNode(n, dst, n.name, rel, f)
}

// alias links name to the copy that another name of the same file has. When
// there is none yet, the caller makes one at name and calls keep; the lock is
// held between.
func (f *flattener) alias(id fileID, dst int, name string) (done bool, err error) {
	f.mu.Lock()
	first, ok := f.names[id]
	if !ok {
		return false, nil // keep unlocks
	}
	f.mu.Unlock()
	return true, sys.Linkat(f.linksFD, first, dst, name, 0)
}

// keep remembers the copy at name for later names of the same file, unless
// making it failed.
func (f *flattener) keep(id fileID, dst int, name string, failed error) error {
	defer f.mu.Unlock()
	if failed != nil {
		return failed
	}
	first := strconv.Itoa(len(f.names))
	f.names[id] = first
	return sys.Linkat(dst, name, f.linksFD, first, 0)
}

// skip decides whether something that the kernel refuses may be left out.
func (f *flattener) skip(kind unpack.SkipKind, name, what string, err error) error {
	if kind != unpack.SkipXattr && !f.squash {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.skipped[kind]
	if s == nil {
		s = &unpack.Skip{Kind: kind, Name: name, What: what, Err: err}
		f.skipped[kind] = s
	}
	s.Count++
	return nil
}

func (f *flattener) skips() []unpack.Skip {
	var list []unpack.Skip
	for _, kind := range []unpack.SkipKind{unpack.SkipXattr, unpack.SkipOwner, unpack.SkipDevice} {
		if s := f.skipped[kind]; s != nil {
			list = append(list, *s)
		}
	}
	return list
}
