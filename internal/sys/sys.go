// Package sys has the file system calls of [unix], made again when a signal
// interrupts them. The kernel's own file systems interrupt few of them, but
// those in user space and on a network may interrupt any, and the Go runtime
// sends signals to its own threads all the time.
package sys

import (
	"errors"

	"golang.org/x/sys/unix"
)

// again makes a call until it is not interrupted.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// result is again for calls with a result.
func result[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}

// Open is [unix.Open].
func Open(path string, flags int, mode uint32) (int, error) {
	return result(func() (int, error) { return unix.Open(path, flags, mode) })
}

// Openat is [unix.Openat].
func Openat(dirfd int, path string, flags int, mode uint32) (int, error) {
	return result(func() (int, error) { return unix.Openat(dirfd, path, flags, mode) })
}

// Openat2 is [unix.Openat2].
func Openat2(dirfd int, path string, how *unix.OpenHow) (int, error) {
	return result(func() (int, error) { return unix.Openat2(dirfd, path, how) })
}

// Fstat is [unix.Fstat].
func Fstat(fd int, st *unix.Stat_t) error {
	return again(func() error { return unix.Fstat(fd, st) })
}

// Stat is [unix.Stat].
func Stat(path string, st *unix.Stat_t) error {
	return again(func() error { return unix.Stat(path, st) })
}

// Lstat is [unix.Lstat].
func Lstat(path string, st *unix.Stat_t) error {
	return again(func() error { return unix.Lstat(path, st) })
}

// Fstatat is [unix.Fstatat].
func Fstatat(dirfd int, path string, st *unix.Stat_t, flags int) error {
	return again(func() error { return unix.Fstatat(dirfd, path, st, flags) })
}

// Statx is [unix.Statx].
func Statx(dirfd int, path string, flags, mask int, st *unix.Statx_t) error {
	return again(func() error { return unix.Statx(dirfd, path, flags, mask, st) })
}

// Statfs is [unix.Statfs].
func Statfs(path string, st *unix.Statfs_t) error {
	return again(func() error { return unix.Statfs(path, st) })
}

// Chmod is [unix.Chmod].
func Chmod(path string, mode uint32) error {
	return again(func() error { return unix.Chmod(path, mode) })
}

// Fchmod is [unix.Fchmod].
func Fchmod(fd int, mode uint32) error {
	return again(func() error { return unix.Fchmod(fd, mode) })
}

// Fchmodat is [unix.Fchmodat].
func Fchmodat(dirfd int, path string, mode uint32, flags int) error {
	return again(func() error { return unix.Fchmodat(dirfd, path, mode, flags) })
}

// Fchown is [unix.Fchown].
func Fchown(fd, uid, gid int) error {
	return again(func() error { return unix.Fchown(fd, uid, gid) })
}

// Fchownat is [unix.Fchownat].
func Fchownat(dirfd int, path string, uid, gid, flags int) error {
	return again(func() error { return unix.Fchownat(dirfd, path, uid, gid, flags) })
}

// Mkdirat is [unix.Mkdirat].
func Mkdirat(dirfd int, path string, mode uint32) error {
	return again(func() error { return unix.Mkdirat(dirfd, path, mode) })
}

// Mknodat is [unix.Mknodat].
func Mknodat(dirfd int, path string, mode uint32, dev int) error {
	return again(func() error { return unix.Mknodat(dirfd, path, mode, dev) })
}

// Symlinkat is [unix.Symlinkat].
func Symlinkat(target string, dirfd int, path string) error {
	return again(func() error { return unix.Symlinkat(target, dirfd, path) })
}

// Linkat is [unix.Linkat].
func Linkat(from int, name string, to int, newName string, flags int) error {
	return again(func() error { return unix.Linkat(from, name, to, newName, flags) })
}

// Renameat is [unix.Renameat].
func Renameat(from int, name string, to int, newName string) error {
	return again(func() error { return unix.Renameat(from, name, to, newName) })
}

// Renameat2 is [unix.Renameat2].
func Renameat2(from int, name string, to int, newName string, flags uint) error {
	return again(func() error { return unix.Renameat2(from, name, to, newName, flags) })
}

// Unlinkat is [unix.Unlinkat].
func Unlinkat(dirfd int, path string, flags int) error {
	return again(func() error { return unix.Unlinkat(dirfd, path, flags) })
}

// UtimesNanoAt is [unix.UtimesNanoAt].
func UtimesNanoAt(dirfd int, path string, times []unix.Timespec, flags int) error {
	return again(func() error { return unix.UtimesNanoAt(dirfd, path, times, flags) })
}

