package report

import (
	"context"
	"io"
	"io/fs"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/imagetree"
)

// rootFS is the merged tree as bundle.Spec reads it: whose user is it, and are
// directories where it mounts. Files are read from the layers' archives.
type rootFS struct {
	tree  *imagetree.Tree
	write func(imagetree.Entry, io.Writer) error
}

var _ fs.ReadLinkFS = (*rootFS)(nil)

func newRootFS(ctx context.Context, t *imagetree.Tree) *rootFS {
	return &rootFS{t, func(e imagetree.Entry, w io.Writer) error { return t.WriteContent(ctx, e, w) }}
}

func (r *rootFS) Lstat(name string) (fs.FileInfo, error) {
	e, err := r.tree.Lookup(name, false)
	if err != nil {
		return nil, err
	}
	return entryInfo{e}, nil
}

func (r *rootFS) ReadLink(name string) (string, error) {
	e, err := r.tree.Lookup(name, false)
	if err != nil {
		return "", err
	}
	if e.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: unix.EINVAL}
	}
	return e.Link, nil
}

// Open opens a regular file. Its content ends well only if the layer that has
// it does.
func (r *rootFS) Open(name string) (fs.File, error) {
	e, err := r.tree.Lookup(name, true)
	if err != nil {
		return nil, err
	}
	if !e.IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: unix.EINVAL}
	}
	out, in := io.Pipe()
	go func() { _ = in.CloseWithError(r.write(e, in)) }()
	return &openFile{PipeReader: out, info: entryInfo{e}}, nil
}

type openFile struct {
	*io.PipeReader
	info entryInfo
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }

// entryInfo is an entry of the tree as a fs.FileInfo.
type entryInfo struct{ e imagetree.Entry }

func (i entryInfo) Name() string       { return path.Base(i.e.Name) }
func (i entryInfo) Size() int64        { return i.e.Size }
func (i entryInfo) ModTime() time.Time { return i.e.ModTime }
func (i entryInfo) IsDir() bool        { return i.e.IsDir() }
func (i entryInfo) Sys() any           { return nil }

func (i entryInfo) Mode() fs.FileMode {
	types := map[uint32]fs.FileMode{
		unix.S_IFREG: 0, unix.S_IFDIR: fs.ModeDir, unix.S_IFLNK: fs.ModeSymlink, unix.S_IFIFO: fs.ModeNamedPipe,
		unix.S_IFSOCK: fs.ModeSocket, unix.S_IFBLK: fs.ModeDevice, unix.S_IFCHR: fs.ModeDevice | fs.ModeCharDevice,
	}
	return types[i.e.Mode&unix.S_IFMT] | fs.FileMode(i.e.Mode&0o777)
}
