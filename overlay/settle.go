package overlay

import (
	"context"
	"os"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/settle"
	"github.com/byhand/byhand/internal/sys"
	"github.com/byhand/byhand/unpack"
)

// ErrLinkTarget is the cause of an unpack.EntryError for a hard link to a
// file that neither the layer nor the layers below it have.
var ErrLinkTarget = settle.ErrLinkTarget

// settleLayer completes a layer that was unpacked by itself with what only the
// layers below it can tell, by the rules of package settle. staging is the
// layer's directory, parents are the lower dirs below it, base first.
//
// A hard link to a file of a lower layer becomes another name of that very
// inode, which overlayfs shows as one file.
//
// record, which may be nil, is told where files go.
func settleLayer(ctx context.Context, staging *os.File, parents []string, p unpack.Pending, userXattr bool, record *unpack.SettleRecord) error {
	if p.Empty() && len(p.Whiteouts) == 0 {
		return nil
	}
	if onlyRoot(p) && len(parents) > 1 {
		parents = parents[len(parents)-1:] // or images of many layers would take the square of their number
	}
	below := &mergedDir{}
	if len(parents) > 0 {
		v, err := OpenView(parents)
		if err != nil {
			return err
		}
		below = v.root
		defer below.close()
	}
	root, err := openDirAt(int(staging.Fd()), ".")
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(root) }()
	l := &settling{
		index: len(parents), root: root, copied: map[fileID]string{},
		opaqueAttr: opaqueTrusted, buf: make([]byte, direntBuf), record: record,
	}
	if userXattr {
		l.opaqueAttr = opaqueUser
	}
	merged := &mergedDir{parts: []part{{layer: l.index, fd: root}}}
	if !p.OpaqueRoot {
		merged.parts = append(merged.parts, below.parts...)
	}
	return settle.Settle[*mergedDir, found, int](ctx, l, merged, below, p)
}

// onlyRoot says that nothing but the root's attributes is asked for, which the
// topmost parent has: so it is with most layers that Docker makes.
func onlyRoot(p unpack.Pending) bool {
	return len(p.ImplicitDirs) == 1 && p.ImplicitDirs[0] == "." &&
		len(p.HardLinks) == 0 && len(p.Whiteouts) == 0 && !p.OpaqueRoot
}

// entryError names the entry that err is about; nil stays nil.
func entryError(name, op string, err error) error { return settle.EntryError(name, op, err) }

// keepTimes runs fn, which changes what the directory holds, and puts the
// directory's times back.
func keepTimes(dirfd int, fn func() error) error {
	var st unix.Stat_t
	if err := sys.Fstat(dirfd, &st); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	return sys.UtimesNanoAt(dirfd, ".", []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}
