package unpack

import (
	"context"
	"errors"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/layername"
	"github.com/byhand/byhand/internal/tarstream"
)

// entry is a tar entry on its way into the directory.
type entry struct {
	h    *tarstream.Header
	dir  *node  // directory it goes to
	base string // its name there; "" for the root
	kind byte   // as Entry.Type
	op   string // what is being done

	merged    bool // a directory that was there before
	ownerLost bool // it is left to the caller
	put       func(*applier, context.Context, *entry) error
}

// Kinds of Entry.Type beyond tar's own.
const (
	kindWhiteout = 'W'
	kindOpaque   = 'O'
)

// wrap names the entry in err, unless it is about the stream.
func (e *entry) wrap(err error) error {
	var ofStream *streamError
	var done *EntryError
	switch {
	case errors.As(err, &ofStream):
		return ofStream.err
	case errors.As(err, &done):
		return err
	}
	op := e.op
	if op == "" {
		op = "unpack"
	}
	return &EntryError{Name: e.h.Name, Op: op, Err: err}
}

// streamError keeps errors of the stream apart from those of the directory.
type streamError struct{ err error }

func (e *streamError) Error() string { return e.err.Error() }

func (e *entry) describe() Entry {
	h := e.h
	d := Entry{
		Name: e.dir.path(), Type: e.kind,
		Mode: uint32(h.Mode & 0o7777), UID: int(h.UID), GID: int(h.GID),
		ModTime: time.Unix(h.ModTime.Sec, h.ModTime.Nsec),
	}
	if e.base != "" {
		d.Name = e.dir.join(e.base)
	}
	switch e.kind {
	case tarstream.TypeReg:
		d.Size = h.Size
	case tarstream.TypeLink, tarstream.TypeSymlink:
		d.Link = h.Linkname
	case tarstream.TypeChar, tarstream.TypeBlock:
		d.Major, d.Minor = uint32(h.Major), uint32(h.Minor)
	}
	return d
}

// locate decides what the entry is and finds the directory that it goes to,
// after which e.put, if set, puts it there.
func (a *applier) locate(e *entry) error {
	e.op, e.kind = "resolve name", e.h.Type
	switch e.h.Type {
	case tarstream.TypeVolume, tarstream.TypeOldNames:
		a.skip(SkipType, e.h.Name, "type "+string(rune(e.h.Type)), nil)
		return nil
	}
	name, err := layername.Clean(e.h.Name)
	if err != nil {
		return err
	}
	if layername.IsAUFS(name) {
		return nil
	}
	a.aufs = a.aufs || strings.HasPrefix(name, layername.AUFSLinks)
	dir, base := layername.Split(name)
	if name == "." {
		base = ""
	}
	e.base = base
	if err := e.classify(); err != nil {
		return err
	}
	if e.put == nil { // a device 0:0
		a.skip(SkipZeroDevice, e.h.Name, "0:0", nil)
		return nil
	}
	if e.dir, err = a.parent(dir); err != nil {
		return err
	}
	return a.checkDepth(e.dir)
}

// classify sets e.put and e.kind by the last component and the type, and
// e.base to the name that a marker is about.
func (e *entry) classify() error {
	if layername.IsOpaque(e.base) {
		e.op, e.kind, e.base, e.put = "make opaque", kindOpaque, "", (*applier).putOpaque
		return nil
	}
	if hidden, ok := layername.Whiteout(e.base); ok {
		e.op, e.kind, e.base, e.put = "make whiteout", kindWhiteout, hidden, (*applier).putWhiteout
		if hidden == "" || hidden == "." || hidden == ".." {
			return ErrHostile // the directory itself, its parent and nothing
		}
		return nil
	}
	if e.h.Type == tarstream.TypeDumpDir {
		e.kind = tarstream.TypeDir
	}
	if e.base == "" && e.kind != tarstream.TypeDir {
		e.op = "replace the root by"
		return ErrHostile
	}
	switch e.kind {
	case tarstream.TypeReg:
		e.op, e.put = "write file", (*applier).putFile
	case tarstream.TypeLink:
		e.op, e.put = "make hard link", (*applier).putLink
	case tarstream.TypeSymlink:
		e.op, e.put = "make symbolic link", (*applier).putSymlink
	case tarstream.TypeDir:
		e.op, e.put = "make directory", (*applier).putDir
	case tarstream.TypeChar:
		if e.h.Major == 0 && e.h.Minor == 0 {
			return nil
		}
		e.op, e.put = "make character device", (*applier).putNode
	case tarstream.TypeBlock:
		e.op, e.put = "make block device", (*applier).putNode
	case tarstream.TypeFIFO:
		e.op, e.put = "make FIFO", (*applier).putNode
	default:
		e.op = "unpack"
		return &typeError{e.h.Type}
	}
	return nil
}

// checkDepth refuses more below n if that would be too deep.
func (a *applier) checkDepth(n *node) error {
	if n.depth >= a.limits.PathDepth {
		return &LimitError{Limit: "path-depth", Max: a.limits.PathDepth, Got: n.depth + 1}
	}
	return nil
}

// clear removes whatever base in n is.
func (a *applier) clear(n *node, base string) error {
	a.lastNode = nil
	fd, err := a.tree.fd(n)
	if err != nil {
		return err
	}
	if n.marks[base] {
		n.marks[base] = false
	} else if err := a.record.replaced(fd, base, n.join(base)); err != nil {
		return err
	}
	if kid := n.kids[base]; kid != nil {
		a.tree.drop(kid)
		return removeAllAt(fd, base)
	}
	return ignoringEINTR(func() error { return unix.Unlinkat(fd, base, 0) })
}
