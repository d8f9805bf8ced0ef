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

// place makes n what base in the entry's directory is.
func (l *reader) place(e *entry, n *node) error {
	if err := l.remove(e); err != nil {
		return err
	}
	e.dir.dir.put(e.base, n)
	return nil
}

// remove makes the entry's name free, for what cannot be put there.
func (l *reader) remove(e *entry) error {
	l.supersede(e.dir, e.base)
	if err := checkName(e.base); err != nil {
		return err
	}
	if e.dir.dir.kids[e.base] != nil {
		l.clear(e.dir, e.base)
	}
	return nil
}

// clear removes whatever base in n is.
func (l *reader) clear(n *node, base string) {
	l.lastNode = nil
	if w := n.dir.work; w.marks[base] {
		w.marks[base] = false
	}
	if kid := n.dir.kids[base]; kid != nil {
		bury(kid)
		delete(n.dir.kids, base)
	}
}

// bury marks directories that are no longer in the tree.
func bury(n *node) {
	if n.dir == nil {
		return
	}
	n.dir.gone = true
	for _, kid := range n.dir.kids {
		bury(kid)
	}
}

func (l *reader) putFile(e *entry) error {
	l.counts.Files++
	// Of a sparse file only what is no hole counts.
	got := l.tar.Left()
	if got > l.limits.Bytes-l.bytes {
		sum := int64(math.MaxInt64)
		if l.bytes <= sum-got {
			sum = l.bytes + got
		}
		return &unpack.LimitError{Limit: "bytes", Max: l.limits.Bytes, Got: sum}
	}
	l.bytes += got
	l.files = append(l.files, uint32(l.ordinal))
	n := &node{layer: l.index, size: e.h.Size}
	if err := l.place(e, n); err != nil {
		return err
	}
	return l.describe(e, n, unix.S_IFREG)
}

func (l *reader) putSymlink(e *entry) error {
	l.counts.Symlinks++
	switch size := len(e.h.Linkname); {
	case size == 0:
		return unix.ENOENT
	case size >= unix.PathMax:
		return unix.ENAMETOOLONG
	}
	n := &node{layer: l.index, link: e.h.Linkname}
	if err := l.place(e, n); err != nil {
		return err
	}
	return l.describe(e, n, unix.S_IFLNK)
}

func (l *reader) putNode(e *entry) error {
	h := e.h
	n := &node{layer: l.index}
	format := uint32(unix.S_IFIFO)
	if h.Type == tarstream.TypeFIFO {
		l.counts.FIFOs++
	} else {
		l.counts.Devices++
		// The kernel's numbers have 12 and 20 bits.
		if h.Major < 0 || h.Major > 0xfff || h.Minor < 0 || h.Minor > 0xfffff {
			return fmt.Errorf("device %d:%d: %w", h.Major, h.Minor, unix.EINVAL)
		}
		n.size = int64(unix.Mkdev(uint32(h.Major), uint32(h.Minor)))
		format = unix.S_IFCHR
		if h.Type == tarstream.TypeBlock {
			format = unix.S_IFBLK
		}
		if l.noDevices {
			return l.remove(e)
		}
	}
	if err := l.place(e, n); err != nil {
		return err
	}
	return l.describe(e, n, format)
}

func (l *reader) putDir(e *entry) error {
	l.counts.Dirs++
	n := e.dir
	if e.base != "" {
		l.supersede(e.dir, e.base)
		n = e.dir.dir.kids[e.base]
	}
	if n == nil || !n.isDir() {
		if n != nil {
			l.clear(e.dir, e.base)
		}
		var err error
		if n, err = l.makeDir(e.dir, e.base); err != nil {
			return err
		}
	}
	n.dir.work.explicit = true
	return l.describe(e, n, unix.S_IFDIR)
}

// makeDir makes the directory base, whose name is free, in n.
func (l *reader) makeDir(n *node, base string) (*node, error) {
	if err := l.checkDepth(n); err != nil {
		return nil, err
	}
	if err := checkName(base); err != nil {
		return nil, err
	}
	if err := l.remember(nodeCost + int64(len(base))); err != nil {
		return nil, err
	}
	w := n.dir.work
	base = strings.Clone(base)
	kid := newDir(l.index)
	kid.dir.work = &work{parent: n, name: base, size: w.size + int64(len(base)) + 1, depth: w.depth + 1}
	_, kid.dir.work.hidden = w.marks[base]
	n.dir.put(base, kid)
	return kid, nil
}

