// Package mergewalk walks the merged tree of layers by name, as a process
// chrooted into it would: across the layers, through symbolic links, and never
// above the root. It knows nothing of how the tree is kept, on disk (package
// overlay) or in memory (package imagetree).
package mergewalk

import (
	"strings"

	"golang.org/x/sys/unix"
)

// MaxLinks is how many symbolic links one resolution follows, as the kernel
// does (MAXSYMLINKS, path_resolution(7)).
const MaxLinks = 40

// Dir is a directory of a merged tree: the directories of one or more layers
// that show through one another.
type Dir[D any, F File] interface {
	// Lookup finds what the merged directory shows at a name of one
	// component. ok is false where it shows nothing. The error is
	// unix.ENAMETOOLONG for a name that no file system takes.
	Lookup(name string) (f F, ok bool, err error)
	// Enter opens a directory that Lookup found.
	Enter(f F) (D, error)
	// Self describes the directory itself.
	Self() (F, error)
	// Close releases what Enter opened.
	Close()
}

// File is what a merged directory shows at a name.
type File interface {
	IsDir() bool
	IsSymlink() bool
	// Readlink returns the target of a symbolic link, as it is written.
	Readlink() (string, error)
}

// Cursor is a place in the merged tree and the way there from the root. It
// owns the directories on the way but the root; Reset releases them.
type Cursor[D Dir[D, F], F File] struct {
	dirs  []D      // dirs[0] is the root
	names []string // names[i] leads from dirs[i] to dirs[i+1]
}

// New returns a cursor at the root.
func New[D Dir[D, F], F File](root D) *Cursor[D, F] {
	return &Cursor[D, F]{dirs: []D{root}}
}

// Dir returns the directory where c is, which is c's own.
func (c *Cursor[D, F]) Dir() D { return c.dirs[len(c.dirs)-1] }

// Names returns the names that lead from the root to where c is. They are
// valid until c moves.
func (c *Cursor[D, F]) Names() []string { return c.names }

// Path returns the name of where c is, "." for the root.
func (c *Cursor[D, F]) Path() string {
	if len(c.names) == 0 {
		return "."
	}
	return strings.Join(c.names, "/")
}

// Up goes to the parent; the root's is the root.
func (c *Cursor[D, F]) Up() {
	if len(c.names) == 0 {
		return
	}
	c.Dir().Close()
	c.dirs = c.dirs[:len(c.dirs)-1]
	c.names = c.names[:len(c.names)-1]
}

// Reset goes to the root.
func (c *Cursor[D, F]) Reset() {
	for len(c.names) > 0 {
		c.Up()
	}
}

// Down goes into the directory f, which Lookup found at name where c is.
func (c *Cursor[D, F]) Down(name string, f F) error {
	sub, err := c.Dir().Enter(f)
	if err != nil {
		return err
	}
	c.dirs = append(c.dirs, sub)
	c.names = append(c.names, name)
	return nil
}

// Descend goes down by real names, following no link; empty names and "." are
// passed over. The error is unix.ENOENT or unix.ENOTDIR where there is no such
// directory.
func (c *Cursor[D, F]) Descend(names []string) error {
	for _, name := range names {
		if name == "" || name == "." {
			continue
		}
		f, ok, err := c.Dir().Lookup(name)
		switch {
		case err != nil:
			return err
		case !ok:
			return unix.ENOENT
		case !f.IsDir():
			return unix.ENOTDIR
		}
		if err := c.Down(name, f); err != nil {
			return err
		}
	}
	return nil
}

// Resolve walks path from where c is: absolute links start at the root, ".."
// of the root is the root. A link at the end is followed if follow is set. It
// returns what is at the end and its name; in a directory c is then in it and
// the name is empty, else c is in the directory that has the name. Errors are
// those of path_resolution(7), as unix.Errno.
func (c *Cursor[D, F]) Resolve(path string, follow bool) (f F, name string, err error) {
	todo := SplitReversed(nil, path)
	links := 0
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		switch name {
		case "", ".":
			continue
		case "..":
			c.Up()
			continue
		}
		f, ok, err := c.Dir().Lookup(name)
		if err == nil && !ok {
			err = unix.ENOENT
		}
		switch {
		case err != nil:
		case f.IsDir():
			err = c.Down(name, f)
		case f.IsSymlink() && (follow || len(todo) > 0):
			if links++; links > MaxLinks {
				err = unix.ELOOP
				break
			}
			var target string
			if target, err = f.Readlink(); err != nil {
				break
			}
			if strings.HasPrefix(target, "/") {
				c.Reset()
			}
			todo = SplitReversed(todo, target)
		case len(todo) > 0:
			err = unix.ENOTDIR
		default:
			return f, name, nil
		}
		if err != nil {
			return f, "", err
		}
	}
	f, err = c.Dir().Self()
	return f, "", err
}

// SplitReversed puts the components of path on top of the stack todo. An
// empty component at the end stands for a slash there, which demands a
// directory.
func SplitReversed(todo []string, path string) []string {
	parts := strings.Split(path, "/")
	for i := len(parts) - 1; i >= 0; i-- {
		if parts[i] != "" || i == len(parts)-1 {
			todo = append(todo, parts[i])
		}
	}
	return todo
}
