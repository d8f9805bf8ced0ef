package overlay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// refs is what some entries of the index need.
type refs struct {
	blobs  map[digest.Digest]bool
	chains map[ChainID]bool
}

// document is a manifest or an index, of OCI or Docker, as far as references
// go.
type document struct {
	Manifests []ocispec.Descriptor `json:"manifests"`
	Config    ocispec.Descriptor   `json:"config"`
	Layers    []ocispec.Descriptor `json:"layers"`
}

// maxDepth bounds indexes within indexes.
const maxDepth = 8

// refsOf follows entries of the index to everything that they need. Layers and
// the other platforms of an index need not be there. An image whose manifest
// or config is missing or damaged is an error if strict: what it needs is
// unknown then, so nothing can be said to be free.
func (s *Store) refsOf(ctx context.Context, entries []ocispec.Descriptor, strict bool) (refs, error) {
	r := refs{blobs: map[digest.Digest]bool{}, chains: map[ChainID]bool{}}
	for _, d := range entries {
		if err := s.follow(ctx, d.Digest, r, maxDepth); err != nil && strict {
			return refs{}, fmt.Errorf("read image %s: %w; pull it again, or remove it", nameOf(d), err)
		}
		if idx := indexOf(d); idx != "" {
			r.blobs[idx] = true // kept as a document; its other platforms are not
		}
	}
	return r, nil
}

func (s *Store) follow(ctx context.Context, d digest.Digest, r refs, depth int) error {
	if r.blobs[d] || depth == 0 || d.Validate() != nil {
		return nil
	}
	r.blobs[d] = true
	raw, err := s.ReadBlob(ctx, d)
	if isMissing(err) && depth < maxDepth {
		return nil
	}
	if err != nil {
		return err
	}
	var doc document
	if json.Unmarshal(raw, &doc) != nil {
		return nil // an artifact of a kind of its own
	}
	var errs []error
	for _, m := range doc.Manifests {
		errs = append(errs, s.follow(ctx, m.Digest, r, depth-1))
	}
	for _, l := range doc.Layers {
		r.blobs[l.Digest] = true
	}
	if doc.Config.Digest != "" {
		errs = append(errs, s.followConfig(ctx, doc.Config.Digest, r))
	}
	return errors.Join(errs...)
}

func (s *Store) followConfig(ctx context.Context, d digest.Digest, r refs) error {
	r.blobs[d] = true
	raw, err := s.ReadBlob(ctx, d)
	if err != nil {
		return err
	}
	for _, c := range ChainIDs(diffIDs(raw)) {
		r.chains[c] = true
	}
	return nil
}

// readManifest reads an image manifest of the store, verified.
func (s *Store) readManifest(ctx context.Context, d digest.Digest) (document, error) {
	raw, err := s.ReadBlob(ctx, d)
	if err != nil {
		return document{}, err
	}
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return document{}, fmt.Errorf("read manifest %s: %w", d, err)
	}
	if err := doc.Config.Digest.Validate(); err != nil {
		return document{}, fmt.Errorf("read manifest %s: config: %w", d, err)
	}
	return doc, nil
}
