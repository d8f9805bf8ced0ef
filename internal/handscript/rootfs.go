package handscript

import (
	"bytes"
	"io"
	"io/fs"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/imagetree"
)

// userFileLimit is the size in bytes of the largest user database that is
// read; package bundle refuses more.
const userFileLimit = 10 << 20

// userFiles are all that config.json is made from besides the image config.
func userFiles() []string { return []string{"/etc/passwd", "/etc/group"} }

// rootfs is the merged tree for package bundle: names, types and links, and
// the content of the user database alone.
type rootfs struct {
	tree    *imagetree.Tree
	content map[imagetree.Content][]byte
}

var _ fs.ReadLinkFS = (*rootfs)(nil)

// wanted returns, by layer counted from 0, the entries whose content is
// needed.
func (r *rootfs) wanted() []map[int64][]byte {
	byLayer := make([]map[int64][]byte, r.tree.Layers())
	for _, name := range userFiles() {
		e, err := r.tree.Lookup(name, true)
		if err != nil || !e.IsRegular() {
			continue // bundle.Spec says what is wrong, if it is
		}
		m := &byLayer[e.Content.Layer-1]
		if *m == nil {
			*m = map[int64][]byte{}
		}
		(*m)[e.Content.Ordinal] = nil
	}
	return byLayer
}

func (r *rootfs) find(op, name string) (*fileInfo, error) {
	e, err := r.tree.Lookup(name, false)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return &fileInfo{e}, nil
}

// Lstat implements fs.ReadLinkFS.
func (r *rootfs) Lstat(name string) (fs.FileInfo, error) { return r.find("lstat", name) }

// ReadLink implements fs.ReadLinkFS.
func (r *rootfs) ReadLink(name string) (string, error) {
	info, err := r.find("readlink", name)
	if err != nil {
		return "", err
	}
	return info.Link, nil
}

// Open implements fs.FS.
func (r *rootfs) Open(name string) (fs.File, error) {
	info, err := r.find("open", name)
	if err != nil {
		return nil, err
	}
	data, ok := r.content[info.Content]
	switch {
	case !ok || !info.IsRegular():
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	case data == nil && info.Entry.Size > 0: // too large to be kept
		return &file{info, io.LimitReader(zeros{}, info.Entry.Size)}, nil
	}
	return &file{info, bytes.NewReader(data)}, nil
}

type file struct {
	info *fileInfo
	io.Reader
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }

// zeros stands for content that nobody looks at because there is too much.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// fileInfo is an entry of the tree as package fs wants it.
type fileInfo struct{ imagetree.Entry }

func (i *fileInfo) Name() string       { return path.Base(i.Entry.Name) }
func (i *fileInfo) Size() int64        { return i.Entry.Size }
func (i *fileInfo) ModTime() time.Time { return i.Entry.ModTime }
func (i *fileInfo) Sys() any           { return nil }

func (i *fileInfo) Mode() fs.FileMode {
	types := map[uint32]fs.FileMode{
		unix.S_IFDIR: fs.ModeDir, unix.S_IFLNK: fs.ModeSymlink, unix.S_IFIFO: fs.ModeNamedPipe,
		unix.S_IFBLK: fs.ModeDevice, unix.S_IFCHR: fs.ModeDevice | fs.ModeCharDevice,
	}
	return types[i.Entry.Mode&unix.S_IFMT] | fs.FileMode(i.Entry.Mode&0o777)
}
