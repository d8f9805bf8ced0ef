package imagetree

import (
	"context"
	"slices"
)

// LowerFile is a file of one layer's own tree, as its lower dir has it.
type LowerFile struct {
	Entry
	Whiteout bool
	Opaque   bool // a directory that hides what lower layers have
	Implicit bool // a directory without an entry of its own
}

// FileKey is equal for the names of one file and different for those of others,
// in the layers of one tree.
type FileKey struct{ node *node }

// Key returns what tells the file from others.
func (e *Entry) Key() FileKey { return FileKey{e.node} }

// Lower returns the root of the n-th layer's own tree, counted from 1.
func (t *Tree) Lower(n int) LowerFile { return t.lowerFile(n, ".", t.roots[n-1]) }

// LowerDir returns what the directory d of the n-th layer's own tree holds,
// names in byte order.
func (t *Tree) LowerDir(n int, d LowerFile) []LowerFile {
	prefix := d.Name + "/"
	if d.Name == "." {
		prefix = ""
	}
	kids := d.node.dir.kids
	files := make([]LowerFile, 0, len(kids))
	for _, base := range sortedNames(kids) {
		files = append(files, t.lowerFile(n, prefix+base, kids[base]))
	}
	return files
}

func (t *Tree) lowerFile(n int, name string, at *node) LowerFile {
	return LowerFile{
		Entry:    newEntry(name, found{node: at, layer: n - 1}),
		Whiteout: at.isWhiteout(), Opaque: at.isDir() && at.dir.opaque,
		Implicit: at.isDir() && at.dir.implicit,
	}
}

// WalkLower calls fn for every file of the n-th layer's own tree, settled on the
// layers below: the root "." first, a directory before what it holds, names
// within it in byte order. Nothing shows through from below. A hard link to a
// file of a lower layer has that layer in Entry.Content. An error of fn ends
// the walk and is returned.
func (t *Tree) WalkLower(ctx context.Context, n int, fn func(LowerFile) error) error {
	return t.walkLower(ctx, n, t.Lower(n), fn)
}

func (t *Tree) walkLower(ctx context.Context, n int, f LowerFile, fn func(LowerFile) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := fn(f); err != nil || !f.IsDir() {
		return err
	}
	for _, kid := range t.LowerDir(n, f) {
		if err := t.walkLower(ctx, n, kid, fn); err != nil {
			return err
		}
	}
	return nil
}

// FileIndex returns how many entries of regular files come before the one at
// c in its layer's archive.
func (t *Tree) FileIndex(c Content) (int, bool) {
	return slices.BinarySearch(t.files[c.Layer-1], uint32(c.Ordinal))
}
