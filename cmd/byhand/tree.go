package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

// imageTree is an image's merged tree in memory, for commands that unpack
// nothing.
type imageTree struct {
	*imagetree.Tree
	session *session
	layers  int // how many of the image's are wanted, from the base; 0 for all
	img     *pull.Image
	check   func(*pull.Image) error // if set, comes before any layer is fetched
	fetched []digest.Digest         // blobs that the store did not have before
	blobs   bool                    // lower dirs are not to be used
	lowers  []string                // of layers that are read from their lower dirs; "" for others
}

// load finds the image, fetches the layers that are not at hand, and reads
// their headers; each layer is verified then. A layer whose copy in the store
// is damaged is fetched once more.
func (t *imageTree) load(ctx context.Context, arg string) error {
	s := t.session
	img, err := t.fetch(ctx, arg)
	if err != nil {
		return err
	}
	err = t.build(ctx, img)
	if bad, ok := errors.AsType[*overlay.RebuildError](err); ok && ctx.Err() == nil {
		s.warn(fmt.Sprintf("%v; fetching it now", bad))
		t.blobs = true
		if img, err = t.fetch(ctx, arg); err == nil {
			err = t.build(ctx, img)
		}
	}
	if dropped, derr := t.dropDamaged(img, err); dropped || derr != nil {
		if derr != nil {
			return errors.Join(err, derr)
		}
		s.warn(fmt.Sprintf("%v; the copy in the store is damaged and will be fetched anew", err))
		if img, err = t.fetch(ctx, arg); err != nil {
			return err
		}
		err = t.build(ctx, img)
	}
	if err != nil {
		return err
	}
	s.explain.Tree(t.img, t.lowers)
	for n := 1; n <= t.Layers(); n++ {
		for _, skipped := range t.Skipped(n) {
			s.warn(fmt.Sprintf("layer %d: %s", n, skipped))
		}
	}
	return nil
}

// fetch finds the image and brings the blobs of a registry's into the store,
// since they are read more than once. What is in a directory or archive is
// read there, unless it is to be kept.
func (t *imageTree) fetch(ctx context.Context, arg string) (*pull.Image, error) {
	s := t.session
	img, err := s.findIf(ctx, arg, func(img *pull.Image) bool {
		img, err := t.lower(img)
		if err == nil {
			s.hold(ctx, img)
		}
		return err != nil || t.atHand(img)
	})
	if err == nil {
		img, err = t.lower(img)
	}
	if err == nil && t.check != nil {
		err = t.check(img)
	}
	if err != nil {
		return nil, err
	}
	t.img = img
	s.explain.Image(img)
	keep := s.flags.Bool("keep-blobs")
	if img.Reference.Transport != pull.Registry && !keep || t.atHand(img) && !keep {
		return img, nil
	}
	s.show.plan(img, workRead)
	for _, l := range img.Layers {
		if !s.store.HasBlob(l.Descriptor) {
			t.fetched = append(t.fetched, l.Descriptor.Digest)
		}
	}
	if err := s.fetchBlobs(ctx, img); err != nil || !keep {
		return img, err
	}
	if err := s.keepMetadata(ctx, img); err != nil {
		return nil, err
	}
	return img, s.tag(ctx, img)
}

// lower returns the image without the layers above those that are wanted.
func (t *imageTree) lower(img *pull.Image) (*pull.Image, error) {
	if t.layers > len(img.Layers) {
		return nil, &codedError{
			fmt.Errorf("find layer %d of %s: the image has %s", t.layers, img.Reference, count(len(img.Layers), "layer")),
			exitNotFound,
		}
	}
	if t.layers == 0 {
		return img, nil
	}
	part := *img
	part.Layers = img.Layers[:t.layers]
	return &part, nil
}

// atHand says whether the store has the content of every layer, as a blob or
// unpacked.
func (t *imageTree) atHand(img *pull.Image) bool {
	chain := overlay.ChainIDs(diffIDs(img))
	for i, l := range img.Layers {
		if _, ok := t.session.store.Rebuilds(chain[i]); (t.blobs || !ok) && !t.session.store.HasBlob(l.Descriptor) {
			return false
		}
	}
	return true
}

func (t *imageTree) build(ctx context.Context, img *pull.Image) error {
	s := t.session
	sources := make([]imagetree.Source, len(img.Layers))
	t.lowers = make([]string, len(img.Layers))
	chain := overlay.ChainIDs(diffIDs(img))
	for i, l := range img.Layers {
		sources[i] = &treeSource{l}
		if lower, ok := s.store.Rebuilds(chain[i]); ok && !t.blobs && !s.store.HasBlob(l.Descriptor) {
			sources[i] = &lowerSource{s.store, lower}
			t.lowers[i] = lower.Dir
		}
	}
	var err error
	t.Tree, err = imagetree.Build(ctx, sources, imagetree.Options{Limits: s.limits.unpack, Jobs: s.flags.Int("jobs")})
	if err != nil {
		return fmt.Errorf("read %s: %w", img.Reference, err)
	}
	return nil
}

// dropDamaged removes the blob from the store that err says is not what its
// name says, if it is one of a registry's image.
func (t *imageTree) dropDamaged(img *pull.Image, err error) (bool, error) {
	d, ok := errors.AsType[*pull.DigestError](err)
	if !ok || img.Reference.Transport != pull.Registry {
		return false, nil
	}
	for _, l := range img.Layers {
		if l.Descriptor.Digest == d.Want && t.session.store.HasBlob(l.Descriptor) {
			return true, t.session.store.DropBlob(d.Want)
		}
	}
	return false, nil
}

// free removes the blobs that were fetched for this command alone.
func (t *imageTree) free(ctx context.Context) error {
	s := t.session
	if len(t.fetched) == 0 || s.flags.Bool("keep-blobs") {
		return nil
	}
	// Also after an interrupt: what was not asked for does not stay.
	_, err := s.store.FreeBlobs(context.WithoutCancel(ctx), t.fetched)
	return err
}

// treeSource opens a layer of a pull for its tree.
type treeSource struct{ *pull.Layer }

var _ imagetree.Source = (*treeSource)(nil)

func (l *treeSource) Open(ctx context.Context) (io.ReadCloser, error) {
	return l.Layer.Open(ctx, pull.OpenOptions{})
}

// lowerSource gives the tar of a layer that the store has unpacked.
type lowerSource struct {
	store *overlay.Store
	layer overlay.Layer
}

var _ imagetree.Source = (*lowerSource)(nil)

func (l *lowerSource) Open(ctx context.Context) (io.ReadCloser, error) {
	return l.store.OpenLayer(ctx, l.layer)
}
