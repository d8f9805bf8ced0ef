package imagetree

import (
	"context"
	"errors"
	"io"
	"math"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/layername"
	"github.com/byhand/byhand/internal/tarstream"
	"github.com/byhand/byhand/unpack"
)

// Layer is one layer by itself, as unpack.Apply would leave it.
type Layer struct {
	root    *node
	files   []uint32 // ordinals of the entries of regular files
	pending unpack.Pending
	skipped []unpack.Skip
	facts   facts
}

// reader reads one layer into memory. Its methods are those of unpack's
// applier, with nodes in the place of files.
type reader struct {
	limits              unpack.Limits
	index               int32
	tar                 *tarstream.Reader
	root                *node
	bytes               int64
	memory              int64 // see remember
	entries             int64
	ordinal             int64 // of the current entry
	anyOwner, noDevices bool  // see ReadOptions
	counts              unpack.Counts
	skips               map[unpack.SkipKind]*unpack.Skip
	pending             unpack.Pending
	files               []uint32

	// The directory of the last entry as written. Forgotten whenever
	// something is removed.
	lastDir  string
	lastNode *node

	links  []pendingLink
	linkAs map[linkKey]int // index in links
	aufs   bool            // there may be something at layername.AUFSLinks
}

// ReadOptions say what a layer lacks that was unpacked by one who may not do
// everything; the zero value lacks nothing.
type ReadOptions struct {
	Limits unpack.Limits // zero fields mean the defaults of package unpack
	// AnyOwner takes owners that no file can have, as unpack does with its
	// Squash; what they are in the tree is of no use.
	AnyOwner bool
	// NoDevices leaves out devices, as one who may not make them.
	NoDevices bool
}

// ReadLayer reads the uncompressed tar of layer number index, 0 is the base,
// from r to its end.
func ReadLayer(ctx context.Context, index int, r io.Reader, o ReadOptions) (*Layer, error) {
	limits := o.Limits.WithDefaults()
	l := &reader{
		anyOwner: o.AnyOwner, noDevices: o.NoDevices,
		limits: limits, index: int32(index), root: newDir(int32(index)),
		tar:   tarstream.NewReader(r, tarstream.Options{HeaderSize: limits.HeaderSize}),
		skips: map[unpack.SkipKind]*unpack.Skip{},
	}
	l.root.dir.work = &work{}
	err := l.run(ctx)
	if err != nil && damaged(err) {
		// The stream knows better what is wrong, if it finds that the
		// content is not what was asked for.
		if verdict := l.tar.Drain(); verdict != nil {
			err = verdict
		}
	}
	if err != nil {
		return nil, err
	}
	l.counts.Entries = int(l.ordinal)
	out := &Layer{root: l.root, files: l.files, pending: l.pending, facts: facts{l.counts, l.tar.Offset()}}
	for kind := unpack.SkipKind(0); len(out.skipped) < len(l.skips); kind++ {
		if s := l.skips[kind]; s != nil {
			out.skipped = append(out.skipped, *s)
		}
	}
	return out, nil
}

// damaged says whether err may come of content that is not what it should be.
func damaged(err error) bool {
	var format *unpack.FormatError
	return errors.As(err, &format) || errors.Is(err, unpack.ErrEscape) || errors.Is(err, unpack.ErrHostile)
}

func (l *reader) run(ctx context.Context) error {
	for l.ordinal = 0; ; l.ordinal++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := l.tar.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		e := entry{h: h}
		if err := l.apply(&e); err != nil {
			return e.wrap(err)
		}
	}
	if err := l.tar.Drain(); err != nil {
		return err
	}
	return l.finish(ctx)
}

func (l *reader) apply(e *entry) error {
	if err := l.countEntry(); err != nil {
		return err
	}
	if err := l.locate(e); err != nil || e.put == nil {
		return err
	}
	return e.put(l, e)
}

// What is remembered takes about this many bytes beside names, as in unpack.
const (
	nodeCost     = 400 // a directory
	whiteoutCost = 150
	linkCost     = 200 // a pending hard link
	nameCost     = 50  // a name in Pending
)

// remember counts memory that lasts as long as the tree.
func (l *reader) remember(n int64) error {
	l.memory += n
	if l.memory > l.limits.Memory {
		return &unpack.LimitError{Limit: "memory", Max: l.limits.Memory, Got: l.memory}
	}
	return nil
}

func (l *reader) countEntry() error {
	l.entries++
	if l.entries > l.limits.Entries {
		return &unpack.LimitError{Limit: "entries", Max: l.limits.Entries, Got: l.entries}
	}
	if l.ordinal > math.MaxUint32 {
		return &unpack.LimitError{Limit: "entries", Max: math.MaxUint32, Got: l.ordinal}
	}
	return nil
}

func (l *reader) skip(kind unpack.SkipKind, name, what string, err error) {
	s := l.skips[kind]
	if s == nil {
		s = &unpack.Skip{Kind: kind, Name: name, What: what, Err: err}
		l.skips[kind] = s
	}
	s.Count++
}

// finish does what has to wait for the last entry.
func (l *reader) finish(ctx context.Context) error {
	if l.aufs && l.root.dir.kids[layername.AUFSLinks] != nil {
		l.clear(l.root, layername.AUFSLinks)
	}
	if w := l.root.dir.work; w.opaque {
		l.pending.OpaqueRoot = true
		for _, kid := range l.root.dir.kids {
			if kid.isDir() {
				kid.dir.work.hidden = true
			}
		}
	}
	for _, p := range l.links {
		if !p.gone && !p.dir.dir.gone {
			l.pending.HardLinks = append(l.pending.HardLinks, unpack.HardLink{Name: join(p.dir, p.base), Target: p.target})
		}
	}
	return l.finishDir(ctx, l.root, "", false)
}

// finishDir completes n. prefix ends in a slash, or is empty for the root;
// covered says that lower layers have no say below the parent.
func (l *reader) finishDir(ctx context.Context, n *node, prefix string, covered bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := n.dir.work
	n.dir.work = nil
	covered = covered || w.hidden
	n.dir.implicit = !w.explicit
	if !w.explicit && !covered {
		name := strings.TrimSuffix(prefix, "/")
		if name == "" {
			name = "."
		}
		l.pending.ImplicitDirs = append(l.pending.ImplicitDirs, name)
	}
	covered = covered || w.opaque && w.parent != nil
	for _, name := range sortedTrue(w.marks) {
		if covered {
			delete(n.dir.kids, name)
		} else {
			l.pending.Whiteouts = append(l.pending.Whiteouts, prefix+name)
		}
	}
	covered = covered || w.opaque
	n.dir.opaque = w.opaque || w.hidden
	for _, name := range sortedDirs(n.dir.kids) {
		if err := l.finishDir(ctx, n.dir.kids[name], prefix+name+"/", covered); err != nil {
			return err
		}
	}
	return nil
}

// checkName refuses what no file system takes for a name.
func checkName(base string) error {
	if len(base) > unix.NAME_MAX {
		return unix.ENAMETOOLONG
	}
	return nil
}
