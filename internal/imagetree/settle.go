package imagetree

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/unpack"
)

// ErrLinkTarget is the cause of an unpack.EntryError for a hard link to a
// file that neither the layer nor the layers below it have.
var ErrLinkTarget = errors.New("link target not found")

// settler completes a layer that was read by itself with what only the layers
// below it can tell: the rules are those of package overlay, where they are
// set down.
type settler struct {
	layer  int
	limits unpack.Limits
	root   *node
	below  merged // the layers below alone
	merged merged // the layer above them
	tree   *implicit
	moved  map[string]string // a directory's name and where its content went
	linked map[string]bool   // names that hard links were made at
	made   int64             // directories
	walk   *cursor           // where walkTo was last; nil when directories may have changed since
}

// settle completes layer l, number index, on top of the settled layers below
// it, base first.
func settle(ctx context.Context, l *Layer, index int, below []*node, limits unpack.Limits) error {
	p := l.pending
	if p.Empty() {
		return nil
	}
	s := &settler{
		layer: index, limits: limits, root: l.root, below: stacked(below), tree: newImplicit(p.ImplicitDirs),
		moved: map[string]string{}, linked: map[string]bool{},
	}
	s.merged = merged{{index, l.root}}
	if !p.OpaqueRoot {
		s.merged = append(s.merged, s.below...)
	}
	// Links can bring directories to where the visit was already.
	for i := 0; i < maxLinks && s.tree.open(); i++ {
		if err := s.visit(ctx, ".", s.tree, 0); err != nil {
			return err
		}
	}
	if err := s.links(ctx, p.HardLinks); err != nil {
		return err
	}
	if err := s.prune(p.Whiteouts); err != nil {
		return err
	}
	// A link can lead an opaque marker to the root as well.
	if s.root.dir.opaque || p.OpaqueRoot {
		s.hideBelow()
	}
	return nil
}

// stacked returns the merged root of layers given base first.
func stacked(roots []*node) merged {
	m := make(merged, 0, len(roots))
	for i, root := range slices.Backward(roots) {
		m = append(m, part{i, root})
	}
	return m
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
		if len(s.below) > 0 {
			copyMeta(s.below[0].node, s.root)
		}
		return false, nil
	}
	dir, base := path.Split(name)
	c, err := s.walkTo(dir)
	if err != nil {
		return false, entryError(name, "settle directory", err)
	}
	if c.dir()[0].layer != s.layer {
		return false, nil
	}
	here := c.dir()[0].node
	f, ok := c.dir()[1:].lookup(base)
	switch {
	case !ok:
	case f.isDir():
		return false, entryError(name, "settle directory", copyDirMeta(f.node, here, base))
	case f.isSymlink():
		moved, err = s.follow(ctx, here, name, f.node, t, depth)
		return moved, entryError(name, "move through symbolic link", err)
	}
	return false, nil
}

// copyDirMeta gives the directory base in dir the metadata of from.
func copyDirMeta(from, dir *node, base string) error {
	dst := dir.dir.kids[base]
	if dst == nil {
		return unix.ENOENT
	}
	if dst.isDir() { // else a conflict was settled in favour of another entry
		copyMeta(from, dst)
	}
	return nil
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
	if err := c.descend(names[same:]); err != nil {
		return nil, err
	}
	s.walk = c
	return c, nil
}

// place walks to a directory of the merged tree by its real name.
func (s *settler) place(name string) (*cursor, error) {
	c := newCursor(s.merged)
	return c, c.descend(strings.Split(name, "/"))
}

// descend walks down by real names.
func (c *cursor) descend(names []string) error {
	for _, elem := range names {
		if elem == "" || elem == "." {
			continue
		}
		if err := checkName(elem); err != nil {
			return err
		}
		f, ok := c.dir().lookup(elem)
		if !ok {
			return unix.ENOENT
		}
		if !f.isDir() {
			return unix.ENOTDIR
		}
		c.down(elem, f)
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

// prune removes the whiteouts in directories that merge with nothing below.
func (s *settler) prune(names []string) error {
	for _, name := range names {
		name = s.current(name)
		c, err := s.place(path.Dir(name))
		if isAbsent(err) {
			continue
		}
		if err != nil {
			return entryError(name, "remove whiteout", err)
		}
		if len(c.dir()) > 1 || c.dir()[0].layer != s.layer {
			continue
		}
		kids := c.dir()[0].node.dir.kids
		if n := kids[path.Base(name)]; n != nil && n.isWhiteout() {
			delete(kids, path.Base(name))
		}
	}
	return nil
}

// hideBelow does what an opaque root means: every name of the layers below
// that the layer lacks gets a whiteout, every directory that both have is
// opaque.
func (s *settler) hideBelow() {
	for _, name := range s.below.names() {
		if _, ok := s.below.lookup(name); !ok {
			continue
		}
		switch n := s.root.dir.kids[name]; {
		case n == nil:
			s.root.dir.put(name, newWhiteout(int32(s.layer)))
		case n.isDir():
			n.dir.opaque = true
		}
	}
}

// entryError names the entry that err is about; nil stays nil.
func entryError(name, op string, err error) error {
	var entry *unpack.EntryError
	if err == nil || errors.As(err, &entry) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &unpack.EntryError{Name: name, Op: op, Err: err}
}
