package imagetree

import (
	"slices"

	"github.com/byhand/byhand/internal/mergewalk"
)

// part is one layer's directory among those that make up a merged directory.
type part struct {
	layer int // 0 is the base
	node  *node
}

// merged is a directory of the merged tree: the directories that show
// through one another, topmost first.
type merged []part

// found is a name in a merged directory.
type found struct {
	*node
	layer int    // the layer that has the name
	sub   merged // of a directory
}

// lookup finds name in d. ok is false where the merged tree has no such name.
func (d merged) lookup(name string) (f found, ok bool) {
	for i, p := range d {
		n := p.node.dir.kids[name]
		if n == nil {
			continue
		}
		if !ok {
			if n.isWhiteout() {
				return f, false
			}
			f, ok = found{node: n, layer: p.layer}, true
		}
		if !n.isDir() {
			break // a file or whiteout ends what merges
		}
		if f.sub == nil {
			f.sub = make(merged, 0, len(d)-i)
		}
		f.sub = append(f.sub, part{p.layer, n})
		if n.dir.opaque {
			break
		}
	}
	return f, ok
}

// names returns the names of d in byte order, those of whiteouts included.
func (d merged) names() []string {
	if len(d) == 1 {
		return sortedNames(d[0].node.dir.kids)
	}
	var names []string
	for _, p := range d {
		for name := range p.node.dir.kids {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// cursor is a place in the merged tree.
type cursor = mergewalk.Cursor[merged, found]

func newCursor(root merged) *cursor { return mergewalk.New[merged, found](root) }

// IsDir says whether it is a directory.
func (f found) IsDir() bool { return f.isDir() }

// IsSymlink says whether it is a symbolic link.
func (f found) IsSymlink() bool { return f.isSymlink() }

// Readlink returns the target of a symbolic link.
func (f found) Readlink() (string, error) { return f.link, nil }

// Lookup is lookup for a cursor.
func (d merged) Lookup(name string) (f found, ok bool, err error) {
	if err := checkName(name); err != nil {
		return f, false, err
	}
	f, ok = d.lookup(name)
	return f, ok, nil
}

// Enter returns what a directory of d is merged of.
func (d merged) Enter(f found) (merged, error) { return f.sub, nil }

// Self describes d as the topmost layer has it.
func (d merged) Self() (found, error) {
	return found{node: d[0].node, layer: d[0].layer, sub: d}, nil
}

// Close does nothing: memory has no descriptors.
func (d merged) Close() {}

// Names returns the names that d shows in byte order.
func (d merged) Names() ([]string, error) {
	var names []string
	for _, name := range d.names() {
		if _, ok := d.lookup(name); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// Empty says that d is no layer's.
func (d merged) Empty() bool { return len(d) == 0 }
