package unpack

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
	"github.com/byhand/byhand/internal/tarstream"
	"golang.org/x/sys/unix"
)

// Metadata is set in the order owner, mode, attributes, times: a change of
// owner clears setuid bits and file capabilities, and all of them change
// times.

const noMode = math.MaxUint32

func times(h *tarstream.Header) [2]unix.Timespec {
	m := unix.Timespec{Sec: h.ModTime.Sec, Nsec: h.ModTime.Nsec}
	if h.HasAtime {
		return [2]unix.Timespec{{Sec: h.AccessTime.Sec, Nsec: h.AccessTime.Nsec}, m}
	}
	return [2]unix.Timespec{m, m}
}

// fileMeta completes the regular file fd.
func (a *applier) fileMeta(e *entry, fd int, mode uint32) error {
	h := e.h
	if err := a.chown(e, func(uid, gid int) error { return sys.Fchown(fd, uid, gid) }); err != nil {
		return err
	}
	mode = e.allowed(mode)
	if mode&(a.umask|0o7000) != 0 {
		if err := sys.Fchmod(fd, mode); err != nil {
			e.op = "change mode of"
			return err
		}
	}
	if len(h.Xattrs) > 0 {
		err := a.xattrs(e, func(attr string, value []byte) error {
			err := sys.Fsetxattr(fd, attr, value, 0)
			if errors.Is(err, unix.EACCES) && mode&0o200 == 0 {
				// Only root may set user.* on a file that is not writable.
				if err := sys.Fchmod(fd, mode|0o200); err != nil {
					return err
				}
				err = sys.Fsetxattr(fd, attr, value, 0)
				return errors.Join(err, sys.Fchmod(fd, mode))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	ts := times(h)
	return a.setTimes(e, &ts,
		func() error { return rootfd.Futimens(fd, &ts) },
		func(st *unix.Stat_t) error { return sys.Fstat(fd, st) })
}

// nodeMeta completes what is neither file nor directory, without opening it.
func (a *applier) nodeMeta(e *entry, dirfd int, mode uint32) error {
	const nofollow = unix.AT_SYMLINK_NOFOLLOW
	err := a.chown(e, func(uid, gid int) error { return sys.Fchownat(dirfd, e.base, uid, gid, nofollow) })
	if err != nil {
		return err
	}
	if mode != noMode {
		mode = e.allowed(mode)
	}
	if mode != noMode && mode&(a.umask|0o7000) != 0 {
		if err := rootfd.Chmodat(dirfd, e.base, mode); err != nil {
			e.op = "change mode of"
			return err
		}
	}
	err = a.xattrs(e, func(attr string, value []byte) error {
		return rootfd.Setxattrat(dirfd, e.base, attr, value)
	})
	if err != nil {
		return err
	}
	ts := times(e.h)
	return a.setTimes(e, &ts,
		func() error { return sys.UtimesNanoAt(dirfd, e.base, ts[:], nofollow) },
		func(st *unix.Stat_t) error { return sys.Fstatat(dirfd, e.base, st, nofollow) })
}

// dirMeta gives the directory n its owner and attributes. Mode and times
// come at the end.
func (a *applier) dirMeta(e *entry, n *node) error {
	err := a.chown(e, func(uid, gid int) error {
		err := a.chownDir(n, uid, gid)
		if err == nil {
			n.gid = gid
		}
		return err
	})
	if err != nil || len(e.h.Xattrs) == 0 {
		return err
	}
	fd, err := a.tree.fd(n)
	if err != nil {
		return err
	}
	return a.xattrs(e, func(attr string, value []byte) error {
		if attr == xattrDefaultACL {
			n.late = value
			return nil
		}
		return sys.Fsetxattr(fd, attr, value, 0)
	})
}

func (a *applier) chownDir(n *node, uid, gid int) error {
	if n.parent == nil {
		return sys.Fchown(n.fd, uid, gid)
	}
	fd, err := a.tree.fd(n.parent)
	if err != nil {
		return err
	}
	return sys.Fchownat(fd, n.name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

// chown calls set unless what was just made has the right owner already.
func (a *applier) chown(e *entry, set func(uid, gid int) error) error {
	uid, gid := e.h.UID, e.h.GID
	// What is made in a directory of another group may inherit that.
	if uid == a.euid && gid == a.egid && !e.merged && e.dir.gid == int(a.egid) {
		return nil
	}
	var err error = unix.EPERM
	switch {
	// The largest number would mean to leave the owner as it is.
	case uid < 0 || gid < 0 || uid >= math.MaxUint32 || gid >= math.MaxUint32:
		err = unix.EINVAL
	case !a.noChown:
		err = set(int(uid), int(gid))
	}
	if err == nil {
		return nil
	}
	if a.o.Owners == Squash && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL)) {
		a.noChown = a.noChown || errors.Is(err, unix.EPERM)
		if uid != a.euid || gid != a.egid {
			e.ownerLost = true
			a.skip(SkipOwner, e.h.Name, fmt.Sprintf("%d:%d", uid, gid), err)
		}
		return nil
	}
	e.op = "change owner of"
	return fmt.Errorf("owner %d:%d: %w", uid, gid, err)
}

// allowed is the mode for what is no directory: a program that was to run as
// its owner must not run as the caller, who is the owner now.
func (e *entry) allowed(mode uint32) uint32 {
	if e.ownerLost {
		mode &^= unix.S_ISUID | unix.S_ISGID
	}
	return mode
}

// setTimes calls set and then, if the times are unusual, looks with stat
// whether the file system could hold them.
func (a *applier) setTimes(e *entry, ts *[2]unix.Timespec, set func() error, stat func(*unix.Stat_t) error) error {
	what, err := checkedTimes(ts, set, stat)
	if err != nil {
		e.op = "set times of"
		return err
	}
	if what != "" {
		a.skip(SkipTime, e.h.Name, what, nil)
	}
	return nil
}

// checkedTimes returns the modification time if it was clamped.
func checkedTimes(ts *[2]unix.Timespec, set func() error, stat func(*unix.Stat_t) error) (clamped string, err error) {
	err = set()
	mtime := ts[1].Sec
	if usual(mtime) && usual(ts[0].Sec) {
		return "", err
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOVERFLOW) {
		for i := range ts {
			ts[i].Sec = min(max(ts[i].Sec, 0), math.MaxInt32)
		}
		err = set()
	}
	if err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := stat(&st); err != nil {
		return "", err
	}
	if st.Mtim.Sec != mtime {
		clamped = fmt.Sprintf("second %d", mtime)
	}
	return clamped, nil
}

// usual says whether every file system holds the time.
func usual(sec int64) bool { return sec >= 0 && sec <= math.MaxInt32 }

func (a *applier) skip(kind SkipKind, name, what string, err error) {
	s := &a.skips[kind]
	if s.Count == 0 {
		s.Name, s.What, s.Err = name, what, err
	}
	s.Count++
	if kind == SkipXattr && len(s.Attrs) < MostAttrs && !slices.Contains(s.Attrs, what) {
		s.Attrs = append(s.Attrs, what)
	}
}
