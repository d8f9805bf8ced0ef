package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

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

// publish gives the file its name, at once or in the place of what has it.
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
