package imagetree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/unpack"
)

// Source is a layer's content.
type Source interface {
	// Open returns the layer's uncompressed tar. The stream ends in io.EOF
	// only if it is what it should be; any other end is an error. Open is
	// called once to build the tree and once for each export.
	Open(ctx context.Context) (io.ReadCloser, error)
}

// Options configure Build. The zero value is ready to use.
type Options struct {
	// Limits bound what each layer may ask for; zero fields mean the
	// defaults of package unpack.
	Limits unpack.Limits
	// Jobs is how many layers are read at once, by Build and by Export; 0
	// means one per processor.
	Jobs int
}

// Tree is the merged tree of an image or of the lower part of one. It may be
// used by several goroutines.
type Tree struct {
	root    merged
	roots   []*node // of the layers, base first
	files   [][]uint32
	sources []Source
	skipped [][]unpack.Skip
	facts   []facts
	limits  unpack.Limits
	jobs    int // see Options
}

// Build reads the headers of all layers, base first. Each stream is read to
// its end, so that the tree holds nothing unverified.
//
// Errors are those of unpack.Apply, of the sources, or ctx's; errors at an
// entry of a layer are *unpack.EntryError. The layer's number is said in
// front.
func Build(ctx context.Context, layers []Source, o Options) (*Tree, error) {
	if o.Jobs <= 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	t := &Tree{sources: layers, limits: o.Limits.WithDefaults(), jobs: o.Jobs}
	read := make([]*Layer, len(layers))
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(o.Jobs)
	for i, source := range layers {
		group.Go(func() (err error) {
			read[i], err = openLayer(each, i, source, t.limits)
			return inLayer(i, err)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := t.stack(ctx, read); err != nil {
		return nil, err
	}
	return t, nil
}

// Stack settles layers that ReadLayer read, base first, on one another. Each
// can be used once. The tree has no sources, so it cannot be exported. With an
// error at one layer comes the tree of those below it.
func Stack(ctx context.Context, layers []*Layer, limits unpack.Limits) (*Tree, error) {
	t := &Tree{limits: limits.WithDefaults(), sources: make([]Source, len(layers))}
	return t, t.stack(ctx, layers)
}

func (t *Tree) stack(ctx context.Context, layers []*Layer) error {
	defer func() { t.root = stacked(t.roots) }()
	for i, l := range layers {
		if err := settleLayer(ctx, l, i, t.roots, t.limits); err != nil {
			return inLayer(i, err)
		}
		t.roots = append(t.roots, l.root)
		t.files = append(t.files, l.files)
		t.skipped = append(t.skipped, l.skipped)
		t.facts = append(t.facts, l.facts)
		layers[i] = nil // its pending is not needed any more
	}
	return nil
}

func openLayer(ctx context.Context, index int, source Source, limits unpack.Limits) (_ *Layer, err error) {
	r, err := source.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return ReadLayer(ctx, index, r, ReadOptions{Limits: limits})
}

// inLayer says which layer err is about, counted from 1; nil stays nil.
func inLayer(index int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("layer %d: %w", index+1, err)
}

// Layers returns how many layers the tree is made of.
func (t *Tree) Layers() int { return len(t.roots) }

// Skipped tells what of layer n, counted from 1, no Linux file can have and is
// not in the tree, one element per kind.
func (t *Tree) Skipped(n int) []unpack.Skip { return t.skipped[n-1] }

// Upto returns the tree that the first n layers make.
func (t *Tree) Upto(n int) *Tree {
	lower := *t
	lower.roots, lower.files, lower.sources = t.roots[:n], t.files[:n], t.sources[:n]
	lower.skipped, lower.facts = t.skipped[:n], t.facts[:n]
	lower.root = stacked(lower.roots)
	return &lower
}

// Walk calls fn for every file of the tree, the root "." first, a directory
// before what it holds, names within it in byte order. An error of fn ends
// the walk and is returned. A tree of no layers is an empty root.
func (t *Tree) Walk(ctx context.Context, fn func(Entry) error) error {
	f := t.top()
	if err := fn(newEntry(".", f)); err != nil {
		return err
	}
	return walk(ctx, f.sub, "", fn)
}

// WalkBelow calls fn as Walk does, for what is below the directory name alone.
func (t *Tree) WalkBelow(ctx context.Context, name string, fn func(Entry) error) error {
	dir, prefix, err := t.findDir(name)
	if err != nil {
		return err
	}
	return walk(ctx, dir, prefix, fn)
}

// walk walks what d holds. prefix ends in a slash, or is empty for the root.
func walk(ctx context.Context, d merged, prefix string, fn func(Entry) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, base := range d.names() {
		f, ok := d.lookup(base)
		if !ok {
			continue
		}
		if err := fn(newEntry(prefix+base, f)); err != nil {
			return err
		}
		if f.isDir() {
			if err := walk(ctx, f.sub, prefix+base+"/", fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// top returns the root.
func (t *Tree) top() found {
	if len(t.root) == 0 {
		return found{node: newDir(0)}
	}
	return found{node: t.root[0].node, layer: t.root[0].layer, sub: t.root}
}

// Lookup finds a name as a process chrooted into the tree would. A symbolic
// link at the end is followed if follow is set. The entry has the name at
// which the file really is. Errors are *fs.PathError.
func (t *Tree) Lookup(name string, follow bool) (Entry, error) {
	f, real, err := t.find(name, follow)
	if err != nil {
		return Entry{}, err
	}
	return newEntry(real, f), nil
}

// ReadDir gives what the directory holds, names in byte order. A symbolic link
// to one will do. Errors are *fs.PathError. Entries are made one at a time, as
// those of a large directory take several times the memory of the tree.
func (t *Tree) ReadDir(name string) (iter.Seq[Entry], error) {
	dir, prefix, err := t.findDir(name)
	if err != nil {
		return nil, err
	}
	return func(yield func(Entry) bool) {
		for _, base := range dir.names() {
			if kid, ok := dir.lookup(base); ok && !yield(newEntry(prefix+base, kid)) {
				return
			}
		}
	}, nil
}

// findDir finds a directory, and what stands before the names of what it
// holds.
func (t *Tree) findDir(name string) (dir merged, prefix string, err error) {
	f, real, err := t.find(name, true)
	switch {
	case err != nil:
		return nil, "", err
	case !f.isDir():
		return nil, "", &fs.PathError{Op: "read directory", Path: name, Err: unix.ENOTDIR}
	case real == ".":
		return f.sub, "", nil
	}
	return f.sub, real + "/", nil
}
