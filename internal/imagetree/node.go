package imagetree

import (
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/tarstream"
)

// node is a file of any type in a layer's tree. Hard links are names of one
// node, in one layer's tree or in several.
type node struct {
	dir     *dir   // of a directory
	link    string // of a symbolic link
	xattrs  []tarstream.Xattr
	size    int64 // of a regular file; of a device its number
	sec     int64 // modification time
	nsec    int32
	mode    uint32 // with type, as in stat(2)
	uid     uint32
	gid     uint32
	layer   int32  // of the entry, 0 is the base
	ordinal uint32 // number of the entry in its layer's archive, 0 is the first
}

// dir is what a directory of one layer holds.
type dir struct {
	kids     map[string]*node // whiteouts included, as character devices 0:0
	opaque   bool             // hides what lower layers have
	implicit bool             // has no entry of its own
	gone     bool             // removed
	work     *work            // while the layer is read
}

// work is what only reading a layer needs to know of a directory.
type work struct {
	parent   *node // nil for the root
	name     string
	size     int64 // of its whole name in bytes
	depth    int64
	explicit bool            // has an entry
	opaque   bool            // has an opaque marker
	hidden   bool            // hides what lower layers have at its name
	marks    map[string]bool // names with a whiteout; true while its node is there
}

func (n *node) isDir() bool { return n.mode&unix.S_IFMT == unix.S_IFDIR }

func (n *node) isRegular() bool { return n.mode&unix.S_IFMT == unix.S_IFREG }

func (n *node) isSymlink() bool { return n.mode&unix.S_IFMT == unix.S_IFLNK }

func (n *node) isDevice() bool {
	format := n.mode & unix.S_IFMT
	return format == unix.S_IFCHR || format == unix.S_IFBLK
}

// isWhiteout knows the device 0:0, which no entry of a layer can be.
func (n *node) isWhiteout() bool { return n.mode&unix.S_IFMT == unix.S_IFCHR && n.size == 0 }

// newDir returns a directory that nobody has described.
func newDir(layer int32) *node {
	return &node{mode: unix.S_IFDIR | 0o755, layer: layer, dir: &dir{}}
}

// setPlain takes back what was said about a directory.
func (n *node) setPlain() {
	n.mode, n.uid, n.gid, n.sec, n.nsec, n.xattrs = unix.S_IFDIR|0o755, 0, 0, 0, 0, nil
}

// isPlain tells whether a directory looks like one that nobody has described.
func (n *node) isPlain() bool {
	return n.mode&0o7777 == 0o755 && n.sec == 0 && n.nsec == 0
}

func newWhiteout(layer int32) *node { return &node{mode: unix.S_IFCHR, layer: layer} }

func (d *dir) put(name string, n *node) {
	if d.kids == nil {
		d.kids = make(map[string]*node)
	}
	d.kids[name] = n
}

// setXattr gives the file an attribute, in place of one of the same name.
func (n *node) setXattr(x tarstream.Xattr) {
	for i := range n.xattrs {
		if n.xattrs[i].Name == x.Name {
			n.xattrs[i].Value = x.Value
			return
		}
	}
	n.xattrs = append(n.xattrs, x)
}

// copyMeta gives the directory dst mode, owner, time and attributes of src.
func copyMeta(src, dst *node) {
	dst.mode, dst.uid, dst.gid, dst.sec, dst.nsec = src.mode, src.uid, src.gid, src.sec, src.nsec
	for _, x := range src.xattrs {
		dst.setXattr(x)
	}
}
