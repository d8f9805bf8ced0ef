package teststack

import (
	"path"
	"slices"
	"strings"
	"time"
)

// inode is a file of the model. Layers are applied one after the other to one
// tree, as a person with tar and rm would.
type inode struct {
	Op
	layer int
	kids  map[string]*inode // of directories
}

func (n *inode) isDir() bool { return n.Kind == "dir" }

func newDir(layer int, o Op) *inode {
	return &inode{Op: o, layer: layer, kids: map[string]*inode{}}
}

var plainDir = Op{Kind: "dir", Mode: 0o755, Time: time.Unix(0, 0)}

// model knows what a stack of layers means. It gives up (unsure) on layers
// that say two things at once about a name; there only the implementations are
// compared with one another.
type model struct {
	root   *inode
	layer  int
	named  map[string]string // names that the current layer has entries for, and their kind
	own    map[string]bool   // those of them that were applied
	real   map[string]string // where they are, and the name that put them there
	via    []string          // the links that the last walk followed
	used   map[string]bool   // those that any walk for the current layer followed
	gone   map[string]bool   // what whiteouts reach only through links
	unsure string
}

func newModel() *model { return &model{root: newDir(0, plainDir)} }

func (m *model) doubt(why string) { m.unsure = why }

// clone copies the directories of a tree; files are shared.
func (n *inode) clone() *inode {
	if !n.isDir() {
		return n
	}
	c := newDir(n.layer, n.Op)
	for name, kid := range n.kids {
		c.kids[name] = kid.clone()
	}
	return c
}

// late is a hard link to a name that comes later.
type late struct {
	Op
	dir *inode
}

// apply puts a layer on top.
func (m *model) apply(ops []Op) {
	m.layer++
	lower := m.root.clone()
	m.used, m.gone = map[string]bool{}, map[string]bool{}
	m.named, m.own, m.real = map[string]string{}, map[string]bool{}, map[string]string{}
	if !m.name(ops) {
		return
	}
	m.hide(ops)
	var later []late
	for _, o := range ops {
		dir, place := m.parent(o.Name, o.Kind == "opaque")
		if dir == nil {
			return
		}
		if o.Kind == "whiteout" || o.Kind == "opaque" {
			m.reach(o, place)
			continue
		}
		place = path.Join(place, path.Base(o.Name))
		if !m.take(o, place) {
			return
		}
		ok := true
		switch o.Kind {
		case "dir":
			ok = m.putDir(dir, place, o)
		case "link":
			ok = m.putLink(dir, place, o, lower, &later)
		default:
			m.putFile(dir, place, o)
		}
		if !ok {
			return
		}
		m.own[o.Name] = true
	}
	for _, l := range later {
		n := m.find(m.root, l.Target)
		if n == nil || n.isDir() || !m.own[l.Target] {
			m.doubt("link to nothing")
			return
		}
		l.dir.kids[path.Base(l.Name)] = n
	}
}

// name notes what the layer has entries for.
func (m *model) name(ops []Op) bool {
	for _, o := range ops {
		if o.Kind == "whiteout" || o.Kind == "opaque" {
			continue
		}
		if have, twice := m.named[o.Name]; twice && (have != "dir" || o.Kind != "dir") {
			m.doubt("named twice")
		}
		m.named[o.Name] = o.Kind
	}
	for _, o := range ops {
		dir := path.Dir(o.Name)
		if o.Kind == "opaque" {
			dir = o.Name
		}
		for ; dir != "."; dir = path.Dir(dir) {
			if kind := m.named[dir]; kind != "" && kind != "dir" {
				m.doubt("path through what the layer names")
				return false
			}
		}
	}
	return true
}

// reach notes that a marker came to place through links.
func (m *model) reach(o Op, place string) {
	if o.Kind == "opaque" && place != o.Name && o.Name != "." || o.Kind == "whiteout" && place != path.Dir(o.Name) && place != "" {
		m.used[place] = true
	}
}

// take notes that an entry is at place.
func (m *model) take(o Op, place string) bool {
	if by, ok := m.real[place]; ok && by != o.Name {
		m.doubt("two names for one place")
		return false
	}
	m.real[place] = o.Name
	if m.used[place] || o.Kind != "dir" && m.inUse(place) {
		m.doubt("entry in place of what others came through")
		return false
	}
	return true
}

func (m *model) putDir(dir *inode, place string, o Op) bool {
	base := path.Base(o.Name)
	if old := dir.kids[base]; old != nil && old.Kind == "symlink" && place != o.Name {
		m.doubt("directory in place of a link, by another name")
		return false
	}
	m.dir(dir, base, o)
	return true
}

func (m *model) putFile(dir *inode, place string, o Op) {
	base := path.Base(o.Name)
	if old := dir.kids[base]; old != nil && old.isDir() && (m.touched(old) || place != o.Name) {
		m.doubt("file over directory of the layer")
	}
	dir.kids[base] = &inode{Op: o, layer: m.layer}
}

func (m *model) putLink(dir *inode, place string, o Op, lower *inode, later *[]late) bool {
	base := path.Base(o.Name)
	if old := dir.kids[base]; old != nil && old.isDir() && (m.touched(old) || place != o.Name) {
		m.doubt("link over directory of the layer")
		return false
	}
	n := m.find(m.root, o.Target)
	if n != nil && n.isDir() {
		m.doubt("hard link to a directory")
		return false
	}
	if n != nil && n.layer == m.layer && !m.own[o.Target] {
		m.doubt("hard link to a file with another name")
		return false
	}
	if n != nil && m.own[o.Target] && !n.isDir() {
		dir.kids[base] = n
	} else if n := m.find(lower, o.Target); n != nil && !n.isDir() {
		dir.kids[base] = n
	} else {
		*later = append(*later, late{o, dir})
	}
	return true
}

