package unpack

import (
	"path"
	"strings"
)

// recordNames follows files from the names that Apply gave them through what
// settling did. It is a tree of directories whose leaves know their first name.
type recordNames struct {
	kids  map[string]*recordNames
	first string // of a file
	file  bool
}

// add puts a file where Apply put it.
func (t *recordNames) add(name string) {
	t.attach(name, &recordNames{first: name, file: true})
}

// attach puts n at name; directories become one.
func (t *recordNames) attach(name string, n *recordNames) {
	dir, base, found := strings.Cut(name, "/")
	if t.kids == nil {
		t.kids = make(map[string]*recordNames)
	}
	kid := t.kids[dir]
	switch {
	case found && kid == nil:
		kid = &recordNames{}
		t.kids[dir] = kid
		fallthrough
	case found:
		kid.attach(base, n)
	case kid == nil || n.file:
		t.kids[dir] = n
	default:
		for sub, below := range n.kids {
			kid.attach(sub, below)
		}
	}
}

// detach takes what is at name out of the tree, nil if nothing is.
func (t *recordNames) detach(name string) *recordNames {
	dir, base, found := strings.Cut(name, "/")
	kid := t.kids[dir]
	if kid == nil || !found {
		delete(t.kids, dir)
		return kid
	}
	return kid.detach(base)
}

// move follows one move.
func (t *recordNames) move(from, to string) {
	if n := t.detach(from); n != nil {
		t.attach(to, n)
	}
}

// each calls fn for the first name of every file and the one it has now.
func (t *recordNames) each(fn func(first, now string)) { t.walk("", fn) }

func (t *recordNames) walk(at string, fn func(first, now string)) {
	if t.file {
		fn(t.first, at)
	}
	for name, kid := range t.kids {
		kid.walk(path.Join(at, name), fn)
	}
}
