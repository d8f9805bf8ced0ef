package overlay

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/unpack"
)

// RebuildError reports a layer whose tar cannot be had from the store any more,
// because what is on disk is not what was unpacked.
type RebuildError struct {
	DiffID DiffID
	Err    error
}

func (e *RebuildError) Error() string {
	return fmt.Sprintf("rebuild layer with diff ID %s from the store: %v; byhand verify --repair replaces it", e.DiffID, e.Err)
}

// Unwrap returns the cause.
func (e *RebuildError) Unwrap() error { return e.Err }

// OpenLayer returns the uncompressed tar of a layer, made of its record and its
// lower dir: the bytes that were unpacked, with the true owners also in a store
// that squashes them. The stream ends in io.EOF only after everything read
// matched the diff ID, and in a [RebuildError] else. A layer that was unpacked
// without a record is a [NoRecordError] inside one.
func (s *Store) OpenLayer(ctx context.Context, l Layer) (io.ReadCloser, error) {
	if err := s.Hold(ctx, []ChainID{l.ChainID}, nil); err != nil {
		return nil, err
	}
	dir, err := s.openLayerDir(l.ChainID)
	if err != nil {
		return nil, &RebuildError{l.DiffID, err}
	}
	record, err := dir.openRecord()
	if err != nil {
		_ = dir.Close()
		return nil, &RebuildError{l.DiffID, err}
	}
	_ = record.Close() // it is there: the stream opens it for itself
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	v := &rebuilt{PipeReader: r, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(v.done)
		w.CloseWithError(s.writeLayer(ctx, dir, l.DiffID, w))
	}()
	return v, nil
}

// Rebuilds reports whether OpenLayer can give the tar of the layer of that
// chain ID, as far as can be told without reading it all.
func (s *Store) Rebuilds(c ChainID) (Layer, bool) {
	l, err := s.load(c)
	if err != nil {
		return Layer{}, false
	}
	st, err := os.Lstat(s.layout.record(c))
	return l, err == nil && st.Mode().IsRegular()
}

// writeLayer writes the layer's tar to w and judges it.
func (s *Store) writeLayer(ctx context.Context, dir *layerDir, want DiffID, w io.Writer) error {
	defer func() { _ = dir.Close() }()
	h := newHashWriter(want.Digest().Algorithm(), w)
	err := unpack.Rebuild(ctx, dir.diff, dir.openRecord, h, unpack.RebuildOptions{NoOpenat2: s.opts.NoOpenat2})
	switch {
	case errors.Is(err, io.ErrClosedPipe), ctx.Err() != nil:
		return context.Cause(ctx) // nobody reads any more
	case err != nil:
		return &RebuildError{want, err}
	}
	if got := h.digest(); got != want.Digest() {
		return &RebuildError{want, &DigestError{Object: "its tar", Want: want.Digest(), Got: got}}
	}
	return nil
}

// rebuilt is the stream of OpenLayer.
type rebuilt struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}
}

func (r *rebuilt) Close() error {
	r.cancel()
	err := r.PipeReader.Close()
	<-r.done
	return err
}

// hashWriter hashes what passes.
type hashWriter struct {
	w    io.Writer
	hash hash.Hash
	alg  digest.Algorithm
}

func newHashWriter(alg digest.Algorithm, w io.Writer) *hashWriter {
	return &hashWriter{w: w, hash: alg.Hash(), alg: alg}
}

func (h *hashWriter) Write(p []byte) (int, error) {
	h.hash.Write(p)
	return h.w.Write(p)
}

func (h *hashWriter) digest() digest.Digest { return digest.NewDigest(h.alg, h.hash) }
