package unpack

import (
	"errors"
	"slices"
	"strings"

	"github.com/byhand/byhand/internal/rootfd"
	"golang.org/x/sys/unix"
)

// maxOpen bounds the descriptors of directories that are kept open. Archives
// go through trees depth first, so few are in use at a time.
const maxOpen = 64

const dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// node is a directory of the layer. Only directories are remembered; of all
// else the file system knows.
type node struct {
	parent   *node // nil for the root
	name     string
	kids     map[string]*node
	fd       int // -1 while not open
	used     bool
	gone     bool // replaced by something else
	depth    int64
	size     int64           // of the path
	explicit bool            // has an entry
	opaque   bool            // has an opaque marker
	hidden   bool            // hides what lower layers have at its name
	marks    map[string]bool // names with a whiteout; true while the device is there
	gid      int             // on disk
	made     uint32          // mode on disk
	mode     uint32          // mode to be set at the end
	times    [2]unix.Timespec
	late     []byte // default ACL, which files made here would inherit
}

// path returns the name of n below the root, "." for the root.
func (n *node) path() string {
	if n.parent == nil {
		return "."
	}
	return strings.Join(n.below(nil), "/")
}

// join returns the name of base in n.
func (n *node) join(base string) string {
	if n.parent == nil {
		return base
	}
	return n.path() + "/" + base
}

// pathIn is what the names of all that is in n begin with, remembered for the
// last directory.
func (a *applier) pathIn(n *node) string {
	if n.parent == nil {
		return ""
	}
	if n != a.pathNode {
		a.pathNode, a.path = n, n.path()+"/"
	}
	return a.path
}

// below returns the components that lead from ancestor, nil for the root, to n.
func (n *node) below(ancestor *node) []string {
	var names []string
	for ; n != ancestor && n.parent != nil; n = n.parent {
		names = append(names, n.name)
	}
	slices.Reverse(names)
	return names
}

// tree holds the directories of the layer and descriptors of some.
type tree struct {
	root    *node
	openat2 bool
	open    []*node // with descriptors, the root apart
	hand    int     // next candidate for closing
	pinned  *node   // not to be closed
}

func (t *tree) add(parent *node, name string) *node {
	name = strings.Clone(name) // it is part of a longer one, which would stay in memory
	n := &node{parent: parent, name: name, fd: -1, depth: parent.depth + 1, size: parent.size + 1 + int64(len(name))}
	if _, ok := parent.marks[name]; ok {
		n.hidden = true
	}
	if parent.kids == nil {
		parent.kids = make(map[string]*node)
	}
	parent.kids[name] = n
	return n
}

// drop forgets n and all below it.
func (t *tree) drop(n *node) {
	delete(n.parent.kids, n.name)
	t.bury(n)
	t.open = slices.DeleteFunc(t.open, func(o *node) bool { return o.fd < 0 })
	t.hand = 0
}

func (t *tree) bury(n *node) {
	n.gone = true
	if n.fd >= 0 {
		_ = unix.Close(n.fd)
		n.fd = -1
	}
	for _, kid := range n.kids {
		t.bury(kid)
	}
}

// fd returns a descriptor of n. It is valid until the next call for another
// directory, or longer while n is pinned.
func (t *tree) fd(n *node) (int, error) {
	if n.fd >= 0 {
		n.used = true
		return n.fd, nil
	}
	from := n.parent
	for from.fd < 0 {
		from = from.parent
	}
	fd, err := t.openBelow(from.fd, n.below(from))
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		t.closeAll()
		fd, err = t.openBelow(t.root.fd, n.below(t.root))
	}
	if err != nil {
		return -1, err
	}
	t.keep(n, fd)
	return fd, nil
}

// keep stores the descriptor and closes one that was not used lately.
func (t *tree) keep(n *node, fd int) {
	n.fd, n.used = fd, true
	if len(t.open) < maxOpen {
		t.open = append(t.open, n)
		return
	}
	for {
		t.hand = (t.hand + 1) % len(t.open)
		old := t.open[t.hand]
		if old == t.pinned {
			continue
		}
		if !old.used {
			_ = unix.Close(old.fd)
			old.fd = -1
			t.open[t.hand] = n
			return
		}
		old.used = false
	}
}

// closeAll closes all descriptors but the root's and the pinned one.
func (t *tree) closeAll() {
	t.open = slices.DeleteFunc(t.open, func(n *node) bool {
		if n == t.pinned {
			return false
		}
		_ = unix.Close(n.fd)
		n.fd = -1
		return true
	})
	t.hand = 0
}

// openBelow opens the directory that names lead to from the directory fd. No
// component is followed if it is a symbolic link.
func (t *tree) openBelow(from int, names []string) (int, error) {
	fd, owned := from, false
	for len(names) > 0 {
		n := 1
		if t.openat2 {
			n = fitting(names)
		}
		next, err := openDirs(fd, names[:n])
		if owned {
			_ = unix.Close(fd)
		}
		if err != nil {
			return -1, err
		}
		fd, owned, names = next, true, names[n:]
	}
	return fd, nil
}

// fitting returns how many of names make a path that the kernel takes.
func fitting(names []string) int {
	size := 0
	for i, name := range names {
		size += len(name) + 1
		if size > unix.PathMax {
			return max(i, 1)
		}
	}
	return len(names)
}

func openDirs(dirfd int, names []string) (int, error) {
	if len(names) == 1 {
		return rootfd.Retry(func() (int, error) { return unix.Openat(dirfd, names[0], dirFlags, 0) })
	}
	how := unix.OpenHow{Flags: dirFlags, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	name := strings.Join(names, "/")
	return rootfd.Retry(func() (int, error) { return unix.Openat2(dirfd, name, &how) })
}
