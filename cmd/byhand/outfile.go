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
	"syscall"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// isStdout tells whether -o names standard output, as - or as /dev/stdout,
// which must not be opened anew: a shell's ">>" would be lost.
func isStdout(path string) bool {
	if path == "-" {
		return true
	}
	fd, _, ok := descriptor(path)
	return ok && fd == unix.Stdout
}

// outputFile writes beside and renames, so that the file is whole or not
// there, and returns the digest of what was written. What is there and is no
// regular file, such as a device or a pipe, is written to, and so is a
// descriptor, such as /dev/fd/3. A link stays, and its target is written.
func outputFile(path string, write func(io.Writer) error) (digest.Digest, error) {
	fd, target, ok := descriptor(path)
	if ok {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return "", storageError(path, err)
		}
		return writeInto(os.NewFile(uintptr(dup), path), write)
	}
	old, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", storageError(path, err)
	}
	if err == nil && !old.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return "", storageError(path, err)
		}
		return writeInto(f, write)
	}
	if link, err := os.Lstat(target); err == nil && link.Mode()&fs.ModeSymlink != 0 {
		return "", storageError(path, errors.New("it is a symbolic link of somebody else's, where anybody may make one; name the file that is meant"))
	}
	return writeBeside(path, target, old, write)
}

// writeBeside gives target, which is what path leads to, its content at once.
// A file that is old keeps its mode, and its owner where that can be.
func writeBeside(path, target string, old fs.FileInfo, write func(io.Writer) error) (_ digest.Digest, err error) {
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
	mode := fs.FileMode(0o666&^sys.Umask()) | 0o600
	if old != nil {
		mode = takePlace(f, old)
	}
	err = f.Chmod(mode)
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

// maxLinks is how many links one path may lead through, as the kernel has it.
const maxLinks = 40

// ownDescriptors is where the kernel lists what a process has open.
var ownDescriptors = regexp.MustCompile(`^/proc/(\d+)(?:/task/\d+)?/fd$`)

// descriptor returns the number of the open file of this process that path
// stands for, as /dev/stdout, /dev/fd/3 and /proc/self/fd/3 do; else what path
// leads to, by links of which the last may lead to nothing, or be one that is not
// followed.
func descriptor(path string) (fd int, target string, ok bool) {
	for range maxLinks {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err == nil {
			dir, err = filepath.Abs(dir)
		}
		if err != nil {
			return 0, path, false
		}
		if m := ownDescriptors.FindStringSubmatch(dir); m != nil {
			fd, err := strconv.Atoi(filepath.Base(path))
			return fd, path, err == nil && m[1] == strconv.Itoa(os.Getpid())
		}
		path = filepath.Join(dir, filepath.Base(path))
		info, err := os.Lstat(path)
		if err != nil || info.Mode()&fs.ModeSymlink == 0 || planted(dir, info) {
			return 0, path, false
		}
		link, err := os.Readlink(path)
		if err != nil {
			return 0, path, false
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(dir, link)
		}
		path = link
	}
	return 0, path, false
}

// planted says whether a link in dir is one that Linux does not follow if it
// protects its users from one another: in /tmp anybody can make one that leads
// root's file into /etc (proc_sys_fs(5), protected_symlinks).
func planted(dir string, link fs.FileInfo) bool {
	info, err := os.Stat(dir)
	if err != nil || info.Mode()&fs.ModeSticky == 0 || info.Mode().Perm()&0o002 == 0 {
		return false
	}
	owner, ok1 := link.Sys().(*syscall.Stat_t)
	parent, ok2 := info.Sys().(*syscall.Stat_t)
	return ok1 && ok2 && int(owner.Uid) != os.Geteuid() && owner.Uid != parent.Uid
}

// takePlace gives f the owner of old, as far as the caller may, and returns the
// mode that old had: without what it let a group do that is not f's.
func takePlace(f interface{ Chown(uid, gid int) error }, old fs.FileInfo) fs.FileMode {
	mode := old.Mode().Perm()
	st, ok := old.Sys().(*syscall.Stat_t)
	if ok && f.Chown(int(st.Uid), int(st.Gid)) != nil && f.Chown(-1, int(st.Gid)) != nil {
		mode &^= 0o070
	}
	return mode
}
