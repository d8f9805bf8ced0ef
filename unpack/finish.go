package unpack

import (
	"context"
	"errors"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/layername"
	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
)

// finish does what has to wait for the last entry: opaque directories,
// whiteouts without effect, modes and times of directories.
func (a *applier) finish(ctx context.Context) error {
	root := a.tree.root
	if a.aufs {
		// Its files have got their other names by now.
		if err := a.clear(root, layername.AUFSLinks); err != nil && !errors.Is(err, unix.ENOENT) {
			return &EntryError{Name: layername.AUFSLinks, Op: "delete", Err: err}
		}
	}
	if root.opaque {
		a.res.Pending.OpaqueRoot = true
		for _, kid := range root.kids {
			kid.hidden = true
		}
	}
	if err := a.finishDir(ctx, root, false); err != nil {
		return err
	}
	a.res.Pending.HardLinks = a.pendingLinks()
	return nil
}

// finishDir completes n after all below it, since an ordinary user may not
// get there any more afterwards. covered says that lower layers have no say
// below the parent.
func (a *applier) finishDir(ctx context.Context, n *node, covered bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	covered = covered || n.hidden
	if !n.explicit && !covered {
		a.res.Pending.ImplicitDirs = append(a.res.Pending.ImplicitDirs, n.path())
	}
	covered = covered || n.opaque && n.parent != nil
	if err := a.finishMarks(n, covered); err != nil {
		return n.wrap("delete whiteout in", err)
	}
	covered = covered || n.opaque
	for _, name := range slices.Sorted(maps.Keys(n.kids)) {
		if err := a.finishDir(ctx, n.kids[name], covered); err != nil {
			return err
		}
	}
	if n.opaque || n.hidden {
		if err := a.setOnDir(n, a.opaqueXattr(), []byte("y")); err != nil {
			return n.wrap("make opaque", err)
		}
	}
	return a.finishMeta(n)
}

func (n *node) wrap(op string, err error) error {
	return &EntryError{Name: n.path(), Op: op, Err: err}
}

// finishMarks lists the whiteouts in n, or removes them where they have
// nothing to hide: overlayfs would show them as devices there.
func (a *applier) finishMarks(n *node, covered bool) error {
	var live []string
	for name, is := range n.marks {
		if is {
			live = append(live, name)
		}
	}
	slices.Sort(live)
	for _, name := range live {
		if !covered {
			a.res.Pending.Whiteouts = append(a.res.Pending.Whiteouts, n.join(name))
			continue
		}
		if err := a.clear(n, name); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) setOnDir(n *node, attr string, value []byte) error {
	fd, err := a.tree.fd(n)
	if err != nil {
		return err
	}
	return sys.Fsetxattr(fd, attr, value, 0)
}

// finishMeta sets what else would be undone by work in the directory, or
// would hinder it.
func (a *applier) finishMeta(n *node) error {
	if n.late != nil {
		err := a.setOnDir(n, xattrDefaultACL, n.late)
		if refused(err) {
			a.skip(SkipXattr, n.path(), xattrDefaultACL, err)
		} else if err != nil {
			return n.wrap("set extended attribute of", err)
		}
	}
	dirfd := n.fd
	var err error
	if n.parent != nil {
		if dirfd, err = a.tree.fd(n.parent); err != nil {
			return n.wrap("open parent of", err)
		}
	}
	if n.mode != n.made {
		if n.parent == nil {
			err = sys.Fchmod(dirfd, n.mode)
		} else {
			err = rootfd.Chmodat(dirfd, n.name, n.mode)
		}
		if err != nil {
			return n.wrap("change mode of", err)
		}
	}
	if err := a.finishTimes(n, dirfd); err != nil {
		return n.wrap("set times of", err)
	}
	return nil
}

func (a *applier) finishTimes(n *node, dirfd int) error {
	set := func() error { return sys.UtimesNanoAt(dirfd, n.name, n.times[:], unix.AT_SYMLINK_NOFOLLOW) }
	stat := func(st *unix.Stat_t) error { return sys.Fstatat(dirfd, n.name, st, unix.AT_SYMLINK_NOFOLLOW) }
	if n.parent == nil {
		set = func() error { return rootfd.Futimens(dirfd, &n.times) }
		stat = func(st *unix.Stat_t) error { return sys.Fstat(dirfd, st) }
	}
	clamped, err := checkedTimes(&n.times, set, stat)
	if clamped != "" {
		a.skip(SkipTime, n.path(), clamped, nil)
	}
	if errors.Is(err, unix.EINTR) {
		return a.finishTimes(n, dirfd)
	}
	return err
}
