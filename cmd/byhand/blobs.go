package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

// keepMetadata writes manifest, config and index into the store.
func (s *session) keepMetadata(ctx context.Context, img *pull.Image) error {
	docs := []pull.Document{img.Config, img.Manifest}
	if img.Index != nil {
		docs = append(docs, *img.Index)
	}
	for _, d := range docs {
		if err := s.dropDamaged(ctx, d.Descriptor.Digest); err != nil {
			return err
		}
		if err := s.store.PutBlob(ctx, d.Descriptor, bytes.NewReader(d.Raw)); err != nil {
			return err
		}
	}
	return nil
}

// dropDamaged makes room for a document that is there, but is not what its name
// says.
func (s *session) dropDamaged(ctx context.Context, d digest.Digest) error {
	_, err := s.store.ReadBlob(ctx, d)
	if isAny[*overlay.DigestError](err) || isAny[*overlay.CorruptError](err) {
		return s.store.DropBlob(d)
	}
	return nil
}

// tag makes the store list the image; it comes last, when all is there.
func (s *session) tag(ctx context.Context, img *pull.Image) error {
	rec := overlay.Image{Name: img.Reference.String(), Manifest: img.Manifest.Descriptor}
	rec.Manifest.Platform = &ocispec.Platform{
		Architecture: img.Spec.Architecture, OS: img.Spec.OS, Variant: img.Spec.Variant,
		OSVersion: img.Spec.OSVersion, OSFeatures: img.Spec.OSFeatures,
	}
	if img.Index != nil {
		rec.IndexDigest = img.Index.Descriptor.Digest
	}
	return s.store.Tag(ctx, rec)
}

// fetchBlobs brings the compressed layers that the store lacks into it.
func (s *session) fetchBlobs(ctx context.Context, img *pull.Image) error {
	again := repeated(img.Layers)
	has := func(i int) bool { return again[i] || s.store.HasBlob(img.Layers[i].Descriptor) }
	if err := s.checkSpace(img, has); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.flags.Int("jobs"))
	for i, l := range img.Layers {
		if again[i] {
			continue
		}
		d := l.Descriptor.Digest
		if s.store.HasBlob(l.Descriptor) {
			s.explain.Blob(d, true)
			s.show.done(d, statePresent)
			continue
		}
		g.Go(func() error {
			if err := s.fetchBlob(ctx, l); err != nil {
				return err
			}
			s.explain.Blob(d, false)
			s.show.done(d, "pulled")
			return nil
		})
	}
	return g.Wait()
}

// repeated says of each layer whether one below is the same blob.
func repeated(layers []*pull.Layer) []bool {
	again := make([]bool, len(layers))
	seen := map[digest.Digest]bool{}
	for i, l := range layers {
		d := l.Descriptor.Digest
		again[i], seen[d] = seen[d], true
	}
	return again
}

// checkSpace refuses to begin what cannot end well: the layers that the store
// lacks need at least their compressed size.
func (s *session) checkSpace(img *pull.Image, has func(int) bool) error {
	var need int64
	for i, l := range img.Layers {
		if !has(i) {
			need += l.Descriptor.Size
		}
	}
	return s.store.CheckSpace(need)
}

// fetchBlob brings one blob, going on where an earlier try stopped. One that
// turns out to be wrong is fetched once more, from the next source if there is
// one: pull leaves out the mirror that had it.
func (s *session) fetchBlob(ctx context.Context, l *pull.Layer) error {
	err := s.tryBlob(ctx, l, true)
	// An ended ctx has the error of another layer for its cause.
	if ctx.Err() == nil && (isAny[*pull.DigestError](err) || isAny[*pull.SizeError](err)) {
		s.log(levelInfo, fmt.Sprintf("%v; fetching it once more", err))
		err = s.tryBlob(ctx, l, false)
	}
	return err
}

func (s *session) tryBlob(ctx context.Context, l *pull.Layer, resume bool) (err error) {
	w, err := s.store.NewBlob(ctx, l.Descriptor)
	if errors.Is(err, fs.ErrExist) {
		return nil // another process brought it
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	o := pull.OpenOptions{Keep: w}
	if resume {
		if o.Have, err = earlier(w); err != nil {
			return err
		}
	}
	if err := l.Fetch(ctx, o); err != nil {
		suspend(w, err)
		return err
	}
	return w.Commit()
}

// earlier returns the bytes that an earlier try left, or nil.
func earlier(w *overlay.BlobWriter) (io.Reader, error) {
	n, err := w.Resume()
	if err != nil || n == 0 {
		return nil, err
	}
	return w.Prefix(), nil
}

// suspend keeps what came before a fetch was interrupted, for the next try.
// What was wrong is not kept.
func suspend(w *overlay.BlobWriter, err error) {
	if !isAny[*pull.DigestError](err) && !isAny[*pull.SizeError](err) && !isAny[*pull.FormatError](err) {
		w.Suspend()
	}
}
