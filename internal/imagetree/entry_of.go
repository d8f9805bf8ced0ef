package imagetree

import (
	"io/fs"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/tarstream"
)

// Entry is one file of a tree.
type Entry struct {
	Name    string // slash-separated, "." for the root
	Layer   int    // the topmost layer that has the name; 1 is the base
	Content Content
	Mode    uint32 // type and permission bits as in stat(2)
	UID     uint32
	GID     uint32
	Size    int64 // of a regular file, holes included
	ModTime time.Time
	Major   uint32 // of devices
	Minor   uint32
	Link    string            // target of a symbolic link
	Xattrs  []tarstream.Xattr // in the layer's order; not to be changed

	node *node
}

// Content says where a file comes from: which layer's archive, and which of
// its entries. It differs from Entry.Layer for hard links to files of lower
// layers. Implicit directories have the entry's place of their metadata or
// none.
type Content struct {
	Layer   int   // 1 is the base
	Ordinal int64 // 0 is the archive's first entry
}

// IsDir says whether it is a directory.
func (e *Entry) IsDir() bool { return e.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsRegular says whether it is a regular file.
func (e *Entry) IsRegular() bool { return e.Mode&unix.S_IFMT == unix.S_IFREG }

func newEntry(name string, f found) Entry {
	n := f.node
	e := Entry{
		Name: name, Layer: f.layer + 1, Content: Content{int(n.layer) + 1, int64(n.ordinal)},
		Mode: n.mode, UID: n.uid, GID: n.gid, ModTime: time.Unix(n.sec, int64(n.nsec)),
		Link: n.link, Xattrs: n.xattrs, node: n,
	}
	switch {
	case n.isRegular():
		e.Size = n.size
	case n.isDevice():
		e.Major, e.Minor = unix.Major(uint64(n.size)), unix.Minor(uint64(n.size))
	}
	return e
}

func (t *Tree) find(name string, follow bool) (f found, real string, err error) {
	top := t.top()
	if name == "" {
		return f, "", &fs.PathError{Op: "find", Path: name, Err: unix.ENOENT}
	}
	if len(t.root) == 0 {
		if path.Join("/", name) == "/" {
			return top, ".", nil
		}
		return f, "", &fs.PathError{Op: "find", Path: name, Err: unix.ENOENT}
	}
	c := newCursor(t.root)
	f, base, err := c.Resolve(name, follow)
	if err != nil {
		return f, "", &fs.PathError{Op: "find", Path: name, Err: err}
	}
	return f, path.Join(c.Path(), base), nil
}
