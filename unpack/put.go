package unpack

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
	"github.com/byhand/byhand/internal/tarstream"
	"golang.org/x/sys/unix"
)

const fileFlags = unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// place runs mk in the directory of e until the name is free for it.
func (a *applier) place(e *entry, mk func(dirfd int) error) (dirfd int, err error) {
	a.supersede(e.dir, e.base)
	for tries := 0; ; {
		dirfd, err = a.tree.fd(e.dir)
		if err != nil {
			return -1, err
		}
		err = mk(dirfd)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EEXIST) && tries == 0:
			tries++
			if err := a.clear(e.dir, e.base); err != nil {
				return -1, err
			}
		default:
			return dirfd, err
		}
	}
}

func (a *applier) putFile(ctx context.Context, e *entry) error {
	h := e.h
	if got := a.tar.Left(); got > a.limits.Bytes-a.res.Bytes {
		return &LimitError{Limit: "bytes", Max: a.limits.Bytes, Got: addSaturated(a.res.Bytes, got)}
	}
	mode := uint32(h.Mode & 0o7777)
	fd := -1
	_, err := a.place(e, func(dirfd int) (err error) {
		fd, err = sys.Openat(dirfd, e.base, fileFlags, mode&0o777)
		return err
	})
	if err != nil {
		return err
	}
	a.res.Counts.Files++
	err = a.content(ctx, fd, e)
	if err == nil {
		err = a.fileMeta(e, fd, mode)
	}
	// Network file systems report a failed write as late as here.
	if cerr := unix.Close(fd); err == nil && cerr != nil && !errors.Is(cerr, unix.EINTR) {
		err = cerr
	}
	return err
}

func addSaturated(a, b int64) int64 {
	if b > noLimit-a {
		return noLimit
	}
	return a + b
}

// content writes what the entry holds. Holes stay holes.
func (a *applier) content(ctx context.Context, fd int, e *entry) error {
	h := e.h
	whole := [1]tarstream.Segment{{Length: a.tar.Left()}}
	segs := whole[:]
	if h.IsSparse {
		segs = h.Sparse
	}
	if a.record != nil {
		if err := a.record.file(a.pathIn(e.dir), e.base, h.Size, segs); err != nil {
			return &streamError{err}
		}
	}
	var seg tarstream.Segment
	for {
		p, err := a.tar.Data()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return &streamError{err}
		}
		if err := ctx.Err(); err != nil {
			return &streamError{err}
		}
		a.res.Bytes += int64(len(p))
		a.record.content(p)
		for len(p) > 0 {
			for seg.Length == 0 {
				seg, segs = segs[0], segs[1:]
			}
			n := min(int64(len(p)), seg.Length)
			if err := writeAt(fd, p[:n], seg.Offset, h.IsSparse); err != nil {
				return err
			}
			p = p[n:]
			seg.Offset += n
			seg.Length -= n
		}
	}
	if err := a.record.fileEnd(); err != nil {
		return &streamError{err}
	}
	if h.IsSparse {
		return sys.Ftruncate(fd, h.Size)
	}
	return nil
}

func writeAt(fd int, p []byte, offset int64, seek bool) error {
	for len(p) > 0 {
		var n int
		var err error
		if seek {
			n, err = sys.Pwrite(fd, p, offset)
		} else {
			n, err = unix.Write(fd, p)
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		p = p[n:]
		offset += int64(n)
	}
	return nil
}

func (a *applier) putSymlink(_ context.Context, e *entry) error {
	dirfd, err := a.place(e, func(dirfd int) error {
		return sys.Symlinkat(e.h.Linkname, dirfd, e.base)
	})
	if err != nil {
		return err
	}
	a.res.Counts.Symlinks++
	return a.nodeMeta(e, dirfd, noMode)
}

func (a *applier) putNode(_ context.Context, e *entry) error {
	h := e.h
	mode := uint32(h.Mode & 0o7777)
	dev, format := 0, uint32(unix.S_IFIFO)
	if e.kind != tarstream.TypeFIFO {
		// Larger numbers would be cut to others, such as 0:0.
		if h.Major < 0 || h.Major > 0xfff || h.Minor < 0 || h.Minor > 0xfffff {
			return fmt.Errorf("device %d:%d: %w", h.Major, h.Minor, unix.EINVAL)
		}
		dev = int(unix.Mkdev(uint32(h.Major), uint32(h.Minor)))
		format = unix.S_IFCHR
		if e.kind == tarstream.TypeBlock {
			format = unix.S_IFBLK
		}
	}
	dirfd, err := a.place(e, func(dirfd int) error {
		return sys.Mknodat(dirfd, e.base, format|mode&0o777, dev)
	})
	if errors.Is(err, unix.EPERM) && e.kind != tarstream.TypeFIFO {
		a.skip(SkipDevice, h.Name, fmt.Sprintf("%d:%d", h.Major, h.Minor), err)
		return nil
	}
	if err != nil {
		return err
	}
	if e.kind == tarstream.TypeFIFO {
		a.res.Counts.FIFOs++
	} else {
		a.res.Counts.Devices++
	}
	return a.nodeMeta(e, dirfd, mode)
}

func (a *applier) putDir(_ context.Context, e *entry) error {
	a.res.Counts.Dirs++
	mode := uint32(e.h.Mode & 0o7777)
	n := e.dir
	if e.base != "" {
		a.supersede(e.dir, e.base)
		n = e.dir.kids[e.base]
	}
	e.merged = n != nil
	if n == nil {
		var err error
		n, err = a.makeDir(e.dir, e.base, mode)
		if errors.Is(err, unix.EEXIST) {
			if err := a.clear(e.dir, e.base); err != nil {
				return err
			}
			n, err = a.makeDir(e.dir, e.base, mode)
		}
		if err != nil {
			return err
		}
	}
	n.explicit, n.mode, n.times = true, mode, times(e.h)
	return a.dirMeta(e, n)
}

// makeDir makes the directory base in n. Until the end it is one that its
// owner can work in and that passes nothing on to what is made in it.
func (a *applier) makeDir(n *node, base string, mode uint32) (*node, error) {
	if err := a.checkDepth(n); err != nil {
		return nil, err
	}
	if err := a.remember(nodeCost + int64(len(base))); err != nil {
		return nil, err
	}
	fd, err := a.tree.fd(n)
	if err != nil {
		return nil, err
	}
	made := mode&0o777 | 0o700
	if err := sys.Mkdirat(fd, base, made); err != nil {
		return nil, err
	}
	if a.umask&0o700 != 0 {
		if err := rootfd.Chmodat(fd, base, made); err != nil {
			return nil, err
		}
	} else {
		made &^= a.umask
	}
	kid := a.tree.add(n, base)
	kid.mode, kid.made, kid.gid = mode, made, int(a.egid)
	if n.gid != int(a.egid) {
		kid.gid = -1 // on file systems mounted with grpid the parent's
	}
	return kid, nil
}

// typeError is an entry of a type that no layer has.
type typeError struct{ flag byte }

func (e *typeError) Error() string {
	return fmt.Sprintf("unknown type %q of tar entry", e.flag)
}

func ignoringEINTR(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func removeAllAt(dirfd int, base string) error { return rootfd.RemoveAllAt(dirfd, base) }
