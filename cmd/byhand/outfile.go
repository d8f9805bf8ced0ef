package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// isStdout tells whether -o names standard output, as - or as /dev/stdout,
// which must not be opened anew: a shell's ">>" would be lost.
func isStdout(path string) bool {
	if path == "-" {
		return true
	}
	fd, ok := descriptor(path)
	return ok && fd == unix.Stdout
}

// outputFile writes beside and renames, so that the file is whole or not
// there, and returns the digest of what was written. What is there and is no
// regular file, such as a device or a pipe, is written to, and so is a
// descriptor, such as /dev/fd/3. A link stays, and its target is written.
func outputFile(path string, write func(io.Writer) error) (digest.Digest, error) {
	if fd, ok := descriptor(path); ok {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return "", storageError(path, err)
		}
		return writeInto(os.NewFile(uintptr(dup), path), write)
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return "", storageError(path, err)
		}
		return writeInto(f, write)
	}
	target := path
	if err == nil {
		if target, err = filepath.EvalSymlinks(path); err != nil {
			return "", storageError(path, err)
		}
	}
	return writeBeside(path, target, write)
}

// writeBeside gives target, which is what path leads to, its content at once.
func writeBeside(path, target string, write func(io.Writer) error) (_ digest.Digest, err error) {
	f, err := newFile(target)
	if err != nil {
		if cause, ok := errors.AsType[*fs.PathError](err); ok { // its name may be one that tells nobody anything
			err = fmt.Errorf("make a file in %s: %w", filepath.Dir(target), cause.Err)
		}
		return "", storageError(path, err)
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
		return "", storageError(path, err)
	}
	return sum.Digest(), nil
}

// writeInto writes to f and closes it.
func writeInto(f *os.File, write func(io.Writer) error) (digest.Digest, error) {
	sum := digest.Canonical.Digester()
	err := write(io.MultiWriter(f, sum.Hash()))
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return sum.Digest(), nil
}

func storageError(path string, err error) error {
	return &codedError{fmt.Errorf("write %s: %w", path, err), exitStorage}
}

// ownDescriptors is where the kernel lists what a process has open.
var ownDescriptors = regexp.MustCompile(`^/proc/(\d+)(?:/task/\d+)?/fd$`)

// descriptor returns the number of the open file of this process that path
// stands for, as /dev/stdout, /dev/fd/3 and /proc/self/fd/3 do.
func descriptor(path string) (int, bool) {
	const maxLinks = 40 // as the kernel
	for range maxLinks {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err == nil {
			dir, err = filepath.Abs(dir)
		}
		if err != nil {
			return 0, false
		}
		if m := ownDescriptors.FindStringSubmatch(dir); m != nil {
			fd, err := strconv.Atoi(filepath.Base(path))
			return fd, err == nil && m[1] == strconv.Itoa(os.Getpid())
		}
		path = filepath.Join(dir, filepath.Base(path))
		info, err := os.Lstat(path)
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			return 0, false
		}
		link, err := os.Readlink(path)
		if err != nil {
			return 0, false
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(dir, link)
		}
		path = link
	}
	return 0, false
}
