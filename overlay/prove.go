package overlay

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Prove looks at those layers of an image that were unpacked in another boot of
// the machine and never known to have reached the disk. Where a layer still
// proves to be what its diff ID says, as Verify does it, it is synced and good
// from now on; where not, or where it has no record, it stays missing. diffIDs
// are base first. AddAll does this by itself; Prove is for who wants to know
// before that whether anything has to be fetched.
func (s *Store) Prove(ctx context.Context, diffIDs []digest.Digest) error {
	if err := validate(diffIDs); err != nil {
		return err
	}
	chains := ChainIDs(diffIDs)
	if len(s.doubtful(chains)) == 0 {
		return nil
	}
	if err := s.lease(ctx, layerLeases(chains)...); err != nil {
		return err
	}
	unlock, err := s.lockDoubtful(ctx, chains)
	if err != nil {
		return err
	}
	defer unlock()
	doubtful := s.doubtful(chains)
	if len(doubtful) == 0 {
		return nil // another process was faster
	}
	top := doubtful[len(doubtful)-1]
	v, err := s.newVerifier(diffIDs[:top+1], VerifyOptions{}, &Report{})
	if err != nil {
		return err
	}
	defer v.close()
	if err := v.run(ctx, func(i int) bool { return slices.Contains(doubtful, i) }); err != nil {
		return err
	}
	return s.trust(v, doubtful)
}

// doubtful returns the indices of layers that are there and have to be proved.
func (s *Store) doubtful(chains []ChainID) []int {
	var list []int
	for i, c := range chains {
		if f, err := s.readLayerFile(c); err == nil && s.inDoubt(f) {
			list = append(list, i)
		}
	}
	return list
}

// inDoubt says whether a power loss may have damaged the layer.
func (s *Store) inDoubt(f layerFile) bool { return !f.Synced && f.Boot != s.boot }

// lockDoubtful takes the locks of the layers in doubt. Who makes a layer holds
// its lock and waits for those below, so nothing may be held here while
// waiting: all locks or none.
func (s *Store) lockDoubtful(ctx context.Context, chains []ChainID) (unlock func(), err error) {
	var locks []*fileLock
	release := func() {
		for _, l := range locks {
			l.release()
		}
		locks = nil
	}
	err = poll(ctx, func() (bool, error) {
		for _, i := range s.doubtful(chains) {
			l, err := tryLock(s.layout.chainLock(chains[i]))
			if l == nil {
				release()
				return false, err
			}
			locks = append(locks, l)
		}
		return true, nil
	})
	return release, err
}

// trust marks the layers that were proved. A layer above one that was not is
// left in doubt: it may have links to the files of the latter.
func (s *Store) trust(v *verifier, doubtful []int) error {
	var good []*layerProof
	for _, i := range doubtful {
		if v.proofs[i].verdict != "" || v.unseen.Load() {
			break
		}
		good = append(good, v.proofs[i])
	}
	if len(good) == 0 {
		return nil
	}
	// What was read may still be in memory alone.
	if err := syncFS(s.layout.layers()); err != nil {
		return err
	}
	for _, p := range good {
		f := p.facts
		f.Synced = true
		raw, err := json.Marshal(f)
		if err == nil {
			err = s.replaceFile(s.layout.layerJSON(p.chain), raw)
		}
		if err != nil {
			return fmt.Errorf("mark layer %s: %w", p.chain, err)
		}
		s.observe(Event{Kind: EventProved, Index: p.index + 1, ChainID: p.chain, DiffID: p.diffID})
	}
	return nil
}
