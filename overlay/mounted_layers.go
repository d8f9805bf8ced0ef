package overlay

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// addMounts adds the overlay mounts that layers of the store are lower dirs of.
// A mount of a bundle that is named already is not named twice. One that can only
// be told by names counts if it is still there, and has not ended meanwhile
// together with the directories of another store.
func (s *Store) addMounts(users map[ChainID][]string, mounts []stacked) error {
	chains, err := s.chains()
	if err != nil {
		return err
	}
	known := s.findable(chains)
	lasting := sync.OnceValues(overlays)
	for _, m := range mounts {
		for _, dir := range m.lower {
			c, sure, err := known.find(dir, m.alien)
			if err != nil {
				return fmt.Errorf("look at %s: %w", m, err)
			}
			if c == "" || slices.Contains(users[c], bundleUser(filepath.Dir(m.target))) || slices.Contains(users[c], m.String()) {
				continue
			}
			if !sure {
				now, err := lasting()
				if err != nil {
					return err
				}
				if !slices.ContainsFunc(now, m.same) {
					continue
				}
			}
			users[c] = append(users[c], m.String())
		}
	}
	return nil
}

// inode is a file, whatever its name.
type inode struct{ dev, ino uint64 }

// findable are the layers of a store, to be found by what mount options call
// them.
type findable struct {
	inodes map[inode]ChainID
	names  map[string]ChainID // CHAINID and SHORT
}

func (s *Store) findable(chains []ChainID) findable {
	f := findable{map[inode]ChainID{}, map[string]ChainID{}}
	for _, c := range chains {
		f.names[c.name()], f.names[c.short()] = c, c
		// A link is damage; what it leads to is no layer, whoever uses it.
		var st unix.Stat_t
		if sys.Lstat(s.layout.diff(c), &st) == nil {
			f.inodes[inode{st.Dev, st.Ino}] = c
		}
	}
	return f
}

// find returns the layer that an overlay mount calls dir, "" if it is none of the
// store, and whether that is sure or a matter of names. In a user's mount
// namespace, an alien's, the name is the user's choice, and may lead here to a
// file system that never answers, of which a user can mount one at any time. So
// it is looked up in the kernel's memory, where what is mounted always is; only
// of what links make of the way there that may be gone. Then the name has to say
// enough: it may keep a layer for another store that has the same, and frees
// none that is in use.
func (f findable) find(dir string, alien bool) (ChainID, bool, error) {
	i, err := inodeNear(dir, alien)
	for _, own := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM} {
		if errors.Is(err, own) {
			return "", false, err
		}
	}
	if err != nil || !filepath.IsAbs(dir) { // whatever it was relative to
		return f.named(dir), false, nil
	}
	return f.inodes[i], true, nil
}

// inodeNear returns the file that path leads to, an alien's only if it is at hand.
func inodeNear(path string, alien bool) (inode, error) {
	i, err := inodeAtHand(path)
	if errors.Is(err, unix.EAGAIN) && !alien || errors.Is(err, errors.ErrUnsupported) {
		return inodeOf(path)
	}
	return i, err
}

// resolveCached is RESOLVE_CACHED of openat2(2), which package unix lacks.
const resolveCached = 0x20

// inodeAtHand returns the file that path leads to, if the kernel knows that
// without asking any file system, and EAGAIN if not. It is an
// errors.ErrUnsupported before Linux 5.12.
func inodeAtHand(path string) (inode, error) {
	fd, err := sys.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolveCached,
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) { // EPERM: an old seccomp filter
		return inode{}, errors.ErrUnsupported
	}
	if err != nil {
		return inode{}, err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Statx_t
	if err := sys.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &st); err != nil {
		return inode{}, err
	}
	return inode{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}, nil
}

func inodeOf(path string) (inode, error) {
	var st unix.Stat_t
	err := sys.Stat(path, &st)
	return inode{st.Dev, st.Ino}, err
}

// named knows …/l/SHORT and …/layers/CHAINID/diff.
func (f findable) named(dir string) ChainID {
	base := filepath.Base(dir)
	if base == nameDiff {
		base = filepath.Base(filepath.Dir(dir))
	}
	return f.names[base]
}
