package serve

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/byhand/byhand/pull"
)

// files is what a layout directory and an archive have in common: regular
// files found by their slash-separated names. A missing one is fs.ErrNotExist.
type files interface {
	open(name string) (*file, error)
	Close() error
}

// file is an open one, read from any place.
type file struct {
	io.ReadSeeker
	size  int64
	close func() error
}

func (f *file) Close() error { return f.close() }

// readAll reads a whole file that may be no larger than limit.
func readAll(f files, name string, limit int64) ([]byte, error) {
	c, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	if c.size > limit {
		return nil, fmt.Errorf("read %s: it has %d bytes, more than the limit of %d", name, c.size, limit)
	}
	return io.ReadAll(io.LimitReader(c, limit))
}

// directory serves files below one directory and none outside: os.Root
// resolves symbolic links in the kernel and refuses those that leave.
type directory struct{ root *os.Root }

var _ files = (*directory)(nil)

func openDirectory(dir string) (*directory, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &directory{root}, nil
}

func (d *directory) open(name string) (*file, error) {
	// O_NONBLOCK: a FIFO in place of a blob must not hang the request.
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &file{ReadSeeker: f, size: info.Size(), close: f.Close}, nil
}

func (d *directory) Close() error { return d.root.Close() }

// archive serves the members of a tar from where they lie in it.
type archive struct {
	f       *pull.Archive
	members map[string]member
}

type member struct {
	offset, size int64
	link         string // name of the member that has the content
}

var _ files = (*archive)(nil)

// maxMembers bounds the table of an archive; docker save writes a few for
// each layer.
const maxMembers = 100_000

func openArchive(ctx context.Context, name string) (_ *archive, err error) {
	f, err := new(pull.Client).OpenArchive(ctx, name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	a := &archive{f: f, members: map[string]member{}}
	if err := a.index(); err != nil {
		return nil, &FormatError{Path: name, Err: err}
	}
	return a, nil
}

// index notes where each member's content starts. That is the position after
// Next, because package tar reads whole header blocks and no further.
func (a *archive) index() error {
	section := io.NewSectionReader(a.f, 0, a.f.Size)
	tr := tar.NewReader(section)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		offset, err := section.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		name := path.Clean("/" + h.Name)[1:]
		switch h.Typeflag {
		case tar.TypeReg:
			a.members[name] = member{offset: offset, size: h.Size}
		case tar.TypeLink:
			a.members[name] = member{link: path.Clean("/" + h.Linkname)[1:]}
		case tar.TypeSymlink: // older docker save: ../OTHER/layer.tar for a repeated layer
			a.members[name] = member{link: path.Join("/", path.Dir(name), h.Linkname)[1:]}
		}
		if len(a.members) > maxMembers {
			return fmt.Errorf("it has more than %d members", maxMembers)
		}
	}
}

// maxLinks bounds a chain of links between members.
const maxLinks = 8

func (a *archive) open(name string) (*file, error) {
	for range maxLinks {
		m, ok := a.members[name]
		if !ok {
			break
		}
		if m.link == "" {
			r := io.NewSectionReader(a.f, m.offset, m.size)
			return &file{ReadSeeker: r, size: m.size, close: func() error { return nil }}, nil
		}
		name = m.link
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

func (a *archive) Close() error { return a.f.Close() }

// detect opens path as what it turns out to be.
func detect(ctx context.Context, name string) (files, Kind, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, "", err
	}
	if info.IsDir() {
		d, err := openDirectory(name)
		return d, OCI, err
	}
	a, err := openArchive(ctx, name)
	if err != nil {
		return nil, "", err
	}
	if _, ok := a.members["oci-layout"]; ok {
		return a, OCIArchive, nil
	}
	if _, ok := a.members["manifest.json"]; ok {
		return a, DockerArchive, nil
	}
	return nil, "", errors.Join(&FormatError{Path: name, Err: errors.New("neither a tar of an OCI layout nor of docker save: " +
		"it has neither oci-layout nor manifest.json")}, a.Close())
}

func openFiles(ctx context.Context, s Source) (files, Kind, error) {
	switch s.Kind {
	case OCI:
		d, err := openDirectory(s.Path)
		return d, s.Kind, err
	case OCIArchive, DockerArchive:
		a, err := openArchive(ctx, s.Path)
		return a, s.Kind, err
	case Detect:
		return detect(ctx, s.Path)
	}
	return nil, "", &SourceError{Input: s.Path, Reason: "unknown kind " + strings.TrimSpace(string(s.Kind))}
}
