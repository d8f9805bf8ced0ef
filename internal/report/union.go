package report

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/imagetree"
)

// node is a name that any layer has, with all that the layers did to it.
type node struct {
	name   string
	kids   map[string]*node
	events []event
	layer  int32 // that the merged tree has it from; 0: it has no such name
	dir    bool
	size   int64  // bytes of content that show here, once for all names of a file
	note   string // of what is neither directory nor file: what it is

	key   fileKey // of a regular file
	names *names  // of one with several names
}

// event is what one layer does to a name.
type event struct {
	layer  int32
	kind   imagetree.Kind
	opaque bool
	added  int64 // bytes that the layer's archive has for it
	hidden int64 // bytes of lower layers that do not show any more because of it
}

// fileKey is the archive entry that a file's content comes from.
type fileKey struct {
	layer   int32
	ordinal int64
}

// names are those of one file that show, the one that counts its bytes first.
type names struct{ list []*node }

// effect sums up what one layer does to the tree below it.
type effect struct {
	Added, Changed, Deleted int64 // names, the root not counted
	Hides                   int64 // bytes of lower layers
}

// union is the tree of all names, of all layers.
type union struct {
	root   *node
	layers []effect
	names  int64 // nodes, without the root
	first  map[fileKey]*node
}

// newUnion follows what the layers do, base first.
func newUnion(ctx context.Context, t *imagetree.Tree) (*union, error) {
	u := &union{
		root:   &node{dir: true, layer: 1},
		layers: make([]effect, t.Layers()),
		first:  map[fileKey]*node{},
	}
	for n := 1; n <= t.Layers(); n++ {
		var deleted []*node
		err := t.Changes(ctx, n, func(c imagetree.Change) error {
			switch {
			case c.Entry.Name == ".": // every image has it; nothing is shown of it
			case c.Kind == imagetree.Deleted:
				deleted = append(deleted, u.at(c.Entry.Name))
			default:
				u.apply(&c, int32(n))
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", n, err)
		}
		// Last, as the layer may have a hard link to what it deletes.
		for _, x := range deleted {
			u.remove(x, int32(n))
		}
	}
	u.first = nil
	return u, nil
}

// apply does to the tree what a layer does to a name that it has.
func (u *union) apply(c *imagetree.Change, layer int32) {
	x := u.at(c.Entry.Name)
	st := &u.layers[layer-1]
	ev := event{layer: layer, kind: c.Kind, opaque: c.Opaque}
	before := st.Hides
	if !x.dir || !c.Entry.IsDir() {
		u.hide(x, st)
	}
	ev.hidden = st.Hides - before
	if c.Kind == imagetree.Changed {
		st.Changed++
	} else {
		st.Added++
	}
	ev.added = u.put(x, &c.Entry, layer)
	x.events = append(x.events, ev)
}

// remove takes away a name that the layer deletes.
func (u *union) remove(x *node, layer int32) {
	st := &u.layers[layer-1]
	before := st.Hides
	u.hide(x, st)
	st.Deleted++
	x.events = append(x.events, event{layer: layer, kind: imagetree.Deleted, hidden: st.Hides - before})
}

// at returns the node of a name, making it if need be.
func (u *union) at(name string) *node {
	x := u.root
	for part := range strings.SplitSeq(name, "/") {
		kid := x.kids[part]
		if kid == nil {
			kid = &node{name: part}
			if x.kids == nil {
				x.kids = map[string]*node{}
			}
			x.kids[kid.name] = kid
			u.names++
		}
		x = kid
	}
	return x
}

// put makes the name show what the layer has there, and returns how many
// bytes are new.
func (u *union) put(x *node, e *imagetree.Entry, layer int32) (added int64) {
	x.layer, x.dir, x.size, x.note = layer, e.IsDir(), 0, ""
	switch {
	case e.IsDir():
	case e.IsRegular():
		added = u.putFile(x, e, layer)
	case e.Mode&unix.S_IFMT == unix.S_IFLNK:
		x.note = "→ " + e.Link
	default:
		x.note = special(e)
	}
	return added
}

func (u *union) putFile(x *node, e *imagetree.Entry, layer int32) (added int64) {
	x.key = fileKey{int32(e.Content.Layer), e.Content.Ordinal}
	if one := u.first[x.key]; one != nil {
		if one.names == nil {
			one.names = &names{list: []*node{one}}
		}
		x.names = one.names
		x.names.list = append(x.names.list, x)
		x.note = "a further name of a file counted above"
		return 0
	}
	u.first[x.key] = x
	x.size = e.Size
	if e.Content.Layer != int(layer) {
		// A link to a file of which this layer has just replaced all names.
		u.layers[layer-1].Hides -= e.Size
		return 0
	}
	return e.Size
}

// special says what a file is that is neither directory, regular nor link.
func special(e *imagetree.Entry) string {
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		return fmt.Sprintf("character device %d:%d", e.Major, e.Minor)
	case unix.S_IFBLK:
		return fmt.Sprintf("block device %d:%d", e.Major, e.Minor)
	case unix.S_IFIFO:
		return "FIFO"
	}
	return "socket"
}

// hide takes a name, and all that is in it, out of what shows.
func (u *union) hide(x *node, by *effect) {
	if x.layer == 0 {
		return
	}
	x.layer = 0
	for _, kid := range x.kids {
		u.hide(kid, by)
	}
	if x.dir || x.key.layer == 0 {
		return
	}
	u.hideFile(x, by)
	x.key, x.names = fileKey{}, nil
}

// hideFile counts the bytes of a file whose last name goes; one that has
// another name left shows there.
func (u *union) hideFile(x *node, by *effect) {
	if x.names != nil {
		list := x.names.list
		for i, other := range list {
			if other == x {
				list = append(list[:i:i], list[i+1:]...)
				break
			}
		}
		x.names.list = list
		if len(list) > 0 {
			if u.first[x.key] == x {
				u.first[x.key] = list[0]
				list[0].size, list[0].note = x.size, ""
				x.size = 0
			}
			return
		}
	}
	delete(u.first, x.key)
	by.Hides += x.size
}
