package overlay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
)

// Sync waits until all layers of this boot are on the disk and records it, so
// that they count after a power loss.
func (s *Store) Sync(ctx context.Context) error {
	chains, err := s.chains()
	if err != nil {
		return err
	}
	return s.syncLayers(ctx, chains)
}

// syncLayers syncs the file system if any of the layers has not been, and
// marks them. A mark that gets lost costs only that the layer is proved again.
func (s *Store) syncLayers(ctx context.Context, chains []ChainID) error {
	var open []layerFile
	for _, c := range chains {
		f, err := s.readLayerFile(c)
		if err == nil && !f.Synced && f.Boot == s.boot {
			open = append(open, f)
		}
	}
	if len(open) == 0 {
		return nil
	}
	if err := syncFS(s.layout.layers()); err != nil {
		return err
	}
	for _, f := range open {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.markSynced(f); err != nil {
			return fmt.Errorf("mark layer %s: %w", f.ChainID, err)
		}
	}
	return nil
}

// markSynced marks the layer whose record was f before the sync, unless it was
// replaced since: the sync cannot vouch for a newer one.
func (s *Store) markSynced(f layerFile) error {
	lock, err := tryLock(s.layout.chainLock(f.ChainID))
	if lock == nil {
		return err // somebody works on it; leave it to them
	}
	defer lock.release()
	now, err := s.readLayerFile(f.ChainID)
	if err != nil || !now.Created.Equal(f.Created) {
		return nil // a layer that is gone needs no mark
	}
	now.Synced = true
	raw, err := json.Marshal(now)
	if err != nil {
		return err
	}
	err = s.replaceFile(s.layout.layerJSON(f.ChainID), raw)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// syncIfQuiet marks layers when that costs next to nothing, so that what was
// unpacked a while ago counts after a restart though nobody asked for a sync.
// It reports whether it did.
func (s *Store) syncIfQuiet(ctx context.Context, layers []Layer) bool {
	var chains []ChainID
	for _, l := range layers {
		if !l.Synced {
			chains = append(chains, l.ChainID)
		}
	}
	if len(chains) == 0 || !quiet() {
		return false
	}
	if err := s.syncLayers(ctx, chains); err != nil {
		s.warn(err, "sync layers")
		return false
	}
	return true
}
