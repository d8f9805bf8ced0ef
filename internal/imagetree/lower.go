package imagetree

import "context"

// LowerEntry is one name in the lower dir of a single layer, as the store has
// it on disk.
type LowerEntry struct {
	Entry
	Whiteout bool // a device 0:0 that hides the name in the layers below
	Opaque   bool // a directory that hides what the layers below have in it
	Implicit bool // a directory without an entry of its own
}

// Lower calls fn for every name in the lower dir of layer n, counted from 1,
// settled on the layers below: the root "." first, a directory before what it
// holds, names within it in byte order. Nothing shows through from below. A
// hard link to a file of a lower layer has that layer in Entry.Content. An
// error of fn ends the walk and is returned.
func (t *Tree) Lower(ctx context.Context, n int, fn func(LowerEntry) error) error {
	return lower(ctx, t.roots[n-1], ".", n-1, fn)
}

func lower(ctx context.Context, n *node, name string, layer int, fn func(LowerEntry) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e := LowerEntry{Entry: newEntry(name, found{node: n, layer: layer}), Whiteout: n.isWhiteout()}
	if !n.isDir() {
		return fn(e)
	}
	e.Opaque, e.Implicit = n.dir.opaque, n.dir.implicit
	if err := fn(e); err != nil {
		return err
	}
	prefix := name + "/"
	if name == "." {
		prefix = ""
	}
	for _, base := range sortedNames(n.dir.kids) {
		if err := lower(ctx, n.dir.kids[base], prefix+base, layer, fn); err != nil {
			return err
		}
	}
	return nil
}
