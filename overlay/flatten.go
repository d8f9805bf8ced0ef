package overlay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
	"github.com/byhand/byhand/unpack"
)

// FlattenOptions changes how Flatten works. The zero value copies and fails
// at whatever cannot be kept.
type FlattenOptions struct {
	// Move takes the files out of the lower dirs instead of copying them.
	// The lower dirs must belong to the caller alone; afterwards, and after a
	// failure, they are good for nothing but deleting.
	Move bool
	// Owners set to unpack.Squash leaves files to the caller that may not be
	// given to their owners, and leaves out devices that may not be made.
	Owners unpack.Owners
	// Jobs is how many directories are worked on at once; 0 means 2.
	Jobs int
	// Sync waits until the tree is on disk before it gets its name, and then
	// for that.
	Sync bool
	// Skipped, when not nil, is told at the end what was not kept.
	Skipped func([]unpack.Skip)
}

// NotEmptyError refuses to write into a directory that holds something.
type NotEmptyError struct {
	Dir   string
	Found string // one name in it
}

func (e *NotEmptyError) Error() string {
	return fmt.Sprintf("write to %s: the directory is not empty (it holds %s); name another one, or empty it", e.Dir, e.Found)
}

// Is makes the error an fs.ErrExist.
func (e *NotEmptyError) Is(target error) bool { return target == fs.ErrExist }

// BusyError says that another process is writing the same tree.
type BusyError struct {
	Dir string
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("write to %s: another process is writing it; wait for it to end", e.Dir)
}

// Flatten writes the tree that the lower dirs (base first) show when stacked
// to the directory dst: the same files, owners, modes, times, extended
// attributes, holes and hard links, without whiteouts and overlayfs's
// attributes. dst must not exist, or be an empty directory.
//
// The tree is made under another name beside dst and renamed when it is
// whole; what an interrupted run left there is removed by the next one. Where
// dst is the root of a file system, or its parent is not the caller's to
// write, the tree is made inside dst and moved up at the end.
//
// A failure leaves dst as it was. Errors at a file are unpack.EntryErrors.
func Flatten(ctx context.Context, dirs []string, dst string, o FlattenOptions) error {
	makeTree := emptyTree
	if len(dirs) > 0 {
		v, err := OpenView(dirs)
		if err != nil {
			return err
		}
		defer func() { _ = v.Close() }()
		makeTree = func(f *flattener, stage int) error { return f.root(ctx, v.root, stage, stageTree) }
	}
	dst, err := filepath.Abs(dst)
	if err != nil {
		return fmt.Errorf("write to %s: %w", dst, err)
	}
	st, err := newStage(dst)
	if err != nil {
		return err
	}
	f := newFlattener(o, st.links)
	err = makeTree(f, st.fd)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && o.Sync {
		err = sys.Syncfs(st.fd)
	}
	if err == nil {
		err = st.publish()
	}
	if cerr := st.close(); err == nil {
		err = cerr
	}
	if err == nil && o.Sync {
		err = syncFS(dst) // its name too
	}
	if err == nil && o.Skipped != nil && len(f.skipped) > 0 {
		o.Skipped(f.skips())
	}
	return err
}

// emptyTree makes the root of an image without layers, such as only a FROM
// scratch makes, like an implied directory.
func emptyTree(_ *flattener, stage int) error {
	if err := sys.Mkdirat(stage, stageTree, 0o755); err != nil {
		return entryError(".", "make directory", err)
	}
	err := sys.Fchmodat(stage, stageTree, 0o755, 0) // whatever the umask is
	if err == nil {
		err = sys.UtimesNanoAt(stage, stageTree, make([]unix.Timespec, 2), 0)
	}
	if err != nil {
		return entryError(".", "set attributes", err)
	}
	return nil
}

// root makes the tree's root and fills it.
func (f *flattener) root(ctx context.Context, src *mergedDir, stage int, name string) error {
	if err := sys.Mkdirat(stage, name, 0o700); err != nil {
		return entryError(".", "make directory", err)
	}
	fd, err := openDirAt(stage, name)
	if err != nil {
		return entryError(".", "open directory", err)
	}
	defer func() { _ = unix.Close(fd) }()
	err = f.dir(ctx, src, fd, "")
	// The first failure makes the others stop; it is the one to tell.
	if first := f.failure.Load(); first != nil && !errors.Is(*first, context.Canceled) {
		return *first
	}
	return err
}
