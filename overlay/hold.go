package overlay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Hold keeps other processes from removing layers and blobs from now until the
// Store is closed, whether they are there or not: what [Store.Has] and
// [Store.HasBlob] say of them afterwards stays true. Who may not write to the
// store can read it all the same, without that promise.
func (s *Store) Hold(ctx context.Context, chains []ChainID, blobs []digest.Digest) error {
	lines := layerLeases(chains)
	for _, b := range blobs {
		if err := b.Validate(); err != nil {
			return fmt.Errorf("hold blob %q: %w", b, err)
		}
		lines = append(lines, leaseBlob+b.String())
	}
	err := s.lease(ctx, lines...)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		return nil
	}
	return err
}
