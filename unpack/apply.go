package unpack

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
	"github.com/byhand/byhand/internal/tarstream"
	"golang.org/x/sys/unix"
)

// Apply reads one layer's uncompressed tar from r to EOF and builds its lower
// directory in dir, which is empty and nobody else's for the time being. If r
// has a method NextChunk() ([]byte, error) that hands out its own buffers,
// each valid until the next call, these are used without a copy.
//
// Errors are *EntryError, *FormatError, *LimitError (also inside an
// EntryError), ctx's, or what r returned. Only if there is none is dir what
// the layer says, apart from Result.Pending and Result.Skipped.
func Apply(ctx context.Context, dir *os.File, r io.Reader, o Options) (Result, error) {
	a, err := newApplier(ctx, dir, r, o)
	if err != nil {
		return Result{}, err
	}
	defer a.tree.closeAll()
	err = a.run(ctx)
	if err != nil && damaged(err) {
		// The reader knows better what is wrong, if it finds that the
		// content is not what was asked for.
		if verdict := a.tar.Drain(); verdict != nil {
			err = verdict
		}
	}
	runtime.KeepAlive(dir) // its finalizer closes the descriptor
	a.res.TarSize = a.tar.Offset()
	a.res.Skipped = slices.DeleteFunc(a.skips[:], func(s Skip) bool { return s.Count == 0 })
	return a.res, err
}

// damaged says whether err may come of content that is not what it should be.
func damaged(err error) bool {
	var format *FormatError
	return errors.As(err, &format) || errors.Is(err, ErrEscape) || errors.Is(err, ErrHostile)
}

// applier is the state of one Apply.
type applier struct {
	o      Options
	limits Limits
	tar    *tarstream.Reader
	entry  entry // under work
	tree   tree
	res    Result
	skips  [skipKinds]Skip
	record *recorder // nil if none is asked for

	// The directory of the last entry as written, for the next is mostly in
	// the same. Forgotten whenever something is removed.
	lastDir  string
	lastNode *node

	// The directory that pathIn was asked for last, and its name.
	pathNode *node
	path     string

	links  []pendingLink
	linkAs map[linkKey]int // index in links

	entries    int64
	memory     int64 // see remember
	euid, egid int64
	umask      uint32
	noChown    bool // the caller has no privilege to
	aufs       bool // there may be something at layername.AUFSLinks
}

func newApplier(ctx context.Context, dir *os.File, r io.Reader, o Options) (*applier, error) {
	fd := int(dir.Fd())
	a := &applier{
		o: o, limits: o.Limits.WithDefaults(),
		tree:  tree{openat2: !o.NoOpenat2 && rootfd.HasOpenat2(fd)},
		euid:  int64(os.Geteuid()),
		egid:  int64(os.Getegid()),
		umask: sys.Umask(),
	}
	to := tarstream.Options{HeaderSize: a.limits.HeaderSize}
	if o.Record != nil {
		a.record = newRecorder(ctx, o.Record, a.limits.Bytes)
		a.record.out = []byte(recordMagic)
		to.Meta = a.record.meta
	}
	a.tar = tarstream.NewReader(r, to)
	for kind := range a.skips {
		a.skips[kind].Kind = SkipKind(kind)
	}
	// What the directory was given by the one that it is in would be passed
	// on to all that is made in it.
	err := sys.Fremovexattr(fd, xattrDefaultACL)
	if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) {
		return nil, &EntryError{".", "prepare directory", err}
	}
	if err := sys.Fchmod(fd, 0o755); err != nil {
		return nil, &EntryError{".", "prepare directory", err}
	}
	var st unix.Stat_t
	if err := sys.Fstat(fd, &st); err != nil {
		return nil, &EntryError{".", "prepare directory", err}
	}
	a.tree.root = &node{fd: fd, made: 0o755, mode: 0o755, gid: int(st.Gid)}
	return a, nil
}

func (a *applier) run(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := a.tar.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := a.apply(ctx, h); err != nil {
			return err
		}
	}
	// The reader's verdict comes at its very end, so what follows the
	// archive must be read as well.
	if err := a.tar.Drain(); err != nil {
		return err
	}
	if err := a.finish(ctx); err != nil {
		return err
	}
	return a.record.finish()
}

// apply puts one entry in place.
func (a *applier) apply(ctx context.Context, h *tarstream.Header) error {
	a.res.Counts.Entries++
	e := &a.entry
	*e = entry{h: h}
	err := a.countEntry()
	if err == nil {
		err = a.locate(e)
	}
	if err == nil && e.put != nil {
		err = e.put(a, ctx, e)
	}
	if err != nil {
		return e.wrap(err)
	}
	if a.o.Entry != nil && e.put != nil {
		a.o.Entry(e.describe())
	}
	return nil
}

func (a *applier) countEntry() error {
	a.entries++
	if a.entries > a.limits.Entries {
		return &LimitError{Limit: "entries", Max: a.limits.Entries, Got: a.entries}
	}
	return nil
}
