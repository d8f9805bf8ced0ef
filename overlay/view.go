package overlay

import (
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
)

// View shows the merged tree of lower dirs without mounting it: whiteouts and
// opaque directories hide what lies below, and symbolic links are resolved
// inside the tree, across the layers. It reads through directory descriptors
// and cannot be led outside. It is safe for concurrent use.
//
// Names are slash-separated and relative as in io/fs, "." is the root; bytes
// that are not UTF-8 are accepted.
type View struct {
	root *mergedDir
}

var (
	_ fs.StatFS     = (*View)(nil)
	_ fs.ReadDirFS  = (*View)(nil)
	_ fs.ReadLinkFS = (*View)(nil)
)

// OpenView opens the merged view of lower dirs, base first. A directory that
// is not there is a LowerDirError.
func OpenView(dirs []string) (*View, error) {
	if len(dirs) == 0 {
		return nil, errors.New("open view: there is no lower layer")
	}
	root := &mergedDir{parts: make([]part, 0, len(dirs))}
	for i := len(dirs) - 1; i >= 0; i-- {
		fd, err := rootfd.Retry(func() (int, error) {
			return unix.Open(dirs[i], unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		})
		if err != nil {
			root.close()
			return nil, &LowerDirError{Layer: i + 1, Dir: dirs[i], Err: err}
		}
		root.parts = append(root.parts, part{layer: i, fd: fd})
	}
	return &View{root: root}, nil
}

// Close releases the lower dirs.
func (v *View) Close() error {
	v.root.close()
	v.root.parts = nil
	return nil
}

// find resolves name; the caller resets the cursor.
func (v *View) find(op, name string, follow bool) (*cursor, found, error) {
	if !validName(name) {
		return nil, found{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	if len(v.root.parts) == 0 {
		return nil, found{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrClosed}
	}
	c := newCursor(v.root)
	f, _, err := c.Resolve(name, follow)
	if err != nil {
		c.Reset()
		return nil, f, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return c, f, nil
}

// validName is fs.ValidPath without its demand for UTF-8.
func validName(name string) bool {
	if name == "." {
		return true
	}
	for elem := range strings.SplitSeq(name, "/") {
		if elem == "" || elem == "." || elem == ".." {
			return false
		}
	}
	return !strings.ContainsRune(name, 0)
}

// Lstat describes name without following a symbolic link at its end. Sys of
// the result is a *Entry.
func (v *View) Lstat(name string) (fs.FileInfo, error) { return v.stat("lstat", name, false) }

// Stat describes what name leads to.
func (v *View) Stat(name string) (fs.FileInfo, error) { return v.stat("stat", name, true) }

func (v *View) stat(op, name string, follow bool) (fs.FileInfo, error) {
	c, f, err := v.find(op, name, follow)
	if err != nil {
		return nil, err
	}
	defer c.Reset()
	return newInfo(name, f.layer, &f.st), nil
}

// ReadLink returns the target of the symbolic link name, as it is written.
func (v *View) ReadLink(name string) (string, error) {
	c, f, err := v.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	defer c.Reset()
	if f.typ != unix.DT_LNK {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: unix.EINVAL}
	}
	target, err := f.Readlink()
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return target, nil
}

// ReadDir lists the directory name, sorted by name.
func (v *View) ReadDir(name string) ([]fs.DirEntry, error) {
	c, f, err := v.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	defer c.Reset()
	if f.typ != unix.DT_DIR {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: unix.ENOTDIR}
	}
	entries, err := dirEntries(c.Dir())
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return entries, nil
}

func dirEntries(d *mergedDir) ([]fs.DirEntry, error) {
	nodes, err := reread(d)
	if err != nil {
		return nil, err
	}
	entries := make([]fs.DirEntry, 0, len(nodes))
	for _, n := range nodes {
		var st unix.Stat_t
		if err := lstatat(n.fd, n.name, &st); err != nil {
			return nil, &fs.PathError{Op: "lstat", Path: n.name, Err: err}
		}
		entries = append(entries, fs.FileInfoToDirEntry(newInfo(n.name, n.layer, &st)))
	}
	return entries, nil
}

// reread lists d through descriptors of its own, because the place in a
// directory belongs to the descriptor and the root's are shared.
func reread(d *mergedDir) ([]node, error) {
	own := &mergedDir{parts: make([]part, 0, len(d.parts))}
	defer own.close()
	for _, p := range d.parts {
		fd, err := openDirAt(p.fd, ".")
		if err != nil {
			return nil, err
		}
		own.parts = append(own.parts, part{layer: p.layer, fd: fd})
	}
	nodes, err := own.list(make([]byte, direntBuf))
	for i := range nodes {
		nodes[i].fd = d.parts[partOf(d, nodes[i].layer)].fd
	}
	return nodes, err
}

func partOf(d *mergedDir, layer int) int {
	for i, p := range d.parts {
		if p.layer == layer {
			return i
		}
	}
	return 0
}

// Open opens name for reading, following symbolic links inside the tree. Only
// regular files have content: a FIFO or device is never opened, so that
// nothing blocks and no driver is woken, and reading it is an error.
func (v *View) Open(name string) (fs.File, error) {
	c, f, err := v.find("open", name, true)
	if err != nil {
		return nil, err
	}
	defer c.Reset()
	info := newInfo(name, f.layer, &f.st)
	switch f.typ {
	case unix.DT_DIR:
		entries, err := dirEntries(c.Dir())
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return &viewDir{viewSpecial: viewSpecial{name: name, info: info}, rest: entries}, nil
	case unix.DT_REG:
		file, err := openRegular(f.fd, f.name)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return &viewFile{File: file, info: info}, nil
	}
	return &viewSpecial{name: name, info: info}, nil
}
