package imagetree

import (
	"context"

	"golang.org/x/sys/unix"
)

// Kind is what a layer does to a name.
type Kind byte

// Kinds, written as docker diff does.
const (
	Added   Kind = 'A'
	Changed Kind = 'C'
	Deleted Kind = 'D'
)

// Change is what one layer does to one name.
type Change struct {
	Kind  Kind
	Entry Entry // of a deletion what was deleted
	// Opaque says that the directory hides all that lower layers have in it;
	// each name so hidden is a Deleted of its own.
	Opaque bool
	// Whiteout says that a whiteout deletes the name; without one the directory
	// that it is in is opaque.
	Whiteout bool
	// Hidden is how many bytes of lower layers' files do not show any more
	// because of the change: of a deleted or replaced directory those of all
	// files in it. A file with several names counts at each.
	Hidden int64
}

// Added bytes are those of a regular file whose content is in this layer's
// archive.
func (c *Change) Added(layer int) int64 {
	if c.Kind == Deleted || !c.Entry.IsRegular() || c.Entry.Content.Layer != layer {
		return 0
	}
	return c.Entry.Size
}

// Changes calls fn for every name that layer n, counted from 1, adds, changes
// or deletes, a directory before what it holds, names within it in byte order.
// Directories that the layer's paths only pass through and that lower layers
// have are not changed. What is in a deleted directory, or in one replaced by
// something else, is not listed. An error of fn ends the walk and is returned.
func (t *Tree) Changes(ctx context.Context, n int, fn func(Change) error) error {
	w := &changeWalk{fn: fn, layer: n - 1}
	own := t.roots[n-1]
	below := stacked(t.roots[:n-1])
	hides := own.dir.opaque && len(below) > 0
	if !own.dir.implicit || hides {
		c := Change{Kind: Added, Entry: newEntry(".", found{node: own, layer: n - 1}), Opaque: hides}
		if len(below) > 0 {
			c.Kind = Changed
		}
		if err := fn(c); err != nil {
			return err
		}
	}
	return w.dir(ctx, own, below, "", false)
}

type changeWalk struct {
	fn    func(Change) error
	layer int
}

// dir compares what the layer has in a directory with what shows below it.
// covered says that a directory it is in is opaque.
func (w *changeWalk) dir(ctx context.Context, own *node, below merged, prefix string, covered bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	names := merged{{w.layer, own}}
	covered = covered || own.dir.opaque && prefix != ""
	if covered {
		names = append(names, below...) // all of them are deleted or replaced
	}
	for _, name := range names.names() {
		if err := w.name(ctx, own, name, prefix, below, covered); err != nil {
			return err
		}
	}
	return nil
}

func (w *changeWalk) name(ctx context.Context, own *node, name, prefix string, below merged, covered bool) error {
	n := own.dir.kids[name]
	low, had := below.lookup(name)
	if n == nil || n.isWhiteout() {
		if !had {
			return nil
		}
		// Those of an opaque root stand for it: settling made them.
		whiteout := n != nil && !(prefix == "" && own.dir.opaque)
		return w.fn(Change{Kind: Deleted, Entry: newEntry(prefix+name, low), Whiteout: whiteout, Hidden: bytesIn(low)})
	}
	// What is in an opaque directory is new, whatever was there before.
	c := Change{Kind: Added, Entry: newEntry(prefix+name, found{node: n, layer: w.layer})}
	if had {
		c.Kind = Changed
	}
	merges := had && n.isDir() && low.isDir()
	switch {
	case merges:
		c.Opaque = n.dir.opaque
	case had && n != low.node:
		c.Hidden = bytesIn(low)
	case had: // a link to what is there
		return nil
	}
	if !merges || !n.dir.implicit || c.Opaque || covered {
		if err := w.fn(c); err != nil {
			return err
		}
	}
	if !n.isDir() {
		return nil
	}
	return w.dir(ctx, n, low.sub, prefix+name+"/", covered)
}

// bytesIn sums up the sizes of the regular files in f.
func bytesIn(f found) int64 {
	if f.mode&unix.S_IFMT == unix.S_IFREG {
		return f.size
	}
	var sum int64
	for _, name := range f.sub.names() {
		if kid, ok := f.sub.lookup(name); ok {
			sum += bytesIn(kid)
		}
	}
	return sum
}
