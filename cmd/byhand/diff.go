package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"

	"github.com/byhand/byhand/internal/imagetree"
)

func diffCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "show what a layer adds, changes and deletes",
		UsageText: "byhand diff [-l] IMAGE [N]",
		Description: "Prints a line for each path that layer N, the base is 1, adds (A), changes (C) or\n" +
			"deletes (D), and says which directories are opaque. Without N it does so for\n" +
			"every layer, under a heading. A directory is changed when the layer has an entry\n" +
			"for it; one that its paths only pass through is not.\n\n" +
			"   byhand diff alpine 1\n" +
			"   byhand diff -l alpine",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "long", Aliases: []string{"l"}, Usage: "print how many bytes each path adds, and hides in lower layers"},
			keepBlobsFlag(),
		},
		Action: action(std, operands{min: 1, max: 2}, withTree(doDiff)),
	}
}

// layerDiff is what one layer does, for --json.
type layerDiff struct {
	Layer   int           `json:"layer"` // 1 is the base
	Digest  digest.Digest `json:"digest"`
	Changes []changeRow   `json:"changes"`
}

type changeRow struct {
	Kind     string `json:"kind"` // A, C or D
	Path     string `json:"path"`
	Bytes    []byte `json:"pathBytes,omitempty"` // of a path that JSON has no way to write, in base64
	Type     string `json:"type"`
	Size     int64  `json:"size"`               // of the content that the layer brings
	Hidden   int64  `json:"hidden"`             // bytes of lower layers that do not show any more
	Opaque   bool   `json:"opaque,omitempty"`   // the directory hides what lower layers have in it
	Whiteout bool   `json:"whiteout,omitempty"` // what deletes it; else it is in an opaque directory
}

func doDiff(ctx context.Context, t *imageTree) error {
	s := t.session
	first := 1
	if len(s.args) > 1 {
		n, err := layerNumber(s.args[1])
		if err != nil {
			return err
		}
		first, t.layers = n, n
	}
	if err := t.load(ctx, s.args[0]); err != nil {
		return err
	}
	for n := first; n <= t.Layers(); n++ {
		s.explain.Compared(n, n == first)
	}
	if s.flags.Bool("json") {
		return s.printJSONList(func(yield func(any) error) error {
			for n := first; n <= t.Layers(); n++ {
				d, err := t.layerDiff(ctx, n)
				if err == nil {
					err = yield(d)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return s.output(func(w io.Writer) error {
		for n := first; n <= t.Layers(); n++ {
			if len(s.args) == 1 {
				if err := t.diffHeading(w, n); err != nil {
					return err
				}
			}
			if err := t.printChanges(ctx, w, n); err != nil {
				return err
			}
		}
		return nil
	})
}

func (t *imageTree) layerDiff(ctx context.Context, n int) (*layerDiff, error) {
	d := &layerDiff{Layer: n, Digest: t.img.Layers[n-1].Descriptor.Digest, Changes: []changeRow{}}
	err := t.Changes(ctx, n, func(c imagetree.Change) error {
		d.Changes = append(d.Changes, newChangeRow(n, &c))
		return nil
	})
	return d, err
}

func (t *imageTree) diffHeading(w io.Writer, n int) error {
	between := ""
	if n > 1 {
		between = "\n"
	}
	_, err := fmt.Fprintf(w, "%slayer %d %s\n", between, n, t.img.Layers[n-1].Descriptor.Digest)
	return err
}

func (t *imageTree) printChanges(ctx context.Context, w io.Writer, n int) error {
	s := t.session
	long := s.flags.Bool("long")
	return t.Changes(ctx, n, func(c imagetree.Change) error {
		row := newChangeRow(n, &c)
		line := row.Kind + " "
		if long {
			line += fmt.Sprintf("%12s %12s ", bytesOrDash(row.Size), bytesOrDash(row.Hidden))
		}
		_, err := fmt.Fprintln(w, line+s.fileName(row.Path)+row.marker())
		return err
	})
}

func bytesOrDash(n int64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

// marker names what in the layer makes the change, where it is a marker.
func (r *changeRow) marker() string {
	switch {
	case r.Opaque:
		return " (opaque)"
	case r.Whiteout:
		return " (whiteout)"
	case r.Kind == string(imagetree.Deleted):
		return " (in an opaque directory)"
	}
	return ""
}

func newChangeRow(layer int, c *imagetree.Change) changeRow {
	return changeRow{
		Kind: string(c.Kind), Path: rooted(c.Entry.Name), Bytes: oddBytes(rooted(c.Entry.Name)), Type: fileType(c.Entry.Mode),
		Size: c.Added(layer), Hidden: c.Hidden, Opaque: c.Opaque, Whiteout: c.Whiteout,
	}
}