// hide takes away what whiteouts and opaque markers hide, parents first.
func (m *model) hide(ops []Op) {
	var hiding []Op
	for _, o := range ops {
		if o.Kind == "whiteout" || o.Kind == "opaque" {
			hiding = append(hiding, o)
		}
	}
	depth := func(o Op) int {
		d := 2 * strings.Count(o.Name, "/")
		if o.Kind == "opaque" && o.Name != "." {
			d++ // hides what is in it
		}
		return d
	}
	slices.SortStableFunc(hiding, func(a, b Op) int { return depth(a) - depth(b) })
	for _, o := range hiding {
		if o.Kind == "opaque" && o.Name == "." {
			m.root.kids = map[string]*inode{}
			continue
		}
		at := path.Dir(o.Name)
		if o.Kind == "opaque" {
			at = o.Name
		}
		n, place := m.walk(m.root, at, false)
		if n == nil || !n.isDir() {
			continue
		}
		if o.Kind == "whiteout" {
			place = path.Join(place, path.Base(o.Name))
			m.gone[place] = place != o.Name
		}
		for _, link := range m.via {
			if place == "" || link == place || strings.HasPrefix(link, place+"/") {
				m.doubt("marker that hides the link it came through")
				return
			}
		}
		if o.Kind == "opaque" {
			n.kids = map[string]*inode{}
		} else {
			delete(n.kids, path.Base(o.Name))
		}
	}
}

// walk resolves a path through the tree, and makes what is missing.
func (m *model) walk(root *inode, name string, make bool) (*inode, string) {
	at := []*inode{root}
	var names []string // literal way, for m.named
	todo := strings.Split(name, "/")
	m.via = nil
	for links := 0; len(todo) > 0; {
		elem := todo[0]
		todo = todo[1:]
		n := at[len(at)-1]
		switch elem {
		case "", ".":
			continue
		case "..":
			if len(at) > 1 {
				at, names = at[:len(at)-1], names[:len(names)-1]
			}
			continue
		}
		kid := n.kids[elem]
		literal := strings.Join(append(slices.Clone(names), elem), "/")
		if m.gone[literal] {
			m.doubt("path through what a whiteout reaches through a link")
			return nil, ""
		}
		if kid != nil && !kid.isDir() && (m.named[literal] != "" || m.real[literal] != "" || kid.layer == m.layer && kid.Kind != "symlink") {
			m.doubt("path through " + literal + ", which the layer names")
			return nil, ""
		}
		switch {
		case kid != nil && kid.Kind == "symlink":
			if kid.layer == m.layer {
				m.doubt("path through a link of the layer")
				return nil, ""
			}
			if links++; links > 40 {
				m.doubt("loop")
				return nil, ""
			}
			m.via = append(m.via, literal)
			m.used[literal] = true
			if strings.HasPrefix(kid.Target, "/") {
				at, names = at[:1], nil
			}
			todo = append(strings.Split(kid.Target, "/"), todo...)
			continue
		case kid == nil || !kid.isDir():
			if !make {
				return nil, ""
			}
			if kid != nil && links > 0 {
				m.doubt("link to no directory")
				return nil, ""
			}
			kid = newDir(m.layer, plainDir)
			n.kids[elem] = kid
		}
		at, names = append(at, kid), append(names, elem)
	}
	return at[len(at)-1], strings.Join(names, "/")
}

// parent makes the directories that a name passes through.
func (m *model) parent(name string, itself bool) (*inode, string) {
	if !itself {
		name = path.Dir(name)
	}
	n, place := m.walk(m.root, name, true)
	if m.unsure != "" {
		return nil, ""
	}
	return n, place
}

// inUse tells whether the layer put something below place or came through it.
func (m *model) inUse(place string) bool {
	for name := range m.real {
		if strings.HasPrefix(name, place+"/") {
			return true
		}
	}
	for name := range m.used {
		if strings.HasPrefix(name, place+"/") {
			return true
		}
	}
	return false
}

// touched tells whether the current layer put something into a directory.
func (m *model) touched(n *inode) bool {
	if n.layer == m.layer {
		return true
	}
	for _, kid := range n.kids {
		if m.touched(kid) {
			return true
		}
	}
	return false
}

func (m *model) dir(dir *inode, base string, o Op) {
	old := dir.kids[base]
	if base == "." {
		old = m.root
	}
	if old == nil || !old.isDir() {
		dir.kids[base] = newDir(m.layer, o)
		return
	}
	if m.own[o.Name] && o.Xattr == "" {
		o.Xattr = old.Xattr // an attribute that a second entry does not name stays
	}
	old.Op = o
	old.layer = m.layer
}

// find looks a hard link's target up; a link at the end is the target.
func (m *model) find(root *inode, name string) *inode {
	dir := root
	for elem := range strings.SplitSeq(path.Dir(name), "/") {
		if elem == "." {
			continue
		}
		kid := dir.kids[elem]
		if kid != nil && kid.Kind == "symlink" {
			m.doubt("hard link through a link")
			return nil
		}
		if kid == nil || !kid.isDir() {
			return nil
		}
		dir = kid
	}
	return dir.kids[path.Base(name)]
}
