package overlay

import "strings"

// implicit is a tree of directory names that marks those without an entry of
// their own. Names that are not in it have one.
type implicit struct {
	kids  map[string]*implicit
	state implicitState
}

type implicitState uint8

const (
	stateExplicit implicitState = iota
	stateImplicit               // not settled yet
	stateSettled                // implicit, and as the lower layers want it
)

func newImplicit(names []string) *implicit {
	root := &implicit{}
	for _, name := range names {
		root.at(name).state = stateImplicit
	}
	return root
}

// at returns the node for name and makes it if it has to.
func (t *implicit) at(name string) *implicit {
	for elem := range strings.SplitSeq(name, "/") {
		if elem == "" || elem == "." {
			continue
		}
		next := t.kids[elem]
		if next == nil {
			if t.kids == nil {
				t.kids = make(map[string]*implicit)
			}
			next = &implicit{}
			t.kids[elem] = next
		}
		t = next
	}
	return t
}

// find returns the node for name, or nil.
func (t *implicit) find(name string) *implicit {
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

// kid returns the state of the entry name in the directory t.
func (t *implicit) kid(name string) implicitState {
	if t == nil || t.kids[name] == nil {
		return stateExplicit
	}
	return t.kids[name].state
}

// open tells whether anything is left to settle.
func (t *implicit) open() bool {
	if t.state == stateImplicit {
		return true
	}
	for _, kid := range t.kids {
		if kid.open() {
			return true
		}
	}
	return false
}
