package settle

import "strings"

// names is a tree of directory names that marks those without an entry of
// their own. Names that are not in it have one. The nil tree is empty.
type names struct {
	kids  map[string]*names
	state state
}

type state uint8

const (
	explicit state = iota
	implicit       // not settled yet
	settled        // implicit, and as the lower layers want it
)

func newNames(dirs []string) *names {
	root := &names{}
	for _, name := range dirs {
		root.at(name).state = implicit
	}
	return root
}

// at returns the node for name and makes it if it has to.
func (t *names) at(name string) *names {
	for elem := range strings.SplitSeq(name, "/") {
		if elem == "" || elem == "." {
			continue
		}
		next := t.kids[elem]
		if next == nil {
			next = &names{}
			t.put(elem, next)
		}
		t = next
	}
	return t
}

// find returns the node for name, or nil.
func (t *names) find(name string) *names {
	for elem := range strings.SplitSeq(name, "/") {
		if elem == "" || elem == "." {
			continue
		}
		if t = t.kids[elem]; t == nil {
			return nil
		}
	}
	return t
}

// kid returns what is known of the entry name in t, or nil.
func (t *names) kid(name string) *names {
	if t == nil {
		return nil
	}
	return t.kids[name]
}

func (t *names) put(name string, kid *names) {
	if t.kids == nil {
		t.kids = make(map[string]*names)
	}
	t.kids[name] = kid
}

// is returns the state of t.
func (t *names) is() state {
	if t == nil {
		return explicit
	}
	return t.state
}

// open tells whether anything is left to settle.
func (t *names) open() bool {
	if t.state == implicit {
		return true
	}
	for _, kid := range t.kids {
		if kid.open() {
			return true
		}
	}
	return false
}
