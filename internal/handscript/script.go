package handscript

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/pull"
)

// Script says what the script is to do.
type Script struct {
	// Dir is the bundle directory, as the script's user is to see it.
	Dir string
	// Image is the image, whose layers may be opened.
	Image *pull.Image
	// Tree is the merged tree of all its layers.
	Tree *imagetree.Tree
	// Record becomes image.json. Its RootFS decides on an overlay or a flat
	// tree.
	Record bundle.Image
	// Options are config.json's.
	Options bundle.Options
	// Mount leaves the overlay mounted.
	Mount bool
	// Endpoints are where content comes from, in the order in which they are
	// tried, the registry last; for an image of a registry.
	Endpoints []pull.Endpoint
}

// UnsupportedError reports a source that a script cannot read.
type UnsupportedError struct{ Source, Reason string }

func (e *UnsupportedError) Error() string { return e.Source + ": " + e.Reason }

// Write writes the script to w. Warnings say what the container will lack,
// one sentence each.
//
// Errors are UnsupportedError, those of bundle.Spec and those of the layers.
func (s *Script) Write(ctx context.Context, w io.Writer) (warnings []string, err error) {
	if len(s.Image.Layers) == 0 {
		return nil, &UnsupportedError{s.Image.Reference.String(), "the image has no layers, so there is nothing to mount"}
	}
	root := &rootfs{tree: s.Tree, content: map[imagetree.Content][]byte{}}
	plans, err := s.plan(ctx, root)
	if err != nil {
		return nil, err
	}
	result, err := bundle.Spec(s.Image.Config.Raw, root, s.Options)
	if err != nil {
		return nil, err
	}
	o := &writer{Script: s, spec: result, plans: plans}
	if err := o.body(); err != nil {
		return nil, err
	}
	_, err = io.WriteString(w, o.whole())
	return append(result.Warnings, s.lacks()...), err
}

// flat says whether the root file system is to be a plain tree.
func (s *Script) flat() bool { return s.Record.RootFS == bundle.RootFSFlat }

// plan reads the layers once more and plans each.
func (s *Script) plan(ctx context.Context, root *rootfs) ([]layerPlan, error) {
	p := &planner{flat: s.flat(), homes: map[imagetree.Content]string{}}
	wanted := root.wanted()
	plans := make([]layerPlan, len(s.Image.Layers))
	for i, l := range s.Image.Layers {
		a, err := scan(ctx, layerSource{l}, wanted[i])
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i+1, err)
		}
		for ordinal, data := range wanted[i] {
			root.content[imagetree.Content{Layer: i + 1, Ordinal: ordinal}] = data
		}
		var want []imagetree.LowerFile
		err = s.Tree.WalkLower(ctx, i+1, func(e imagetree.LowerFile) error {
			want = append(want, e)
			return nil
		})
		if err != nil {
			return nil, err
		}
		plans[i] = p.layer(i+1, a, want)
		plans[i].size = a.size
		if plans[i].compression, err = compression(ctx, l); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i+1, err)
		}
		if s.flat() && i > 0 {
			if plans[i].flat, err = clearFor(ctx, s.Tree.Upto(i), want); err != nil {
				return nil, err
			}
		}
	}
	return plans, nil
}

// layerSource opens a layer's uncompressed tar.
type layerSource struct{ *pull.Layer }

func (l layerSource) Open(ctx context.Context) (io.ReadCloser, error) {
	return l.Layer.Open(ctx, pull.OpenOptions{})
}

// compression is how a layer's blob is compressed, by its first bytes: media
// types are wrong too often.
func compression(ctx context.Context, l *pull.Layer) (_ string, err error) {
	r, err := l.Blob(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	head := make([]byte, 4)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", err
	}
	for prefix, name := range map[string]string{
		"\x1f\x8b": "gzip", "\x28\xb5\x2f\xfd": "zstd", "\x2a\x4d\x18": "zstd", "BZh": "bzip2",
	} {
		at := strings.Index(string(head[:n]), prefix)
		if at == 0 || at == 1 && prefix == "\x2a\x4d\x18" && head[0]>>4 == 5 {
			return name, nil
		}
	}
	return "", nil
}

// relative keeps a path from being taken for an option.
func relative(dir string) string {
	if filepath.IsAbs(dir) || strings.HasPrefix(dir, "./") || strings.HasPrefix(dir, "../") {
		return dir
	}
	return "./" + dir
}

// absolute is where a file of this machine is, wherever the script is started.
func absolute(name string) string {
	if abs, err := filepath.Abs(name); err == nil {
		return abs
	}
	return name
}
