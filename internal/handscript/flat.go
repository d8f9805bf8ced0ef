package handscript

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/tarstream"
)

// clearFor lists what has to go from the tree that the layers below n make,
// for cp to add the lower dir want: what the layer deletes, what it hides, and
// what is in the way of something of another type. cp replaces files by files
// and merges directories by itself, but leaves attributes.
func clearFor(ctx context.Context, below *imagetree.Tree, want []imagetree.LowerFile) ([]step, error) {
	have := map[string]imagetree.Entry{}
	err := below.Walk(ctx, func(e imagetree.Entry) error {
		have[e.Name] = e
		return nil
	})
	if err != nil {
		return nil, err
	}
	var steps []step
	gone := "" // the directory that was removed last, with a slash
	for _, e := range want {
		old, ok := have[e.Name]
		if !ok || gone != "" && strings.HasPrefix(e.Name, gone) {
			continue
		}
		at := path.Join("rootfs", e.Name)
		switch {
		case e.Whiteout, old.IsDir() != e.IsDir(), e.Opaque && e.Name != ".":
			steps = append(steps, step{"discard", at})
			gone = e.Name + "/"
		case e.IsDir():
			steps = append(steps, dropXattrs(old, e.Entry, at)...)
			if old.Mode&0o7000&^e.Mode != 0 { // cp does not take these away
				steps = append(steps, step{"chmod", mode(e.Entry), at})
			}
			if old.Mode&e.Mode&0o700 != 0o700 { // for an ordinary user; cp sets the mode again
				steps = append(steps, step{"chmod", "u+rwx", at})
			}
		}
	}
	return steps, nil
}

// dropXattrs removes the attributes that a directory no longer has.
func dropXattrs(old, now imagetree.Entry, at string) []step {
	var steps []step
	for _, x := range old.Xattrs {
		if !slices.ContainsFunc(now.Xattrs, func(n tarstream.Xattr) bool { return n.Name == x.Name }) {
			steps = append(steps, step{"drop", at, x.Name})
		}
	}
	return steps
}
