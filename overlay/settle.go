package overlay

import (
	"context"
	"errors"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
	"github.com/byhand/byhand/unpack"
)

// ErrLinkTarget is the cause of an unpack.EntryError for a hard link to a
// file that neither the layer nor the layers below it have.
var ErrLinkTarget = errors.New("link target not found")

// settle completes a layer that was unpacked by itself with what only the
// layers below it can tell. staging is the layer's directory, parents are the
// lower dirs below it, base first.
//
//   - A directory without an entry of its own takes mode, owner, times and
//     extended attributes from the lower directory of its name. Where the
//     layers below have a symbolic link, what the layer put there moves to
//     where the link leads inside the root; a link that leads round in
//     circles or to something that is no directory is replaced by the
//     directory, as is any other file in its place: so Docker and the kernel
//     would have it.
//   - A hard link to a file of a lower layer becomes another name of that
//     very inode, which overlayfs shows as one file.
//   - A whiteout in a directory that merges with nothing below is removed:
//     overlayfs lists it as a name that cannot be opened.
//   - An opaque root hides what is below by whiteouts and opaque directories,
//     because overlayfs does not look at the attribute of a layer's root.
//
// Where a file moved through a link meets one that the layer names at that
// very place, the latter stays. Times of directories that settling itself
// changes are put back.
//
// record, which may be nil, is told where files go.
func settle(ctx context.Context, staging *os.File, parents []string, p unpack.Pending, userXattr bool, record *unpack.SettleRecord) error {
	if p.Empty() && len(p.Whiteouts) == 0 {
		return nil
	}
	if onlyRoot(p) && len(parents) > 1 {
		parents = parents[len(parents)-1:] // or images of many layers would take the square of their number
	}
	s, err := newSettler(staging, parents, p, userXattr)
	if err != nil {
		return err
	}
	s.record = record
	defer s.close()
	// Links can bring directories to where the visit was already.
	for i := 0; i < maxLinks && s.tree.open(); i++ {
		if err := s.visit(ctx, ".", s.tree, 0); err != nil {
			return err
		}
	}
	if err := s.links(ctx, p.HardLinks); err != nil {
		return err
	}
	if err := s.prune(ctx, p.Whiteouts); err != nil {
		return err
	}
	// A link can lead an opaque marker to the root as well.
	opaque, err := opaqueFD(s.root)
	if err != nil {
		return entryError(".", "settle directory", err)
	}
	if opaque || p.OpaqueRoot {
		return s.hideBelow()
	}
	return nil
}

// onlyRoot says that nothing but the root's attributes is asked for, which the
// topmost parent has: so it is with most layers that Docker makes.
func onlyRoot(p unpack.Pending) bool {
	return len(p.ImplicitDirs) == 1 && p.ImplicitDirs[0] == "." &&
		len(p.HardLinks) == 0 && len(p.Whiteouts) == 0 && !p.OpaqueRoot
}

// settler is the work on one layer.
type settler struct {
	layer      int        // the staging directory's number in merged
	root       int        // the staging directory
	below      *mergedDir // the parents alone
	merged     *mergedDir // the staging directory above the parents
	tree       *implicit
	moved      map[string]string // a directory's name and where its content went
	linked     map[string]bool   // names that hard links were made at
	copied     map[fileID]string // files that could only be copied, and the name of the copy
	walk       *cursor           // where settleDir was last; nil after anything moved
	opaqueAttr string
	buf        []byte
	record     *unpack.SettleRecord
}

func newSettler(staging *os.File, parents []string, p unpack.Pending, userXattr bool) (*settler, error) {
	s := &settler{
		layer: len(parents), below: &mergedDir{}, tree: newImplicit(p.ImplicitDirs),
		moved: map[string]string{}, linked: map[string]bool{}, copied: map[fileID]string{},
		opaqueAttr: opaqueTrusted, buf: make([]byte, direntBuf),
	}
	if userXattr {
		s.opaqueAttr = opaqueUser
	}
	if len(parents) > 0 {
		v, err := OpenView(parents)
		if err != nil {
			return nil, err
		}
		s.below = v.root
	}
	root, err := openDirAt(int(staging.Fd()), ".")
	if err != nil {
		s.below.close()
		return nil, err
	}
	s.root = root
	s.merged = &mergedDir{parts: []part{{layer: s.layer, fd: root}}}
	if !p.OpaqueRoot {
		s.merged.parts = append(s.merged.parts, s.below.parts...)
	}
	return s, nil
}

func (s *settler) close() {
	s.forgetWalk()
	s.below.close()
	_ = unix.Close(s.root)
}

