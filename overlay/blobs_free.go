package overlay

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"
)

// FreeBlobs removes those of the blobs that no listed image refers to and no
// other process is about to list. Others stay, and are no error.
func (s *Store) FreeBlobs(ctx context.Context, blobs []digest.Digest) (Freed, error) {
	c, err := s.newCollector(ctx)
	if err != nil {
		return Freed{}, err
	}
	chosen := make(map[digest.Digest]bool, len(blobs))
	for _, d := range blobs {
		chosen[d] = true
	}
	idx, err := s.readIndex()
	if err == nil {
		var kept refs
		if kept, err = s.refsOf(ctx, idx.Manifests, true); err == nil {
			err = c.freeBlobs(func(d digest.Digest) bool { return chosen[d] && !kept.blobs[d] })
		}
	}
	return c.freed, errors.Join(err, c.finish())
}
