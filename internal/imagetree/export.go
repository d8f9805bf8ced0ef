package imagetree

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/byhand/byhand/unpack"
)

// Export writes the tree to w as one tar, in the order that the package's
// comment describes. Layers that hold content are opened once more, one after
// the other, and read to their end; if one does not end well, nor does Export.
//
// Holes of sparse files count as bytes here: what a layer's files would take
// is bounded by the limit "bytes".
func (t *Tree) Export(ctx context.Context, w io.Writer) error {
	dirs, layers, err := t.plan(ctx)
	if err != nil {
		return err
	}
	buf := bufio.NewWriterSize(w, 64<<10)
	x := &exporter{tar: &tarWriter{w: buf}}
	if err := x.dirs(dirs, func(named) bool { return true }); err != nil {
		return err
	}
	for i, files := range layers {
		if err := x.layer(ctx, t.sources[i], files); err != nil {
			return inLayer(i, err)
		}
	}
	if err := x.dirs(dirs, func(d named) bool { return d.holds }); err != nil {
		return err
	}
	if err := x.tar.close(); err != nil {
		return err
	}
	return buf.Flush()
}

// named is a name in the tree.
type named struct {
	name  string
	node  *node
	holds bool // of a directory: something else than directories is in it
}

// plan lists the directories, and by layer all else in the order of the tar.
func (t *Tree) plan(ctx context.Context) (dirs []named, layers [][]named, err error) {
	layers = make([][]named, len(t.roots))
	index := map[string]int{} // of directories
	err = t.Walk(ctx, func(e Entry) error {
		f := named{name: e.Name, node: e.node}
		if e.IsDir() {
			index[e.Name] = len(dirs)
			dirs = append(dirs, f)
			return nil
		}
		dirs[index[path.Dir(e.Name)]].holds = true
		layers[e.node.layer] = append(layers[e.node.layer], f)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return dirs, layers, t.order(layers)
}

// order puts the files of each layer in the order of its archive, and refuses
// what is too large with its holes.
func (t *Tree) order(layers [][]named) error {
	for i, files := range layers {
		slices.SortFunc(files, func(a, b named) int {
			return cmp.Or(cmp.Compare(a.node.ordinal, b.node.ordinal), strings.Compare(a.name, b.name))
		})
		var sum int64
		for j, f := range files {
			if !f.node.isRegular() || j > 0 && files[j-1].node == f.node {
				continue
			}
			if f.node.size > t.limits.Bytes-sum {
				over := &unpack.LimitError{Limit: "bytes", Max: t.limits.Bytes, Got: max(f.node.size, t.limits.Bytes+1)}
				return inLayer(i, entryError(f.name, "write with its holes", over))
			}
			sum += f.node.size
		}
	}
	return nil
}

// exporter writes files with their content.
type exporter struct{ tar *tarWriter }

// dirs writes the directories that are wanted.
func (x *exporter) dirs(dirs []named, wanted func(named) bool) error {
	for _, d := range dirs {
		if !wanted(d) {
			continue
		}
		if err := x.tar.header(d.name+"/", d.node, ""); err != nil {
			return err
		}
	}
	return nil
}

// layer writes the files of one layer, which are in the order of its archive.
func (x *exporter) layer(ctx context.Context, source Source, files []named) (err error) {
	if !slices.ContainsFunc(files, func(f named) bool { return f.node.isRegular() && f.node.size > 0 }) {
		return x.files(ctx, nil, files)
	}
	r, err := source.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	in := newContent(r)
	if err := x.files(ctx, in, files); err != nil {
		return err
	}
	return in.tar.Drain()
}

func (x *exporter) files(ctx context.Context, in *content, files []named) error {
	for i, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if i > 0 && files[i-1].node == f.node {
			first := i - 1
			for first > 0 && files[first-1].node == f.node {
				first--
			}
			if err := x.tar.header(f.name, f.node, files[first].name); err != nil {
				return err
			}
			continue
		}
		if err := x.tar.header(f.name, f.node, ""); err != nil {
			return err
		}
		if f.node.isRegular() && f.node.size > 0 {
			if err := x.content(ctx, in, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// content writes what f holds, and pads it.
func (x *exporter) content(ctx context.Context, in *content, f named) error {
	h, err := in.seek(f.node)
	if err != nil {
		return err
	}
	if err := in.copyTo(ctx, h, x.tar.write); err != nil {
		return err
	}
	return x.tar.pad(h.Size)
}
