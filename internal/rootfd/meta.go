package rootfd

import (
	"errors"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// Chmodat changes the mode of name in dirfd without following a link.
func Chmodat(dirfd int, name string, mode uint32) error {
	// fchmodat2(2) came with Linux 6.6.
	err := sys.Fchmodat(dirfd, name, mode, unix.AT_SYMLINK_NOFOLLOW)
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
		return err
	}
	fd, err := Retry(func() (int, error) {
		return unix.Openat(dirfd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return sys.Chmod(procPath(fd), mode)
}

// Setxattrat sets an extended attribute of name in dirfd without following a
// link. It goes through /proc, as setxattrat(2) is newer than most kernels.
func Setxattrat(dirfd int, name, attr string, value []byte) error {
	return sys.Lsetxattr(procPath(dirfd)+"/"+name, attr, value, 0)
}

// procPath names an open file. The kernel resolves it to the file itself,
// wherever that is by now.
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// Futimens sets access and modification time of an open file.
func Futimens(fd int, ts *[2]unix.Timespec) error {
	// x/sys has no form of utimensat(2) with a null path, which spares the
	// kernel a look-up.
	_, err := Retry(func() (int, error) {
		_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(ts)), 0, 0, 0)
		if errno != 0 {
			return 0, errno
		}
		return 0, nil
	})
	return err
}
