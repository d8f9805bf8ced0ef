package report

import (
	"cmp"
	"slices"
	"strings"
)

// shown is a node as the page has it: kids in order, sums over what is in it.
type shown struct {
	*node
	kids  []*shown
	bytes int64 // that show in the merged tree
	ever  int64 // of all layers, hidden or not
	files int64 // names in the merged tree that are no directories
	rest  rest  // of the kids: what the page has no room for
	keep  bool
}

// rest sums up names that are left out.
type rest struct {
	names int64
	files int64
	bytes int64 // in the merged tree
	ever  int64
	layer int32 // one that a good part of the bytes is from
}

// sum makes the tree of sums, names in byte order.
func sum(x *node) *shown {
	s := &shown{node: x}
	for _, ev := range x.events {
		s.ever += ev.added
	}
	if x.layer != 0 && !x.dir {
		s.files, s.bytes = 1, x.size
	}
	for _, kid := range x.kids {
		k := sum(kid)
		s.bytes += k.bytes
		s.ever += k.ever
		s.files += k.files
		s.kids = append(s.kids, k)
	}
	x.kids = nil
	slices.SortFunc(s.kids, func(a, b *shown) int { return strings.Compare(a.name, b.name) })
	return s
}

// cut keeps the most names with the most bytes, and sums up the others in the
// directories that hold them. It returns how many it left out. A directory has
// at least the bytes of what is in it and comes before it, so that what is kept
// hangs together.
func cut(root *shown, most int64, names int64) (left int64) {
	root.keep = true
	if names <= most {
		keepAll(root)
		return 0
	}
	all := make([]*shown, 0, names)
	var list func(*shown)
	list = func(s *shown) {
		for _, k := range s.kids {
			all = append(all, k)
			list(k)
		}
	}
	list(root)
	slices.SortStableFunc(all, func(a, b *shown) int { return cmp.Compare(b.ever, a.ever) })
	for _, s := range all[:most] {
		s.keep = true
	}
	prune(root)
	return names - most
}

func keepAll(s *shown) {
	s.keep = true
	for _, k := range s.kids {
		keepAll(k)
	}
}

func prune(s *shown) {
	var largest int64
	kept := s.kids[:0]
	for _, k := range s.kids {
		if k.keep {
			prune(k)
			kept = append(kept, k)
			continue
		}
		s.rest.names += k.count()
		s.rest.files += k.files
		s.rest.bytes += k.bytes
		s.rest.ever += k.ever
		if s.rest.layer == 0 || k.bytes > largest {
			largest, s.rest.layer = k.bytes, max(k.mainLayer(), 1)
		}
	}
	s.kids = kept
}

// count is how many names there are, this one included.
func (s *shown) count() int64 {
	n := int64(1)
	for _, k := range s.kids {
		n += k.count()
	}
	return n
}

// mainLayer is the layer that the largest part of what shows comes from.
func (s *shown) mainLayer() int32 {
	by := map[int32]int64{}
	s.byLayer(by)
	best, most := s.layer, int64(-1)
	for layer, n := range by {
		if n > most || n == most && layer < best {
			best, most = layer, n
		}
	}
	return best
}

func (s *shown) byLayer(by map[int32]int64) {
	if s.layer != 0 && !s.dir && s.size > 0 {
		by[s.layer] += s.size
	}
	if s.rest.bytes > 0 {
		by[s.rest.layer] += s.rest.bytes
	}
	for _, k := range s.kids {
		k.byLayer(by)
	}
}
