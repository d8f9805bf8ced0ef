package imagetree

import (
	"context"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/settle"
	"github.com/byhand/byhand/unpack"
)

// ErrLinkTarget is the cause of an unpack.EntryError for a hard link to a
// file that neither the layer nor the layers below it have.
var ErrLinkTarget = settle.ErrLinkTarget

// settleLayer completes layer l, number index, on top of the settled layers
// below it, base first, by the rules of package settle.
func settleLayer(ctx context.Context, l *Layer, index int, below []*node, limits unpack.Limits) error {
	if l.pending.Empty() {
		return nil
	}
	s := &settling{index: index, limits: limits, root: l.root}
	lower := stacked(below)
	all := merged{{index, l.root}}
	if !l.pending.OpaqueRoot {
		all = append(all, lower...)
	}
	return settle.Settle[merged, found, *node](ctx, s, all, lower, l.pending)
}

// stacked returns the merged root of layers given base first.
func stacked(roots []*node) merged {
	m := make(merged, 0, len(roots))
	for i, root := range slices.Backward(roots) {
		m = append(m, part{i, root})
	}
	return m
}

// settling is a layer in memory while it is settled.
type settling struct {
	index  int
	limits unpack.Limits
	root   *node
	made   int64 // directories
}

var _ settle.Layer[merged, found, *node] = (*settling)(nil)

func (s *settling) Root() *node { return s.root }

func (s *settling) Top(d merged) (*node, bool) { return d[0].node, d[0].layer == s.index }

func (s *settling) Below(d merged) merged { return d[1:] }

func (s *settling) Owns(f found) bool { return f.layer == s.index }

func (s *settling) Kind(dir *node, base string) (settle.Kind, error) {
	n := dir.dir.kids[base]
	switch {
	case n == nil:
		return settle.Absent, checkName(base)
	case n.isDir():
		return settle.Directory, nil
	case n.isWhiteout():
		return settle.Whiteout, nil
	}
	return settle.Other, nil
}

func (s *settling) Open(dir *node, base string) (*node, error) {
	switch n := dir.dir.kids[base]; {
	case n == nil:
		return nil, unix.ENOENT
	case !n.isDir():
		return nil, unix.ENOTDIR
	default:
		return n, nil
	}
}

func (s *settling) Close(*node) {}

func (s *settling) List(dir *node) ([]string, error) { return sortedNames(dir.dir.kids), nil }

func (s *settling) Opaque(dir *node) (bool, error) { return dir.dir.opaque, nil }

func (s *settling) Plain(dir *node) bool { return dir.isPlain() }

func (s *settling) Make(dir *node, base string, depth int) error {
	if int64(depth) >= s.limits.PathDepth {
		return &unpack.LimitError{Limit: "path-depth", Max: s.limits.PathDepth, Got: int64(depth) + 1}
	}
	if s.made++; s.made > s.limits.Entries {
		return &unpack.LimitError{Limit: "entries", Max: s.limits.Entries, Got: s.made}
	}
	n := newDir(int32(s.index))
	n.dir.implicit = true
	dir.dir.put(base, n)
	return nil
}

func (s *settling) SetPlain(dir *node) error {
	dir.setPlain()
	return nil
}

func (s *settling) SetOpaque(dir *node) error {
	dir.dir.opaque = true
	return nil
}

func (s *settling) Inherit(dir *node, from found) error {
	copyMeta(from.node, dir)
	return nil
}

func (s *settling) Describe(dir, from *node) error {
	dir.xattrs = nil
	copyMeta(from, dir)
	dir.ordinal, dir.dir.implicit = from.ordinal, from.dir.implicit
	return nil
}

func (s *settling) Rename(src *node, base, _ string, dst *node, newBase, _ string) error {
	n := src.dir.kids[base]
	switch {
	case dst.dir.gone || n == nil:
		return unix.ENOENT
	case dst.dir.kids[newBase] != nil:
		return unix.EEXIST
	}
	dst.dir.put(newBase, n)
	delete(src.dir.kids, base)
	return nil
}

func (s *settling) Mark(dir *node, base string) error {
	dir.dir.put(base, newWhiteout(int32(s.index)))
	return nil
}

func (s *settling) Unmark(dir *node, base string) error {
	delete(dir.dir.kids, base)
	return nil
}

func (s *settling) RemoveDir(dir *node, base string) error { return s.Drop(dir, base, "") }

func (s *settling) Drop(dir *node, base, _ string) error {
	bury(dir.dir.kids[base])
	delete(dir.dir.kids, base)
	return nil
}

func (s *settling) KeepTimes(_ *node, fn func() error) error { return fn() }

// Link makes base one more name of the node f.
func (s *settling) Link(_ *settle.Settler[merged, found, *node], f found, _ string, dir *node, base, _ string) error {
	dir.dir.put(base, f.node)
	return nil
}
