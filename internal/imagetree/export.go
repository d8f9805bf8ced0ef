package imagetree

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"slices"

	"github.com/byhand/byhand/unpack"
)

// Export writes the tree to w as one tar, in the order that the package's
// comment describes. Layers that hold content are opened once more and read to
// their end; if one does not end well, nor does Export.
//
// Holes of sparse files count as bytes here: what a layer's files would take
// is bounded by the limit "bytes".
func (t *Tree) Export(ctx context.Context, w io.Writer) (err error) {
	names, layers, err := t.plan(ctx)
	if err != nil {
		return err
	}
	buf := bufio.NewWriterSize(w, 64<<10)
	x := &exporter{tar: &tarWriter{w: buf}, files: files{layers: layers}}
	defer func() { err = errors.Join(err, x.files.close()) }()
	if err := x.files.ahead(ctx, t.jobs); err != nil {
		return err
	}
	for i := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := x.entry(ctx, names, i); err != nil {
			return err
		}
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
	first int // which of the names is the first of this file
}

// plan lists the names in the order of the tar, and what of each layer's
// content is in it.
func (t *Tree) plan(ctx context.Context) ([]named, []layerFiles, error) {
	var names []named
	byLayer := make([][]int, len(t.sources)) // of names of files
	err := t.Walk(ctx, func(e Entry) error {
		if !e.IsDir() {
			byLayer[e.node.layer] = append(byLayer[e.node.layer], len(names))
		}
		names = append(names, named{name: e.Name, node: e.node, first: len(names)})
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	layers := make([]layerFiles, len(t.sources))
	for i := range layers {
		layers[i].index, layers[i].source = i, t.sources[i]
		if err := layers[i].plan(names, byLayer[i], t.limits.Bytes); err != nil {
			return nil, nil, inLayer(i, err)
		}
	}
	return names, layers, nil
}

// plan puts the layer's files in the order of its archive, finds the names
// that are hard links, and refuses what is too large with its holes.
func (l *layerFiles) plan(names []named, indexes []int, limit int64) error {
	slices.SortFunc(indexes, func(a, b int) int {
		return cmp.Or(cmp.Compare(names[a].node.ordinal, names[b].node.ordinal), cmp.Compare(a, b))
	})
	first := 0
	for i, index := range indexes {
		n := names[index].node
		if i > 0 && names[first].node == n {
			names[index].first = first
			continue
		}
		first = index
		if !n.isRegular() || n.size == 0 {
			continue
		}
		if n.size > limit-l.size {
			over := &unpack.LimitError{Limit: "bytes", Max: limit, Got: max(n.size, limit+1)}
			return &unpack.EntryError{Name: names[index].name, Op: "write with its holes", Err: over}
		}
		l.size += n.size
		l.wanted = append(l.wanted, n)
	}
	return nil
}

// exporter writes entries with their content.
type exporter struct {
	tar   *tarWriter
	files files
}

// entry writes the i-th of the names.
func (x *exporter) entry(ctx context.Context, names []named, i int) error {
	name, n, link := names[i].name, names[i].node, ""
	if n.isDir() {
		name += "/"
	}
	if names[i].first != i {
		link = names[names[i].first].name
	}
	if err := x.tar.header(name, n, link); err != nil || link != "" || !n.isRegular() || n.size == 0 {
		return err
	}
	if err := x.files.copy(ctx, n, x.tar.write); err != nil {
		return err
	}
	return x.tar.pad(n.size)
}
