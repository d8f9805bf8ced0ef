package unpack

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/layername"
	"github.com/byhand/byhand/internal/sys"
)

// pendingLink is a hard link whose target may be in a lower layer.
type pendingLink struct {
	dir    *node
	base   string
	target string
	gone   bool // something else took the name
}

type linkKey struct {
	dir  *node
	base string
}

func (a *applier) putLink(_ context.Context, e *entry) error {
	a.res.Counts.HardLinks++
	name, err := layername.Clean(e.h.Linkname)
	if err != nil {
		return fmt.Errorf("target %q: %w", e.h.Linkname, err)
	}
	if name == "." {
		return fmt.Errorf("target %q: %w", e.h.Linkname, unix.EISDIR)
	}
	dir, base := layername.Split(name)
	from, rest, err := a.walk(dir, false)
	if err != nil {
		return err
	}
	if rest != "" {
		return a.pend(e, from.join(rest+"/"+base))
	}
	if from.kids[base] != nil {
		return fmt.Errorf("target %q: %w", e.h.Linkname, unix.EISDIR)
	}
	if from.marks[base] { // what the layer says is that it has none
		return a.pend(e, from.join(base))
	}
	err = a.link(e, from, base)
	if errors.Is(err, unix.ENOENT) {
		return a.pend(e, from.join(base))
	}
	return err
}

// link makes the entry's name a link to base in from.
func (a *applier) link(e *entry, from *node, base string) error {
	fromFD, err := a.tree.fd(from)
	if err != nil {
		return err
	}
	if from == e.dir && base == e.base {
		var st unix.Stat_t
		return sys.Fstatat(fromFD, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	}
	a.tree.pinned = from
	defer func() { a.tree.pinned = nil }()
	_, err = a.place(e, func(dirfd int) error {
		if from.gone { // it was in what the link replaces
			return unix.ENOENT
		}
		return sys.Linkat(fromFD, base, dirfd, e.base, 0)
	})
	return err
}

// pend leaves the link to be made when the lower layers are known.
func (a *applier) pend(e *entry, target string) error {
	if err := a.remember(linkCost + e.dir.size + int64(len(e.base)+len(target))); err != nil {
		return err
	}
	a.supersede(e.dir, e.base)
	if err := a.clear(e.dir, e.base); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	if a.linkAs == nil {
		a.linkAs = make(map[linkKey]int)
	}
	base := strings.Clone(e.base) // not the long name that it is part of
	a.linkAs[linkKey{e.dir, base}] = len(a.links)
	a.links = append(a.links, pendingLink{dir: e.dir, base: base, target: strings.Clone(target)})
	return nil
}

// supersede forgets a pending link at base in n, for something takes its
// name.
func (a *applier) supersede(n *node, base string) {
	if len(a.linkAs) == 0 {
		return
	}
	key := linkKey{n, base}
	if i, ok := a.linkAs[key]; ok {
		a.links[i].gone = true
		delete(a.linkAs, key)
	}
}

// pendingLinks returns the links that nothing took the place of.
func (a *applier) pendingLinks() []HardLink {
	var links []HardLink
	for _, l := range a.links {
		if !l.gone && !l.dir.gone {
			links = append(links, HardLink{Name: l.dir.join(l.base), Target: l.target})
		}
	}
	return links
}