// visit settles the directory name and those below it.
func (s *settler) visit(ctx context.Context, name string, t *implicit, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if t.state == stateImplicit {
		moved, err := s.settleDir(ctx, name, t, depth)
		if err != nil || moved {
			return err
		}
	}
	for _, kid := range slices.Sorted(maps.Keys(t.kids)) {
		if k := t.kids[kid]; k != nil { // it may have moved meanwhile
			if err := s.visit(ctx, path.Join(name, kid), k, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

// settleDir settles one implicit directory; moved tells that its content is
// elsewhere now, and settled.
func (s *settler) settleDir(ctx context.Context, name string, t *implicit, depth int) (moved bool, err error) {
	t.state = stateSettled
	if name == "." {
		if len(s.below.parts) > 0 {
			err = copyMeta(s.below.parts[0].fd, s.root)
		}
		return false, entryError(name, "settle directory", err)
	}
	dir, base := path.Split(name)
	c, err := s.walkTo(dir)
	if err != nil {
		return false, entryError(name, "settle directory", err)
	}
	if c.dir().parts[0].layer != s.layer {
		return false, nil
	}
	var st unix.Stat_t
	lower := &mergedDir{parts: c.dir().parts[1:]}
	n, ok, err := lower.lookup(base, &st)
	switch {
	case err != nil || !ok:
		return false, entryError(name, "settle directory", err)
	case n.typ == unix.DT_DIR:
		err = s.copyDirMeta(n.fd, c.dir().parts[0].fd, base)
		return false, entryError(name, "settle directory", err)
	case n.typ == unix.DT_LNK:
		s.walk = nil // ours alone: what follows moves things
		defer c.reset()
		moved, err = s.follow(ctx, c.dir().parts[0].fd, name, n, t, depth)
		return moved, entryError(name, "move through symbolic link", err)
	}
	return false, nil
}

func (s *settler) copyDirMeta(from, dirfd int, base string) error {
	src, err := openDirAt(from, base)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(src) }()
	dst, err := openDirAt(dirfd, base)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil // a conflict was settled in favour of another entry
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dst) }()
	return copyMeta(src, dst)
}

// walkTo is place for settleDir, which goes through the tree depth first: it
// starts where the last one ended, or deep trees would take the square of
// their depth. The cursor is lent until the next call.
func (s *settler) walkTo(name string) (*cursor, error) {
	var names []string
	for elem := range strings.SplitSeq(name, "/") {
		if elem != "" && elem != "." {
			names = append(names, elem)
		}
	}
	c := s.walk
	s.walk = nil
	if c == nil {
		c = newCursor(s.merged)
	}
	same := 0
	for same < len(names) && same < len(c.names) && names[same] == c.names[same] {
		same++
	}
	for len(c.names) > same {
		c.up()
	}
	if err := s.descend(c, names[same:]); err != nil {
		return nil, err
	}
	s.walk = c
	return c, nil
}

// forgetWalk is for whatever changes which directories there are.
func (s *settler) forgetWalk() {
	if s.walk != nil {
		s.walk.reset()
		s.walk = nil
	}
}

// place walks to a directory of the merged tree by its real name.
func (s *settler) place(name string) (*cursor, error) {
	c := newCursor(s.merged)
	if err := s.descend(c, strings.Split(name, "/")); err != nil {
		return nil, err
	}
	return c, nil
}

// descend walks on from where c is, or resets it.
func (s *settler) descend(c *cursor, names []string) error {
	for _, elem := range names {
		if elem == "" || elem == "." {
			continue
		}
		var st unix.Stat_t
		n, ok, err := c.dir().lookup(elem, &st)
		if err == nil && !ok {
			err = unix.ENOENT
		}
		if err == nil && n.typ != unix.DT_DIR {
			err = unix.ENOTDIR
		}
		if err == nil {
			err = c.down(n)
		}
		if err != nil {
			c.reset()
			return err
		}
	}
	return nil
}

// current tells where the name that the layer used is now.
func (s *settler) current(name string) string {
	if len(s.moved) == 0 {
		return name
	}
	at := ""
	for elem := range strings.SplitSeq(name, "/") {
		at = path.Join(at, elem)
		for range maxLinks {
			to, ok := s.moved[at]
			if !ok {
				break
			}
			at = to
		}
	}
	return at
}

// entryError names the entry that err is about; nil stays nil.
func entryError(name, op string, err error) error {
	var entry *unpack.EntryError
	if err == nil || errors.As(err, &entry) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &unpack.EntryError{Name: name, Op: op, Err: err}
}

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
