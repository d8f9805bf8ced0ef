package overlay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// verifyDocuments checks index, manifest and config, and returns the diff IDs
// and the layers' descriptors; nil if one of the latter two is not good.
func (s *Store) verifyDocuments(ctx context.Context, img Image, r *Report) ([]digest.Digest, []blobState, error) {
	if img.IndexDigest != "" {
		if _, err := s.verifyDocument(CheckIndex, ocispec.Descriptor{Digest: img.IndexDigest, Size: -1}, r); err != nil {
			return nil, nil, err
		}
	}
	raw, err := s.verifyDocument(CheckManifest, img.Manifest, r)
	if raw == nil || err != nil {
		return nil, nil, err
	}
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, nil, fmt.Errorf("read manifest %s: %w", img.Manifest.Digest, err)
	}
	if err := doc.Config.Digest.Validate(); err != nil {
		return nil, nil, fmt.Errorf("read manifest %s: config: %w", img.Manifest.Digest, err)
	}
	raw, err = s.verifyDocument(CheckConfig, doc.Config, r)
	if raw == nil || err != nil {
		return nil, nil, err
	}
	ids := diffIDs(raw)
	if len(ids) != len(doc.Layers) {
		return nil, nil, fmt.Errorf("read image %s: the config has %d diff IDs, the manifest %d layers", img.Name, len(ids), len(doc.Layers))
	}
	blobs := make([]blobState, len(doc.Layers))
	for i, l := range doc.Layers {
		if err := l.Digest.Validate(); err != nil {
			return nil, nil, fmt.Errorf("read manifest %s: layer %d: %w", img.Manifest.Digest, i+1, err)
		}
		blobs[i].desc = l
	}
	if ids == nil {
		ids = []digest.Digest{}
	}
	return ids, blobs, ctx.Err()
}

// verifyDocument checks one document and returns it if it is good. A size of
// -1 is not known.
func (s *Store) verifyDocument(kind CheckKind, want ocispec.Descriptor, r *Report) ([]byte, error) {
	c := Check{Kind: kind, Expected: want.Digest, Verdict: Match}
	defer func() { r.Checks = append(r.Checks, c) }()
	raw, err := readSmall(s.layout.blob(want.Digest))
	var corrupt *CorruptError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.Verdict, c.Reason = Mismatch, "not in the store"
		return nil, nil
	case errors.As(err, &corrupt), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENOTDIR):
		c.Verdict, c.Reason = Mismatch, err.Error()
		return nil, nil
	case err != nil:
		return nil, err
	}
	c.Calculated = want.Digest.Algorithm().FromBytes(raw)
	if c.Calculated != want.Digest {
		c.Verdict, c.Reason = Mismatch, "its content was changed"
		return nil, nil
	}
	if want.Size >= 0 && want.Size != int64(len(raw)) {
		c.Verdict = Mismatch
		c.Reason = fmt.Sprintf("%d bytes, where %d are expected of it", len(raw), want.Size)
		return nil, nil
	}
	return raw, nil
}

// blobState is a compressed layer, and whether the store has it.
type blobState struct {
	desc ocispec.Descriptor
	kept bool
}

// verifyBlobs checks the compressed layers that are kept.
func (s *Store) verifyBlobs(ctx context.Context, blobs []blobState, o VerifyOptions) ([]Check, error) {
	checks := make([]Check, len(blobs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(o.jobs())
	for i := range blobs {
		g.Go(func() (err error) {
			checks[i], err = s.verifyBlob(ctx, i+1, &blobs[i])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var kept []Check
	for i, b := range blobs {
		if b.kept {
			kept = append(kept, checks[i])
		}
	}
	return kept, nil
}

func (s *Store) verifyBlob(ctx context.Context, layer int, b *blobState) (Check, error) {
	c := Check{Kind: CheckBlob, Layer: layer, Expected: b.desc.Digest, Verdict: Match}
	path := s.layout.blob(b.desc.Digest)
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("verify blob: %w", err)
	}
	b.kept = true
	bad := func(format string, args ...any) (Check, error) {
		c.Verdict, c.Reason = Mismatch, fmt.Sprintf(format, args...)
		return c, nil
	}
	if !st.Mode().IsRegular() {
		return bad("no regular file")
	}
	if st.Size() != b.desc.Size {
		return bad("%d bytes expected, found %d", b.desc.Size, st.Size())
	}
	f, err := s.Blob(ctx, b.desc)
	var size *SizeError
	if errors.As(err, &size) {
		return bad("it changes while it is read")
	}
	if err != nil {
		return c, err
	}
	defer func() { _ = f.Close() }()
	h := newHashWriter(b.desc.Digest.Algorithm(), io.Discard)
	if _, err := io.CopyBuffer(h, &ctxReader{ctx.Err, f}, make([]byte, 256<<10)); err != nil {
		return c, fmt.Errorf("verify blob %s: %w", b.desc.Digest, err)
	}
	if c.Calculated = h.digest(); c.Calculated != c.Expected {
		return bad("its content was changed")
	}
	return c, nil
}

// ctxReader ends when its context does.
type ctxReader struct {
	err func() error
	r   io.Reader
}

func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
