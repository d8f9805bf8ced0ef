package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// exportFile writes a file that is whole or not there, and takes the place of
// one that is. What is there and is no regular file, such as a device or a
// pipe, is written to.
func exportFile(path string, write func(io.Writer) error) (_ digest.Digest, err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return exportInto(path, write)
	}
	f, err := newFile(path)
	if err != nil {
		return "", &codedError{fmt.Errorf("write %s: %w", path, err), exitStorage}
	}
	defer func() { err = errors.Join(err, f.close()) }()
	sum := digest.Canonical.Digester()
	if err := write(io.MultiWriter(f, sum.Hash())); err != nil {
		return "", err
	}
	err = f.Chmod(0o644)
	if err == nil {
		err = f.publish()
	}
	if err != nil {
		return "", &codedError{fmt.Errorf("write %s: %w", path, err), exitStorage}
	}
	return sum.Digest(), nil
}

// unfinished is a file that has no name yet, so that nothing is left of it
// when the process is killed. On a file system without such files it has one
// of its own beside that which it will get.
type unfinished struct {
	*os.File
	path string // that it will get
	temp string // that it has, or ""
}

func newFile(path string) (*unfinished, error) {
	dir := filepath.Dir(path)
	if _, err := os.Lstat("/proc/self/fd"); err == nil { // which gives it a name later
		fd, err := sys.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
		if err == nil {
			return &unfinished{File: os.NewFile(uintptr(fd), path), path: path}, nil
		}
		if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) {
			return nil, &os.PathError{Op: "create", Path: path, Err: err}
		}
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, err
	}
	return &unfinished{File: f, path: path, temp: f.Name()}, nil
}

// publish gives the file its name.
func (f *unfinished) publish() error {
	if f.temp == "" {
		err := f.link(f.path)
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
		temp := filepath.Join(filepath.Dir(f.path), "."+filepath.Base(f.path)+"."+rand.Text()[:10])
		if err := f.link(temp); err != nil {
			return err
		}
		f.temp = temp
	} else if err := f.Close(); err != nil { // a file system on a network may write only now
		return err
	}
	if err := os.Rename(f.temp, f.path); err != nil {
		return err
	}
	f.temp = ""
	return nil
}

func (f *unfinished) link(name string) error {
	err := sys.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
	if err != nil {
		return &os.PathError{Op: "link", Path: name, Err: err}
	}
	return nil
}

// close ends the writing; what was not published goes.
func (f *unfinished) close() error {
	err := f.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	if f.temp != "" {
		err = errors.Join(err, os.Remove(f.temp))
	}
	return err
}

// exportInto writes to what is at path.
func exportInto(path string, write func(io.Writer) error) (digest.Digest, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return "", &codedError{fmt.Errorf("write %s: %w", path, err), exitStorage}
	}
	sum := digest.Canonical.Digester()
	err = write(io.MultiWriter(f, sum.Hash()))
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return sum.Digest(), nil
}
