package overlay

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
)

// maxLinks is how many symbolic links one resolution follows, as the kernel
// does (MAXSYMLINKS, path_resolution(7)).
const maxLinks = 40

// cursor is a place in the merged tree and the way there from the root.
type cursor struct {
	dirs  []*mergedDir // dirs[0] is the root, which belongs to the View
	names []string     // names[i] leads from dirs[i] to dirs[i+1]
}

func newCursor(root *mergedDir) *cursor { return &cursor{dirs: []*mergedDir{root}} }

func (c *cursor) dir() *mergedDir { return c.dirs[len(c.dirs)-1] }

func (c *cursor) path() string {
	if len(c.names) == 0 {
		return "."
	}
	return strings.Join(c.names, "/")
}

func (c *cursor) up() {
	if len(c.names) == 0 {
		return
	}
	c.dir().close()
	c.dirs = c.dirs[:len(c.dirs)-1]
	c.names = c.names[:len(c.names)-1]
}

func (c *cursor) reset() {
	for len(c.names) > 0 {
		c.up()
	}
}

func (c *cursor) down(n node) error {
	sub, err := c.dir().enter(n)
	if err != nil {
		return err
	}
	c.dirs = append(c.dirs, sub)
	c.names = append(c.names, n.name)
	return nil
}

// found is what a resolution ended at. For a directory the cursor is inside
// it and node is zero; else the cursor is in the directory that holds it.
type found struct {
	node
	st unix.Stat_t
}

// resolve walks path from where c is, as a process chrooted into the tree
// would: absolute links start at the root, ".." of the root is the root.
func (c *cursor) resolve(path string, follow bool) (found, error) {
	todo := splitReversed(nil, path)
	links := 0
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			c.up()
			continue
		}
		var f found
		n, ok, err := c.dir().lookup(name, &f.st)
		if err != nil {
			return f, err
		}
		if !ok {
			return f, unix.ENOENT
		}
		f.node = n
		switch {
		case n.typ == unix.DT_DIR:
			if err := c.down(n); err != nil {
				return f, err
			}
		case n.typ == unix.DT_LNK && (follow || len(todo) > 0):
			if links++; links > maxLinks {
				return f, unix.ELOOP
			}
			target, err := rootfd.Readlinkat(n.fd, name)
			if err != nil {
				return f, err
			}
			if strings.HasPrefix(target, "/") {
				c.reset()
			}
			todo = splitReversed(todo, target)
		case len(todo) > 0:
			return f, unix.ENOTDIR
		default:
			return f, nil
		}
	}
	return c.here()
}

// here describes the directory that c is in.
func (c *cursor) here() (found, error) {
	var f found
	f.typ = unix.DT_DIR
	f.layer = c.dir().parts[0].layer
	if len(c.names) > 0 {
		f.name = c.names[len(c.names)-1]
	}
	return f, sys.Fstat(c.dir().parts[0].fd, &f.st)
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
