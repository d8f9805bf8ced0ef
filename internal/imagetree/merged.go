package imagetree

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
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

// cursor is a place in the merged tree and the way there from the root.
type cursor struct {
	dirs  []merged // dirs[0] is the root
	names []string // names[i] leads from dirs[i] to dirs[i+1]
}

func newCursor(root merged) *cursor { return &cursor{dirs: []merged{root}} }

func (c *cursor) dir() merged { return c.dirs[len(c.dirs)-1] }

func (c *cursor) path() string {
	if len(c.names) == 0 {
		return "."
	}
	return strings.Join(c.names, "/")
}

func (c *cursor) up() {
	if len(c.names) > 0 {
		c.dirs = c.dirs[:len(c.dirs)-1]
		c.names = c.names[:len(c.names)-1]
	}
}

func (c *cursor) reset() {
	c.dirs, c.names = c.dirs[:1], c.names[:0]
}

func (c *cursor) down(name string, f found) {
	c.dirs = append(c.dirs, f.sub)
	c.names = append(c.names, name)
}

// resolve walks path from where c is, as a process chrooted into the tree
// would: absolute links start at the root, ".." of the root is the root. It
// returns what is at the end and its name; for a directory c is in it, else
// in the directory that holds it.
func (c *cursor) resolve(path string, follow bool) (f found, name string, err error) {
	todo := splitReversed(nil, path)
	links := 0
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		switch name {
		case "", ".":
			continue
		case "..":
			c.up()
			continue
		}
		if err := checkName(name); err != nil {
			return f, "", err
		}
		f, ok := c.dir().lookup(name)
		switch {
		case !ok:
			return f, "", unix.ENOENT
		case f.isDir():
			c.down(name, f)
		case f.isSymlink() && (follow || len(todo) > 0):
			if links++; links > maxLinks {
				return f, "", unix.ELOOP
			}
			if strings.HasPrefix(f.link, "/") {
				c.reset()
			}
			todo = splitReversed(todo, f.link)
		case len(todo) > 0:
			return f, "", unix.ENOTDIR
		default:
			return f, name, nil
		}
	}
	top := c.dir()[0]
	return found{node: top.node, layer: top.layer, sub: c.dir()}, "", nil
}

// splitReversed puts the components of path on top of the stack todo. An
// empty component at the end stands for a slash there, which demands a
// directory.
func splitReversed(todo []string, path string) []string {
	parts := strings.Split(path, "/")
	for i := len(parts) - 1; i >= 0; i-- {
		if parts[i] != "" || i == len(parts)-1 {
			todo = append(todo, parts[i])
		}
	}
	return todo
}
