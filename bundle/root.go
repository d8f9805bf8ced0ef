package bundle

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"syscall"
)

// linkLimit is how many symbolic links one path may pass, as in the kernel
// (path_resolution(7)).
const linkLimit = 40

// tree reads the merged root. Where the file system can tell links from what
// they point to, tree resolves them itself, so that the file system is only
// ever asked for paths without links.
type tree struct{ fsys fs.FS }

// resolve follows name inside the root and returns the path without links
// ("." for the root) and what is there. For a path that does not exist the
// error is fs.ErrNotExist, also where a component is no directory, and the path
// is the one at which a runtime would make it.
func (t tree) resolve(name string) (string, fs.FileInfo, error) {
	if t.fsys == nil {
		return "", nil, fs.ErrNotExist
	}
	todo, at, links := strings.Split(name, "/"), ".", 0
	info, err := t.lstat(at)
	for err == nil && len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			info, err = t.lstat(at)
			continue
		}
		next := path.Join(at, part)
		if !info.IsDir() {
			err = fs.ErrNotExist
		} else {
			info, err = t.lstat(next)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return path.Join(append([]string{"/", next}, todo...)...)[1:], nil, err
		}
		if err != nil {
			break
		}
		if info.Mode().Type() != fs.ModeSymlink {
			at = next
			continue
		}
		if links++; links > linkLimit {
			return "", nil, syscall.ELOOP
		}
		var target string
		if target, err = t.readlink(next); err != nil {
			break
		}
		if strings.HasPrefix(target, "/") {
			at = "."
		}
		todo = append(strings.Split(target, "/"), todo...)
		info, err = t.lstat(at)
	}
	return at, info, err
}

func (t tree) lstat(name string) (fs.FileInfo, error) {
	if l, ok := t.fsys.(fs.ReadLinkFS); ok {
		return l.Lstat(name)
	}
	return fs.Stat(t.fsys, name)
}

func (t tree) readlink(name string) (string, error) {
	if l, ok := t.fsys.(fs.ReadLinkFS); ok {
		return l.ReadLink(name)
	}
	return "", errors.ErrUnsupported
}

// readFile reads a regular file of at most limit bytes. A file that is not
// there yields nil.
func (t tree) readFile(name string, limit int64) ([]byte, error) {
	at, info, err := t.resolve(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &RootError{Path: name, Err: err}
	}
	// Looked at before it is opened: opening a FIFO waits for a writer.
	if !info.Mode().IsRegular() {
		return nil, &RootError{Path: name, Want: "a regular file", Got: kind(info.Mode())}
	}
	f, err := t.fsys.Open(at)
	if err != nil {
		return nil, &RootError{Path: name, Err: err}
	}
	defer func() { _ = f.Close() }()
	if info, err = f.Stat(); err != nil {
		return nil, &RootError{Path: name, Err: err}
	}
	if !info.Mode().IsRegular() {
		return nil, &RootError{Path: name, Want: "a regular file", Got: kind(info.Mode())}
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, &RootError{Path: name, Err: err}
	}
	if int64(len(data)) > limit {
		return nil, &RootError{Path: name, Want: fmt.Sprintf("at most %d bytes", limit), Got: "more"}
	}
	return data, nil
}

// kind names a file type.
func kind(m fs.FileMode) string {
	switch m.Type() {
	case 0:
		return "a regular file"
	case fs.ModeDir:
		return "a directory"
	case fs.ModeSymlink:
		return "a symbolic link"
	case fs.ModeNamedPipe:
		return "a FIFO"
	case fs.ModeSocket:
		return "a socket"
	}
	return "a device"
}
