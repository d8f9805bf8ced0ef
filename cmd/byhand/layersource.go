package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

// addLayers unpacks the layers that the store lacks, all at once.
func (s *session) addLayers(ctx context.Context, img *pull.Image) ([]overlay.Layer, error) {
	s.img = img
	chain := overlay.ChainIDs(diffIDs(img))
	if err := s.checkSpace(img, func(i int) bool { return s.store.Has(chain[i]) }); err != nil {
		return nil, err
	}
	layers, err := s.store.AddAll(ctx, s.sources(img), overlay.AddOptions{Jobs: s.flags.Int("jobs"), Damaged: s.damaged})
	if err != nil && isStorage(err) {
		// Which file of a layer it was says nothing of the disk.
		return nil, fmt.Errorf("unpack %s into %s: %w", img.Reference, s.store.Dir(), err)
	}
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", img.Reference, err)
	}
	return layers, nil
}

// sources are the image's layers for the store.
func (s *session) sources(img *pull.Image) []overlay.Source {
	sources := make([]overlay.Source, len(img.Layers))
	for i, l := range img.Layers {
		sources[i] = &layerSource{Layer: l, session: s}
	}
	return sources
}

// damaged tells whether a stream failed because the blob that arrived is not
// the one its descriptor names: it is worth fetching once more. A right blob
// whose content is wrong stays so.
func (s *session) damaged(err error) bool {
	if d, ok := errors.AsType[*pull.DigestError](err); ok {
		return slices.ContainsFunc(s.img.Layers, func(l *pull.Layer) bool { return l.Descriptor.Digest == d.Want })
	}
	return isAny[*pull.SizeError](err)
}

// layerSource opens a layer of a pull for the store. With --keep-blobs the
// compressed bytes go into the store on their way.
type layerSource struct {
	*pull.Layer
	session *session
}

var _ overlay.Source = (*layerSource)(nil)

// Size lets the store begin with the largest layers.
func (l *layerSource) Size() int64 { return l.Descriptor.Size }

func (l *layerSource) Open(ctx context.Context) (io.ReadCloser, error) {
	if !l.session.flags.Bool("keep-blobs") || l.session.store.HasBlob(l.Descriptor) {
		return l.Layer.Open(ctx, pull.OpenOptions{})
	}
	w, err := l.session.store.NewBlob(ctx, l.Descriptor)
	if errors.Is(err, fs.ErrExist) {
		return l.Layer.Open(ctx, pull.OpenOptions{})
	}
	if err != nil {
		return nil, err
	}
	have, err := earlier(w)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	r, err := l.Layer.Open(ctx, pull.OpenOptions{Have: have, Keep: w})
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	kept := &keptLayer{ReadCloser: r, blob: w}
	if stream, ok := r.(chunker); ok {
		return chunked{keptLayer: kept, stream: stream}, nil
	}
	return kept, nil
}

// keptLayer commits the blob once the stream has ended well.
type keptLayer struct {
	io.ReadCloser
	blob *overlay.BlobWriter
	err  error // that ended the stream
}

func (k *keptLayer) Read(p []byte) (int, error) {
	n, err := k.ReadCloser.Read(p)
	return n, k.judge(err)
}

// chunked is a keptLayer whose stream hands out its own buffers.
type chunked struct {
	*keptLayer
	stream chunker
}

type chunker interface{ NextChunk() ([]byte, error) }

func (c chunked) NextChunk() ([]byte, error) {
	p, err := c.stream.NextChunk()
	return p, c.judge(err)
}

// judge commits the blob if err is the end of a stream that was whole.
func (k *keptLayer) judge(err error) error {
	if err == nil || k.err != nil {
		return err
	}
	if k.err = err; errors.Is(err, io.EOF) {
		if cerr := k.blob.Commit(); cerr != nil {
			return cerr
		}
	}
	return err
}

// Close keeps the bytes of a stream that was given up or broke off.
func (k *keptLayer) Close() error {
	err := k.ReadCloser.Close()
	if k.err == nil || !errors.Is(k.err, io.EOF) {
		suspend(k.blob, k.err)
	}
	return errors.Join(err, k.blob.Close())
}
