package rootfd

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

const (
	// maxLinks is the kernel's own bound on symbolic links in a path
	// (path_resolution(7)).
	maxLinks = 40
	// keepOpen bounds the descriptors a walk holds. Going back by ".." to a
	// directory that is no longer held walks down again from the root.
	keepOpen = 64
)

// walker stands in a directory below root that it reached by opening one
// component after the other, none of them a symbolic link.
type walker struct {
	root  int
	names []string
	fds   []int // of names; -1 where closed again
	links int
}

// walkOpen is open(2) with name resolved in root, by walking.
func walkOpen(root int, name string, flags int, mode uint32) (int, error) {
	w := &walker{root: root}
	defer w.close()
	follow := flags&unix.O_NOFOLLOW == 0 && flags&(unix.O_CREAT|unix.O_EXCL) != unix.O_CREAT|unix.O_EXCL
	base, isDir, err := w.walk(name, follow)
	if err != nil {
		return -1, err
	}
	flags |= unix.O_NOFOLLOW
	if isDir {
		flags |= unix.O_DIRECTORY
	}
	return Retry(func() (int, error) { return unix.Openat(w.cur(), base, flags, mode) })
}

// walk goes to the directory of the last component of name and returns that
// component, "." when the walk ended in the directory itself. isDir says that
// the name demands a directory. With follow, a link there is followed.
func (w *walker) walk(name string, follow bool) (base string, isDir bool, err error) {
	if name[0] == '/' {
		w.reset()
	}
	rest := name
	for {
		comp, after := cutComponent(rest)
		last := strings.Trim(after, "/") == ""
		isDir = isDir || last && after != ""
		switch comp {
		case "", ".":
		case "..":
			if err := w.up(); err != nil {
				return "", false, err
			}
		default:
			target, err := w.down(comp, last, follow || isDir)
			if err != nil {
				return "", false, err
			}
			if target == "" {
				if last {
					return comp, isDir, nil
				}
				break
			}
			if target[0] == '/' {
				w.reset()
			}
			if !last {
				target += "/" + after
			}
			rest = target
			continue
		}
		if last {
			return ".", true, nil
		}
		rest = after
	}
}

// down enters comp, unless it is the last component. If comp is a symbolic
// link that is to be followed, it stays and returns the link's target.
func (w *walker) down(comp string, last, follow bool) (target string, err error) {
	if !last {
		fd, err := openComponent(w.cur(), comp)
		if err == nil {
			w.push(comp, fd)
			return "", nil
		}
		if !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
			return "", err
		}
	} else if !follow {
		return "", nil
	}
	target, err = Readlinkat(w.cur(), comp)
	switch {
	case errors.Is(err, unix.EINVAL) && !last:
		return "", unix.ENOTDIR
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT) && last:
		return "", nil
	case err != nil:
		return "", err
	case target == "":
		return "", unix.ENOENT
	}
	if w.links++; w.links > maxLinks {
		return "", unix.ELOOP
	}
	return target, nil
}

func (w *walker) cur() int {
	if len(w.fds) == 0 {
		return w.root
	}
	return w.fds[len(w.fds)-1]
}

func (w *walker) push(name string, fd int) {
	w.names, w.fds = append(w.names, name), append(w.fds, fd)
	if i := len(w.fds) - 1 - keepOpen; i >= 0 && w.fds[i] >= 0 {
		_ = unix.Close(w.fds[i])
		w.fds[i] = -1
	}
}

// up goes to the parent, which of the root is the root. It never opens "..",
// which would lead elsewhere if the directory had been moved.
func (w *walker) up() error {
	n := len(w.fds) - 1
	if n < 0 {
		return nil
	}
	_ = unix.Close(w.fds[n])
	names := w.names[:n]
	w.names, w.fds = names, w.fds[:n]
	if n == 0 || w.fds[n-1] >= 0 {
		return nil
	}
	names = append([]string(nil), names...)
	w.reset()
	for _, name := range names {
		fd, err := openComponent(w.cur(), name)
		if err != nil {
			return err
		}
		w.push(name, fd)
	}
	return nil
}

func (w *walker) reset() {
	w.close()
	w.names, w.fds = w.names[:0], w.fds[:0]
}

func (w *walker) close() {
	for _, fd := range w.fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

func openComponent(dirfd int, name string) (int, error) {
	return Retry(func() (int, error) {
		return unix.Openat(dirfd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
}

// cutComponent splits path after its first component. after keeps its leading
// slash.
func cutComponent(path string) (comp, after string) {
	path = strings.TrimLeft(path, "/")
	i := strings.IndexByte(path, '/')
	if i < 0 {
		return path, ""
	}
	return path[:i], path[i:]
}

// Readlinkat returns the target of the symbolic link name in dirfd, EINVAL if
// it is something else.
func Readlinkat(dirfd int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := sys.Readlinkat(dirfd, name, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}
