package overlay

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// fsStringMax is the longest value FSCONFIG_SET_STRING takes: strndup_user
// with 256 bytes, the NUL included.
const fsStringMax = 255

// errNoLowerdirPlus sends Mount to mount(2).
var errNoLowerdirPlus = errors.New("the kernel has no lowerdir+")

// mountNew mounts through fsopen(2) and fsconfig(2).
func mountNew(o MountOptions) error {
	fd, err := sys.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		// ENOSYS before 5.2; EPERM from seccomp filters that predate the call,
		// and from a real lack of privilege, which mount(2) then reports.
		return errNoLowerdirPlus
	}
	defer func() { _ = unix.Close(fd) }()
	if err := configure(fd, o); err != nil {
		return err
	}
	attrs := 0
	if o.ReadOnly {
		attrs = unix.MOUNT_ATTR_RDONLY
	}
	mnt, err := sys.Fsmount(fd, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return kernelError(fd, o, err)
	}
	defer func() { _ = unix.Close(mnt) }()
	if err := sys.MoveMount(mnt, "", unix.AT_FDCWD, o.Target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return &MountError{Target: o.Target, Op: "mount overlay", Err: err}
	}
	return nil
}

// configure sets every option of o and creates the superblock.
func configure(fd int, o MountOptions) error {
	lower := stack(o)
	for i := len(lower) - 1; i >= 0; i-- { // topmost first
		err := setPath(fd, "lowerdir+", ownName(lower[i]), false)
		if err != nil && (i == len(lower)-1 || errors.Is(err, errNoLowerdirPlus)) {
			return errNoLowerdirPlus // unknown before 6.8, and no descriptors before 6.13
		}
		if err != nil {
			return kernelError(fd, o, err)
		}
	}
	if !o.ReadOnly {
		if err := setPath(fd, "upperdir", o.Upper, true); err != nil {
			return orClassic(fd, o, err)
		}
		if err := setPath(fd, "workdir", o.Work, true); err != nil {
			return orClassic(fd, o, err)
		}
	}
	flags := map[string]bool{"userxattr": o.UserXattr, "ro": o.ReadOnly}
	for _, name := range []string{"userxattr", "ro"} {
		if flags[name] {
			if err := sys.FsconfigSetFlag(fd, name); err != nil {
				return kernelError(fd, o, err)
			}
		}
	}
	if err := sys.FsconfigSetString(fd, "source", "overlay"); err != nil {
		return kernelError(fd, o, err)
	}
	if err := sys.FsconfigCreate(fd); err != nil {
		return kernelError(fd, o, err)
	}
	return nil
}

// ownName returns what the store calls a lower dir that a bundle's link leads
// to, so that mountinfo names the layer even after the bundle was moved: its
// short link, because many programs read lines of 64 KiB at most there, and
// 500 longer names do not fit.
func ownName(dir string) string {
	target, err := os.Readlink(dir)
	if err != nil || !filepath.IsAbs(target) || filepath.Base(target) != nameDiff {
		return dir
	}
	c, ok := chainOfName(filepath.Base(filepath.Dir(target)))
	if !ok {
		return dir
	}
	link := layout{root: filepath.Join(target, "..", "..", "..")}.link(c)
	if !sameFile(dir, link) {
		return dir
	}
	return link
}

func sameFile(a, b string) bool {
	i, err := inodeOf(a)
	if err != nil {
		return false
	}
	j, err := inodeOf(b)
	return err == nil && i == j
}

func orClassic(fd int, o MountOptions, err error) error {
	if errors.Is(err, errNoLowerdirPlus) {
		return err
	}
	return kernelError(fd, o, err)
}

// setPath hands a directory to the kernel: by name where the name fits, so
// that /proc/self/mountinfo shows it as it is known, else by descriptor.
// upperdir and workdir are unescaped by the kernel, lowerdir+ is not.
func setPath(fd int, key, path string, escaped bool) error {
	value := path
	if escaped {
		value = escape(path)
	}
	if len(value) <= fsStringMax {
		return sys.FsconfigSetString(fd, key, value)
	}
	dir, err := openLong(path)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }()
	if err := sys.FsconfigSetFd(fd, key, dir); err != nil {
		return errNoLowerdirPlus
	}
	return nil
}

// openLong opens a directory for reference only.
func openLong(path string) (int, error) {
	return sys.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// kernelError adds what the kernel logged to the file system context.
func kernelError(fd int, o MountOptions, err error) error {
	e := &MountError{Target: o.Target, Op: "mount overlay", Err: err}
	buf := make([]byte, 1024)
	var said []string
	for range 8 {
		n, rerr := sys.Read(fd, buf)
		if rerr != nil || n <= 0 {
			break
		}
		// «e overlay: text»: the first letter is the severity.
		line := strings.TrimSpace(string(buf[:n]))
		if len(line) > 2 && line[1] == ' ' {
			line = line[2:]
		}
		said = append(said, strings.TrimPrefix(line, "overlay: "))
	}
	e.Detail = strings.Join(said, "; ")
	if e.Detail == "" && errors.Is(err, unix.EINVAL) {
		e.Detail = "the kernel's log (dmesg) says why"
	}
	return e
}
