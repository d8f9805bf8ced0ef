// Package settle completes a layer that was unpacked by itself with what only
// the layers below it can tell. The rules are here once, for layers on disk
// (package overlay) and in memory (package imagetree), which implement [Layer].
//
//   - A directory without an entry of its own takes mode, owner, times and
//     extended attributes from the lower directory of its name. Where the
//     layers below have a symbolic link, what the layer put there moves to
//     where the link leads inside the root; a link that leads round in
//     circles or to something that is no directory is replaced by the
//     directory, as is any other file in its place: so Docker and the kernel
//     would have it.
//   - A hard link to a file of a lower layer becomes another name of that
//     very file.
//   - A whiteout in a directory that merges with nothing below is removed:
//     overlayfs lists it as a name that cannot be opened.
//   - An opaque root hides what is below by whiteouts and opaque directories,
//     because overlayfs does not look at the attribute of a layer's root.
//
// The differential tests of both implementations are in package overlay.
//
// Where a file moved through a link meets one that the layer names at that
// very place, the latter stays. Times of directories that settling itself
// changes are put back.
package settle

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/mergewalk"
	"github.com/byhand/byhand/unpack"
)

// ErrLinkTarget is the cause of an unpack.EntryError for a hard link to a
// file that neither the layer nor the layers below it have.
var ErrLinkTarget = errors.New("link target not found")

// Settler is the work on one layer.
type Settler[D Dir[D, F], F mergewalk.File, H any] struct {
	layer  Layer[D, F, H]
	below  D // the layers below alone
	merged D // the layer above them
	tree   *names
	moved  map[string]string       // a directory's name and where its content went
	linked map[string]bool         // names that hard links were made at
	walk   *mergewalk.Cursor[D, F] // where walkTo was last; nil after anything moved
}

// Settle completes the layer. merged is the layer above those below it, or
// alone if its root hides them; below, which may be empty, is those alone. Both
// stay the caller's. Errors at an entry are *unpack.EntryError.
func Settle[D Dir[D, F], F mergewalk.File, H any](ctx context.Context, layer Layer[D, F, H], merged, below D, p unpack.Pending) error {
	s := &Settler[D, F, H]{
		layer: layer, below: below, merged: merged, tree: newNames(p.ImplicitDirs),
		moved: map[string]string{}, linked: map[string]bool{},
	}
	defer s.forgetWalk()
	// Links can bring directories to where the visit was already.
	for i := 0; i < mergewalk.MaxLinks && s.tree.open(); i++ {
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
	opaque, err := layer.Opaque(layer.Root())
	if err != nil {
		return EntryError(".", "settle directory", err)
	}
	if opaque || p.OpaqueRoot {
		return s.hideBelow()
	}
	return nil
}

// visit settles the directory name and those below it.
func (s *Settler[D, F, H]) visit(ctx context.Context, name string, t *names, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if t.state == implicit {
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
func (s *Settler[D, F, H]) settleDir(ctx context.Context, name string, t *names, depth int) (moved bool, err error) {
	const op = "settle directory"
	t.state = settled
	if name == "." {
		return false, EntryError(name, op, s.settleRoot())
	}
	dir, base := path.Split(name)
	c, err := s.walkTo(dir)
	if err != nil {
		return false, EntryError(name, op, err)
	}
	here, ok := s.layer.Top(c.Dir())
	if !ok {
		return false, nil
	}
	f, ok, err := s.layer.Below(c.Dir()).Lookup(base)
	switch {
	case err != nil || !ok:
		return false, EntryError(name, op, err)
	case f.IsDir():
		return false, EntryError(name, op, s.inherit(here, base, f))
	case f.IsSymlink():
		s.walk = nil // ours alone: what follows moves things
		defer c.Reset()
		moved, err = s.follow(ctx, here, name, f, t, depth)
		return moved, EntryError(name, "move through symbolic link", err)
	}
	return false, nil
}

func (s *Settler[D, F, H]) settleRoot() error {
	if s.below.Empty() {
		return nil
	}
	from, err := s.below.Self()
	if err != nil {
		return err
	}
	return s.layer.Inherit(s.layer.Root(), from)
}

// inherit gives the directory base in dir what the lower directory from says.
func (s *Settler[D, F, H]) inherit(dir H, base string, from F) error {
	dst, err := s.layer.Open(dir, base)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil // a conflict was settled in favour of another entry
	}
	if err != nil {
		return err
	}
	defer s.layer.Close(dst)
	return s.layer.Inherit(dst, from)
}

// walkTo is place for settleDir, which goes through the tree depth first: it
// starts where the last one ended, or deep trees would take the square of
// their depth. The cursor is lent until the next call.
func (s *Settler[D, F, H]) walkTo(name string) (*mergewalk.Cursor[D, F], error) {
	var names []string
	for elem := range strings.SplitSeq(name, "/") {
		if elem != "" && elem != "." {
			names = append(names, elem)
		}
	}
	c := s.walk
	s.walk = nil
	if c == nil {
		c = mergewalk.New[D, F](s.merged)
	}
	same := 0
	for same < min(len(names), len(c.Names())) && names[same] == c.Names()[same] {
		same++
	}
	for len(c.Names()) > same {
		c.Up()
	}
	if err := c.Descend(names[same:]); err != nil {
		c.Reset()
		return nil, err
	}
	s.walk = c
	return c, nil
}

// forgetWalk is for whatever changes which directories there are.
func (s *Settler[D, F, H]) forgetWalk() {
	if s.walk != nil {
		s.walk.Reset()
		s.walk = nil
	}
}

// place walks to a directory of the merged tree by its real name.
func (s *Settler[D, F, H]) place(name string) (*mergewalk.Cursor[D, F], error) {
	c := mergewalk.New[D, F](s.merged)
	if err := c.Descend(strings.Split(name, "/")); err != nil {
		c.Reset()
		return nil, err
	}
	return c, nil
}

// current tells where the name that the layer used is now.
func (s *Settler[D, F, H]) current(name string) string {
	if len(s.moved) == 0 {
		return name
	}
	at := ""
	for elem := range strings.SplitSeq(name, "/") {
		at = path.Join(at, elem)
		for range mergewalk.MaxLinks {
			to, ok := s.moved[at]
			if !ok {
				break
			}
			at = to
		}
	}
	return at
}

// EntryError names the entry that err is about; nil stays nil, and so does an
// error that names one or is the context's.
func EntryError(name, op string, err error) error {
	var entry *unpack.EntryError
	if err == nil || errors.As(err, &entry) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &unpack.EntryError{Name: name, Op: op, Err: err}
}
