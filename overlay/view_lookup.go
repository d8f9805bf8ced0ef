package overlay

import (
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/mergewalk"
	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
)

// cursor is a place in the merged tree. The root belongs to the View.
type cursor = mergewalk.Cursor[*mergedDir, found]

func newCursor(root *mergedDir) *cursor { return mergewalk.New[*mergedDir, found](root) }

// found is a name in a merged directory with what lstat(2) says of it.
type found struct {
	node
	st unix.Stat_t
}

func (f found) IsDir() bool { return f.typ == unix.DT_DIR }

func (f found) IsSymlink() bool { return f.typ == unix.DT_LNK }

func (f found) Readlink() (string, error) { return rootfd.Readlinkat(f.fd, f.name) }

// Lookup is lookup for a cursor.
func (d *mergedDir) Lookup(name string) (f found, ok bool, err error) {
	f.node, ok, err = d.lookup(name, &f.st)
	return f, ok, err
}

// Enter is enter for a cursor.
func (d *mergedDir) Enter(f found) (*mergedDir, error) { return d.enter(f.node) }

// Self describes d as the topmost layer has it.
func (d *mergedDir) Self() (found, error) {
	top := d.parts[0]
	f := found{node: node{name: ".", layer: top.layer, fd: top.fd, typ: unix.DT_DIR}}
	return f, sys.Fstat(top.fd, &f.st)
}

// Close closes what Enter opened.
func (d *mergedDir) Close() { d.close() }

// Names returns the names of d in byte order.
func (d *mergedDir) Names() ([]string, error) {
	nodes, err := d.list(make([]byte, direntBuf))
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.name
	}
	return names, err
}

// Empty says that d is no layer's.
func (d *mergedDir) Empty() bool { return len(d.parts) == 0 }
