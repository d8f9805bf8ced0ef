package overlay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// Repair fetches and unpacks layers of an image anew, though the store has
// them, because Verify found that they are not what they should be. bad are
// their numbers in srcs, from 1, base first; what else is missing is made too.
// Each takes its old self's place at once, after it was verified and settled as
// in AddAll, so that bundles find the good one with their next mount.
//
// A layer that is part of a mounted overlay, or that another process relies
// on, is an [InUseError], and nothing is replaced: its files would vanish under
// those who read them.
func (s *Store) Repair(ctx context.Context, srcs []Source, bad []int, o AddOptions) ([]Layer, error) {
	a, err := s.newAdder(ctx, srcs, o)
	if err != nil {
		return nil, err
	}
	for _, n := range bad {
		if n < 1 || n > len(a.tasks) {
			return nil, fmt.Errorf("repair layer %d: the image has %d", n, len(a.tasks))
		}
		t := a.tasks[n-1]
		if err := s.checkIdle(t.chain); err != nil { // before much is fetched
			return nil, t.fail(err)
		}
		t.again = true
	}
	if err := a.run(ctx); err != nil {
		return nil, err
	}
	return a.layers(), nil
}

// checkIdle refuses a layer that somebody reads at this moment.
func (s *Store) checkIdle(c ChainID) error {
	o, err := s.own()
	if err != nil {
		return err
	}
	held, err := leases(s.layout, o.id)
	if err != nil {
		return err
	}
	bundles, err := s.uses(false)
	if err != nil {
		return err
	}
	mounts, err := s.overlaysWith(c, bundles[c])
	if err != nil {
		return err
	}
	if users := append(slices.Clone(held[leaseLayer+c.String()]), mounts...); len(users) > 0 {
		return &InUseError{What: "damaged layer " + c.String(), Users: users}
	}
	return nil
}

// overlaysWith lists the mounted overlays that have the layer: those whose
// options name it, and those of bundles, which go by names of their own.
func (s *Store) overlaysWith(c ChainID, bundles []string) ([]string, error) {
	mounts, err := overlays()
	if err != nil {
		return nil, err
	}
	users := map[ChainID][]string{}
	if err := s.addMounts(users, mounts); err != nil {
		return nil, err
	}
	for _, m := range mounts {
		ofBundle := slices.ContainsFunc(bundles, func(b string) bool {
			real, err := filepath.EvalSymlinks(filepath.Join(strings.TrimPrefix(b, bundleUser("")), bundleRootfs))
			return err == nil && real == m.target
		})
		if ofBundle && !slices.Contains(users[c], m.String()) {
			users[c] = append(users[c], m.String())
		}
	}
	return users[c], nil
}

// exchange puts a staged layer in the place of the one of that name, which
// gets the name in staging. The caller holds the chain's lock.
func (s *Store) exchange(ctx context.Context, staged string, c ChainID) error {
	// Nobody begins to rely on the layer while it is looked who does.
	lock, err := lockDir(ctx, s.layout.layers(), true)
	if err != nil {
		return fmt.Errorf("lock store: %w", err)
	}
	defer func() { _ = lock.Close() }()
	final := s.layout.layer(c)
	st, err := os.Lstat(final)
	if errors.Is(err, fs.ErrNotExist) {
		return renameNew(staged, final)
	}
	if err != nil {
		return err
	}
	if err := s.checkIdle(c); err != nil {
		return err
	}
	if st.IsDir() {
		if err := checkMounts(final); err != nil {
			return err
		}
	}
	err = sys.Renameat2(unix.AT_FDCWD, staged, unix.AT_FDCWD, final, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // NFS
		return s.exchangePlain(staged, final)
	}
	if err != nil {
		return &os.LinkError{Op: "exchange", Old: staged, New: final, Err: err}
	}
	return nil
}

// exchangePlain is for file systems that cannot exchange two names. Killed in
// the middle, the layer is missing, and fetched again when it is needed.
func (s *Store) exchangePlain(staged, final string) error {
	o, err := s.own()
	if err != nil {
		return err
	}
	old := o.work(s.layout)
	if err := os.Rename(final, old); err != nil {
		return err
	}
	if err := renameNew(staged, final); err != nil {
		return err
	}
	return os.Rename(old, staged)
}
