package imagetree

import (
	"context"

	"github.com/byhand/byhand/unpack"
)

// facts are what only reading a layer's archive tells.
type facts struct {
	counts  unpack.Counts
	tarSize int64
}

// Stats tell what one layer brings, and how much of it is there for nothing.
type Stats struct {
	Counts  unpack.Counts // of the entries of its archive
	TarSize int64         // bytes of its uncompressed tar

	// Bytes are those of the regular files that the layer brings, holes
	// included. A file with several names counts once, a hard link to a file of
	// a lower layer brings nothing.
	Bytes int64
	// Hidden are those of Bytes that do not show in the tree, because upper
	// layers deleted or replaced the files under all their names.
	Hidden int64
}

// Stats returns those of each layer, base first.
func (t *Tree) Stats(ctx context.Context) ([]Stats, error) {
	shown := map[*node]bool{}
	err := t.Walk(ctx, func(e Entry) error {
		if e.IsRegular() {
			shown[e.node] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	all := make([]Stats, len(t.roots))
	for i, root := range t.roots {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s := Stats{Counts: t.facts[i].counts, TarSize: t.facts[i].tarSize}
		for n := range filesOf(root, int32(i), map[*node]bool{}) {
			s.Bytes += n.size
			if !shown[n] {
				s.Hidden += n.size
			}
		}
		all[i] = s
	}
	return all, nil
}

// filesOf adds to set the regular files below dir whose content is in the
// layer's own archive.
func filesOf(dir *node, layer int32, set map[*node]bool) map[*node]bool {
	for _, kid := range dir.dir.kids {
		switch {
		case kid.isDir():
			filesOf(kid, layer, set)
		case kid.isRegular() && kid.layer == layer:
			set[kid] = true
		}
	}
	return set
}