// checkDepth refuses more below n if that would be too deep.
func (l *reader) checkDepth(n *node) error {
	if depth := n.dir.work.depth; depth >= l.limits.PathDepth {
		return &unpack.LimitError{Limit: "path-depth", Max: l.limits.PathDepth, Got: depth + 1}
	}
	return nil
}

// putWhiteout hides e.base in lower layers, if the layer itself has none.
func (l *reader) putWhiteout(e *entry) error {
	l.counts.Whiteouts++
	w := e.dir.dir.work
	if w.marks == nil {
		w.marks = make(map[string]bool)
	}
	if w.marks[e.base] {
		return nil
	}
	if err := l.remember(whiteoutCost + w.size + 2*int64(len(e.base))); err != nil {
		return err
	}
	w.marks[e.base] = false
	kid := e.dir.dir.kids[e.base]
	if kid != nil && kid.isDir() {
		kid.dir.work.hidden = true
	}
	if _, ok := l.linkAs[linkKey{e.dir, e.base}]; ok || kid != nil {
		return nil
	}
	if err := checkName(e.base); err != nil {
		return err
	}
	e.dir.dir.put(e.base, newWhiteout(l.index))
	w.marks[e.base] = true
	return nil
}

// putOpaque makes the entry's directory hide what lower layers have in it.
func (l *reader) putOpaque(e *entry) error {
	l.counts.Opaques++
	e.dir.dir.work.opaque = true
	return nil
}

// pendingLink is a hard link whose target may be in a lower layer.
type pendingLink struct {
	dir    *node
	base   string
	target string
	gone   bool // something else took the name
}

type linkKey struct {
	dir  *node
	base string
}

func (l *reader) putLink(e *entry) error {
	l.counts.HardLinks++
	name, err := layername.Clean(e.h.Linkname)
	if err == nil && name == "." {
		err = unix.EISDIR
	}
	if err != nil {
		return fmt.Errorf("target %q: %w", e.h.Linkname, err)
	}
	dir, base := layername.Split(name)
	from, rest, err := l.walk(dir, false)
	if err != nil {
		return err
	}
	if rest != "" {
		return l.pend(e, join(from, rest+"/"+base))
	}
	if kid := from.dir.kids[base]; kid != nil && kid.isDir() {
		return fmt.Errorf("target %q: %w", e.h.Linkname, unix.EISDIR)
	}
	err = l.linkTo(e, from, base)
	if errors.Is(err, unix.ENOENT) {
		return l.pend(e, join(from, base))
	}
	return err
}

// linkTo makes the entry's name a link to base in from. If there is no such
// file it is ENOENT.
func (l *reader) linkTo(e *entry, from *node, base string) error {
	if err := checkName(base); err != nil {
		return err
	}
	target := from.dir.kids[base]
	if target == nil || target.isWhiteout() { // what the layer says is that it has none
		return unix.ENOENT
	}
	if from == e.dir && base == e.base {
		return nil
	}
	l.supersede(e.dir, e.base)
	if err := checkName(e.base); err != nil {
		return err
	}
	if e.dir.dir.kids[e.base] != nil {
		l.clear(e.dir, e.base)
		if from.dir.gone { // it was in what the link replaces
			return unix.ENOENT
		}
	}
	e.dir.dir.put(e.base, target)
	return nil
}

// pend leaves the link to be made when the lower layers are known.
func (l *reader) pend(e *entry, target string) error {
	l.supersede(e.dir, e.base)
	if err := checkName(e.base); err != nil {
		return err
	}
	l.clear(e.dir, e.base)
	if l.linkAs == nil {
		l.linkAs = make(map[linkKey]int)
	}
	l.linkAs[linkKey{e.dir, e.base}] = len(l.links)
	if err := l.remember(linkCost + e.dir.dir.work.size + int64(len(e.base)+len(target))); err != nil {
		return err
	}
	l.links = append(l.links, pendingLink{dir: e.dir, base: e.base, target: strings.Clone(target)})
	return nil
}

// supersede forgets a pending link at base in n, for something takes its
// name.
func (l *reader) supersede(n *node, base string) {
	key := linkKey{n, base}
	if i, ok := l.linkAs[key]; ok {
		l.links[i].gone = true
		delete(l.linkAs, key)
	}
}
