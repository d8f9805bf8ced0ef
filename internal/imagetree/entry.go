package imagetree

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/layername"
	"github.com/byhand/byhand/internal/tarstream"
	"github.com/byhand/byhand/unpack"
)

// entry is a tar entry on its way into the tree.
type entry struct {
	h    *tarstream.Header
	dir  *node  // directory it goes to
	base string // its name there; "" for the root
	op   string // what is being done
	put  func(*reader, *entry) error
}

// wrap names the entry in err.
func (e *entry) wrap(err error) error {
	var done *unpack.EntryError
	if errors.As(err, &done) {
		return err
	}
	op := e.op
	if op == "" {
		op = "read"
	}
	return &unpack.EntryError{Name: e.h.Name, Op: op, Err: err}
}

// locate decides what the entry is and finds the directory that it goes to,
// after which e.put, if set, puts it there.
func (l *reader) locate(e *entry) error {
	e.op = "resolve name"
	switch e.h.Type {
	case tarstream.TypeVolume, tarstream.TypeOldNames:
		l.skip(unpack.SkipType, e.h.Name, "type "+string(rune(e.h.Type)), nil)
		return nil
	}
	name, err := layername.Clean(e.h.Name)
	if err != nil {
		return err
	}
	if layername.IsAUFS(name) {
		return nil
	}
	l.aufs = l.aufs || strings.HasPrefix(name, layername.AUFSLinks)
	dir, base := layername.Split(name)
	if name == "." {
		base = ""
	}
	e.base = base
	if err := e.classify(); err != nil {
		return err
	}
	e.base = strings.Clone(e.base) // not the long name that it is part of
	if e.put == nil {              // a device 0:0
		l.skip(unpack.SkipZeroDevice, e.h.Name, "0:0", nil)
		return nil
	}
	if e.dir, err = l.parent(dir); err != nil {
		return err
	}
	return l.checkDepth(e.dir)
}

// classify sets e.put and e.base by the last component and the type.
func (e *entry) classify() error {
	if layername.IsOpaque(e.base) {
		e.op, e.base, e.put = "make opaque", "", (*reader).putOpaque
		return nil
	}
	if hidden, ok := layername.Whiteout(e.base); ok {
		e.op, e.base, e.put = "make whiteout", hidden, (*reader).putWhiteout
		if e.base == "" || e.base == "." || e.base == ".." {
			return unpack.ErrHostile
		}
		return nil
	}
	isDir := e.h.Type == tarstream.TypeDir || e.h.Type == tarstream.TypeDumpDir
	if e.base == "" && !isDir {
		e.op = "replace the root by"
		return unpack.ErrHostile
	}
	switch e.h.Type {
	case tarstream.TypeReg:
		e.op, e.put = "read file", (*reader).putFile
	case tarstream.TypeLink:
		e.op, e.put = "make hard link", (*reader).putLink
	case tarstream.TypeSymlink:
		e.op, e.put = "make symbolic link", (*reader).putSymlink
	case tarstream.TypeDir, tarstream.TypeDumpDir:
		e.op, e.put = "make directory", (*reader).putDir
	case tarstream.TypeChar:
		if e.h.Major == 0 && e.h.Minor == 0 {
			return nil
		}
		e.op, e.put = "make character device", (*reader).putNode
	case tarstream.TypeBlock:
		e.op, e.put = "make block device", (*reader).putNode
	case tarstream.TypeFIFO:
		e.op, e.put = "make FIFO", (*reader).putNode
	default:
		e.op = "read"
		return fmt.Errorf("unknown type %q of tar entry", e.h.Type)
	}
	return nil
}

// describe gives n what the entry says about it.
func (l *reader) describe(e *entry, n *node, format uint32) error {
	h := e.h
	if h.UID < 0 || h.GID < 0 || h.UID >= math.MaxUint32 || h.GID >= math.MaxUint32 {
		if !l.anyOwner {
			e.op = "change owner of"
			return fmt.Errorf("owner %d:%d: %w", h.UID, h.GID, unix.EINVAL)
		}
	}
	n.uid, n.gid = uint32(h.UID), uint32(h.GID)
	n.mode = format | uint32(h.Mode&0o7777)
	if format == unix.S_IFLNK {
		n.mode = format | 0o777
	}
	n.sec, n.nsec = h.ModTime.Sec, int32(h.ModTime.Nsec)
	n.ordinal = uint32(l.ordinal)
	if err := l.xattrs(e, n); err != nil {
		return err
	}
	// Targets and attributes stay in memory; entries themselves have a limit.
	cost := int64(len(n.link))
	for _, x := range h.Xattrs {
		cost += int64(len(x.Name) + len(x.Value))
	}
	return l.remember(cost)
}
