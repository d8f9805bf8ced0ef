package overlay

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
)

// part is one layer's directory among those that make up a merged directory.
type part struct {
	layer int // 0 is the base
	fd    int
}

// mergedDir is an open directory of the merged tree: the directories that
// show through one another, topmost first. Names are only ever looked up one
// component at a time and never through a link, so that nothing outside the
// layers can be reached.
type mergedDir struct {
	parts []part
}

func (d *mergedDir) close() {
	for _, p := range d.parts {
		_ = unix.Close(p.fd)
	}
}

// node is a name in a merged directory.
type node struct {
	name  string
	layer int   // the layer it comes from, 0 is the base
	fd    int   // that layer's directory that holds the name; owned by the mergedDir
	typ   uint8 // unix.DT_*
	from  []int // of a directory: the parts of the parent that have it, topmost first
	open  bool  // while listing: lower directories of this name still join it
}

// lookup finds name in d, and fills st. ok is false where the merged tree has
// no such name.
func (d *mergedDir) lookup(name string, st *unix.Stat_t) (n node, ok bool, err error) {
	for i, p := range d.parts {
		var s unix.Stat_t
		err := lstatat(p.fd, name, &s)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return n, false, err
		}
		isDir := s.Mode&unix.S_IFMT == unix.S_IFDIR
		if !ok {
			if isWhiteout(&s) {
				return n, false, nil
			}
			ok = true
			*st = s
			n = node{name: name, layer: p.layer, fd: p.fd, typ: uint8(s.Mode >> 12)}
		}
		if !isDir {
			break // a file or whiteout ends what merges
		}
		n.from = append(n.from, i)
		if i < len(d.parts)-1 {
			opaque, err := opaqueAt(p.fd, name)
			if err != nil {
				return n, false, err
			}
			if opaque {
				break
			}
		}
	}
	return n, ok, nil
}

// enter opens the merged directory n of d.
func (d *mergedDir) enter(n node) (*mergedDir, error) {
	sub := &mergedDir{parts: make([]part, 0, len(n.from))}
	for _, i := range n.from {
		fd, err := openDirAt(d.parts[i].fd, n.name)
		if err != nil {
			sub.close()
			return nil, err
		}
		sub.parts = append(sub.parts, part{layer: d.parts[i].layer, fd: fd})
	}
	return sub, nil
}

// list returns the names of d in byte order. buf is scratch space.
func (d *mergedDir) list(buf []byte) ([]node, error) {
	var nodes []node
	var index map[string]int
	if len(d.parts) > 1 {
		index = make(map[string]int)
	}
	hidden := map[string]bool{}
	for i, p := range d.parts {
		err := readDir(p.fd, buf, func(name string, typ uint8) error {
			if hidden[name] {
				return nil
			}
			if at, seen := index[name]; seen {
				return d.join(&nodes[at], i, typ)
			}
			typ, white, err := classifyAt(p.fd, name, typ)
			if err != nil {
				return err
			}
			if white {
				hidden[name] = true
				return nil
			}
			n := node{name: name, layer: p.layer, fd: p.fd, typ: typ}
			if typ == unix.DT_DIR {
				n.from, n.open = []int{i}, true
			}
			if index != nil {
				index[name] = len(nodes)
			}
			nodes = append(nodes, n)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(nodes, func(a, b node) int { return cmp.Compare(a.name, b.name) })
	return nodes, nil
}

// join adds what part i says about a name that a part above has.
func (d *mergedDir) join(n *node, i int, typ uint8) error {
	if !n.open {
		return nil
	}
	above := d.parts[n.from[len(n.from)-1]]
	opaque, err := opaqueAt(above.fd, n.name)
	if err != nil {
		return err
	}
	typ, _, err = classifyAt(d.parts[i].fd, n.name, typ)
	if err != nil {
		return err
	}
	if opaque || typ != unix.DT_DIR {
		n.open = false
		return nil
	}
	n.from = append(n.from, i)
	return nil
}

// classifyAt completes what readDir knows about a name. Only a character
// device can be a whiteout.
func classifyAt(dirfd int, name string, typ uint8) (uint8, bool, error) {
	if typ != unix.DT_UNKNOWN && typ != unix.DT_CHR {
		return typ, false, nil
	}
	var st unix.Stat_t
	if err := lstatat(dirfd, name, &st); err != nil {
		return typ, false, err
	}
	return uint8(st.Mode >> 12), isWhiteout(&st), nil
}

func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// openDirAt opens a directory that is no link, to be read where the caller
// may read it.
func openDirAt(dirfd int, name string) (int, error) {
	const flags = unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := rootfd.Retry(func() (int, error) {
		return unix.Openat(dirfd, name, unix.O_RDONLY|flags, 0)
	})
	if errors.Is(err, unix.EACCES) {
		fd, err = sys.Openat(dirfd, name, unix.O_PATH|flags, 0)
	}
	return fd, err
}

// Names of overlayfs's marker for a directory that hides the layers below.
const (
	opaqueTrusted = "trusted.overlay.opaque"
	opaqueUser    = "user.overlay.opaque"
)

// opaqueAt tells whether the directory hides the layers below it.
func opaqueAt(dirfd int, name string) (bool, error) {
	fd, err := openDirAt(dirfd, name)
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	return opaqueFD(fd)
}

func opaqueFD(fd int) (bool, error) {
	var value [4]byte
	for _, attr := range []string{opaqueTrusted, opaqueUser} {
		n, err := sys.Fgetxattr(fd, attr, value[:])
		switch {
		case err == nil:
			if n == 1 && value[0] == 'y' {
				return true, nil
			}
		case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ERANGE),
			errors.Is(err, unix.EBADF): // EBADF: not readable by the caller, who then made no marker either
		default:
			return false, err
		}
	}
	return false, nil
}

// readDir calls fn for every name of an open directory but "." and "..", in
// the file system's order, and rewinds the directory first.
func readDir(fd int, buf []byte, fn func(name string, typ uint8) error) error {
	if _, err := sys.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return err
	}
	for {
		n, err := rootfd.Retry(func() (int, error) { return unix.Getdents(fd, buf) })
		if err != nil || n == 0 {
			return err
		}
		for rest := buf[:n]; len(rest) > 0; {
			// struct linux_dirent64: ino u64, off s64, reclen u16, type u8, name.
			size := int(binary.NativeEndian.Uint16(rest[16:]))
			typ, raw := rest[18], rest[19:size]
			rest = rest[size:]
			if end := slices.Index(raw, 0); end >= 0 {
				raw = raw[:end]
			}
			if name := string(raw); name != "." && name != ".." {
				if err := fn(name, typ); err != nil {
					return err
				}
			}
		}
	}
}

// direntBuf is the size of the buffer for readDir: about 700 names a call.
const direntBuf = 32 << 10