// Readlinkat is [unix.Readlinkat].
func Readlinkat(dirfd int, path string, buf []byte) (int, error) {
	return result(func() (int, error) { return unix.Readlinkat(dirfd, path, buf) })
}

// Fgetxattr is [unix.Fgetxattr].
func Fgetxattr(fd int, name string, value []byte) (int, error) {
	return result(func() (int, error) { return unix.Fgetxattr(fd, name, value) })
}

// Lgetxattr is [unix.Lgetxattr].
func Lgetxattr(path, name string, value []byte) (int, error) {
	return result(func() (int, error) { return unix.Lgetxattr(path, name, value) })
}

// Fsetxattr is [unix.Fsetxattr].
func Fsetxattr(fd int, name string, value []byte, flags int) error {
	return again(func() error { return unix.Fsetxattr(fd, name, value, flags) })
}

// Lsetxattr is [unix.Lsetxattr].
func Lsetxattr(path, name string, value []byte, flags int) error {
	return again(func() error { return unix.Lsetxattr(path, name, value, flags) })
}

// Flistxattr is [unix.Flistxattr].
func Flistxattr(fd int, names []byte) (int, error) {
	return result(func() (int, error) { return unix.Flistxattr(fd, names) })
}

// Llistxattr is [unix.Llistxattr].
func Llistxattr(path string, names []byte) (int, error) {
	return result(func() (int, error) { return unix.Llistxattr(path, names) })
}

// Fremovexattr is [unix.Fremovexattr].
func Fremovexattr(fd int, name string) error {
	return again(func() error { return unix.Fremovexattr(fd, name) })
}

// Flock is [unix.Flock].
func Flock(fd, how int) error {
	return again(func() error { return unix.Flock(fd, how) })
}

// Read is [unix.Read].
func Read(fd int, buf []byte) (int, error) {
	return result(func() (int, error) { return unix.Read(fd, buf) })
}

// Pwrite is [unix.Pwrite].
func Pwrite(fd int, buf []byte, offset int64) (int, error) {
	return result(func() (int, error) { return unix.Pwrite(fd, buf, offset) })
}

// Ftruncate is [unix.Ftruncate].
func Ftruncate(fd int, size int64) error {
	return again(func() error { return unix.Ftruncate(fd, size) })
}

// Seek is [unix.Seek].
func Seek(fd int, offset int64, whence int) (int64, error) {
	return result(func() (int64, error) { return unix.Seek(fd, offset, whence) })
}

// Syncfs is [unix.Syncfs].
func Syncfs(fd int) error {
	return again(func() error { return unix.Syncfs(fd) })
}

// IoctlFileClone is [unix.IoctlFileClone].
func IoctlFileClone(to, from int) error {
	return again(func() error { return unix.IoctlFileClone(to, from) })
}

// Mount is [unix.Mount].
func Mount(source, target, fstype string, flags uintptr, data string) error {
	return again(func() error { return unix.Mount(source, target, fstype, flags, data) })
}

// Unmount is [unix.Unmount].
func Unmount(target string, flags int) error {
	return again(func() error { return unix.Unmount(target, flags) })
}

// Fsopen is [unix.Fsopen].
func Fsopen(fstype string, flags int) (int, error) {
	return result(func() (int, error) { return unix.Fsopen(fstype, flags) })
}

// FsconfigSetString is [unix.FsconfigSetString].
func FsconfigSetString(fd int, key, value string) error {
	return again(func() error { return unix.FsconfigSetString(fd, key, value) })
}

// FsconfigSetFlag is [unix.FsconfigSetFlag].
func FsconfigSetFlag(fd int, key string) error {
	return again(func() error { return unix.FsconfigSetFlag(fd, key) })
}

// FsconfigSetFd is [unix.FsconfigSetFd].
func FsconfigSetFd(fd int, key string, value int) error {
	return again(func() error { return unix.FsconfigSetFd(fd, key, value) })
}

// FsconfigCreate is [unix.FsconfigCreate].
func FsconfigCreate(fd int) error {
	return again(func() error { return unix.FsconfigCreate(fd) })
}

// Fsmount is [unix.Fsmount].
func Fsmount(fd, flags, attrs int) (int, error) {
	return result(func() (int, error) { return unix.Fsmount(fd, flags, attrs) })
}

// MoveMount is [unix.MoveMount].
func MoveMount(from int, name string, to int, newName string, flags int) error {
	return again(func() error { return unix.MoveMount(from, name, to, newName, flags) })
}

// Chdir is [unix.Chdir].
func Chdir(path string) error {
	return again(func() error { return unix.Chdir(path) })
}
