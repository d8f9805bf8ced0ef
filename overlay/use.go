package overlay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// useFile is bundles/KEY.json: a bundle that has lower dirs of this store.
type useFile struct {
	Dir    string    `json:"dir"`
	Chains []ChainID `json:"chains"`
	Owner  string    `json:"owner"` // who recorded it; while it lives the bundle may be in the making
}

func (u useFile) valid() bool {
	for _, c := range u.Chains {
		if c.Digest().Validate() != nil {
			return false
		}
	}
	return filepath.IsAbs(u.Dir)
}

// Use records that the bundle in dir has these layers as lower dirs, base
// first. They are kept as long as dir exists and a link in dir/lower leads to
// one of them. Use comes before those links are made, so that they never
// dangle; another Use of the same dir replaces it. If dir has an image.json,
// the store keeps a hard link of it where it can: by that a bundle counts that
// was moved on its file system.
func (s *Store) Use(ctx context.Context, dir string, chains []ChainID) error {
	name, err := bundleName(dir)
	if err == nil {
		err = s.lease(ctx, layerLeases(chains)...)
	}
	for _, c := range chains {
		if err == nil {
			_, err = s.load(c)
		}
	}
	if err == nil {
		err = s.recordUse(ctx, useFile{Dir: name, Chains: chains})
	}
	if err != nil {
		return fmt.Errorf("record bundle %s: %w", dir, err)
	}
	return nil
}

// UseAgain is Use for a bundle that is there, which may have been moved. A
// record that is right is left alone.
func (s *Store) UseAgain(ctx context.Context, dir string, chains []ChainID) error {
	name, err := bundleName(dir)
	if err != nil {
		return fmt.Errorf("record bundle %s: %w", dir, err)
	}
	key := useKey(name)
	u, err := s.readUse(key)
	if err == nil && u.Dir == name && slices.Equal(u.Chains, chains) && s.refsTo(key, name) {
		return nil
	}
	return s.Use(ctx, dir, chains)
}

func (s *Store) recordUse(ctx context.Context, u useFile) error {
	o, err := s.own()
	if err != nil {
		return err
	}
	u.Owner = o.id
	raw, err := json.Marshal(u)
	if err != nil {
		return err
	}
	lock, err := lockDir(ctx, s.layout.layers(), false) // a removal must not read half of it
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	key := useKey(u.Dir)
	if err := s.setAside(key, u.Dir); err != nil {
		return err
	}
	if err := s.writeFile(s.layout.bundle(key), raw, 0o644); err != nil {
		return err
	}
	return s.linkBundle(key, u.Dir)
}

// Release takes back a Use. Without one it does nothing.
func (s *Store) Release(dir string) error {
	name, err := bundleName(dir)
	if err == nil {
		err = s.dropUse(useKey(name))
	}
	if err != nil {
		return fmt.Errorf("release bundle %s: %w", dir, err)
	}
	return nil
}

// bundleName is the one name that a bundle has in the store, whatever links led
// to it: its path without any, also where it is gone.
func bundleName(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real, nil
	}
	parent, base := filepath.Split(abs)
	if real, err := filepath.EvalSymlinks(parent); err == nil {
		return filepath.Join(real, base), nil
	}
	return abs, nil
}

// dropUse removes a record.
func (s *Store) dropUse(key string) error {
	for _, path := range []string{s.layout.bundle(key), s.layout.bundleRef(key)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func useKey(abs string) string { return digest.FromString(abs).Encoded() }

// readUse reads one record.
func (s *Store) readUse(key string) (useFile, error) {
	path := s.layout.bundle(key)
	const remedy = "remove it, and give the bundles of this store to byhand overlay mount, which records them again"
	raw, err := readSmall(path)
	if err != nil {
		return useFile{}, withRemedy(err, remedy)
	}
	var u useFile
	if err := json.Unmarshal(raw, &u); err != nil || !u.valid() {
		return useFile{}, &CorruptError{Path: path, Reason: "not a record of a bundle", Remedy: remedy}
	}
	return u, nil
}

// uses returns the bundles and mounts that use each layer. drop, for a caller
// who holds the removal lock, also removes the records of bundles that are gone.
// With a [CorruptError] there is a record that cannot be read, and the rest is
// returned all the same.
func (s *Store) uses(drop bool) (map[ChainID][]string, error) {
	entries, err := os.ReadDir(s.layout.bundles())
	if err != nil {
		return nil, fmt.Errorf("read bundles: %w", err)
	}
	mounts, err := overlays()
	if err != nil {
		return nil, err
	}
	var all []bundleUse
	var damaged error
	patience := s.patience
	for _, e := range entries {
		key, ok := strings.CutSuffix(e.Name(), suffixJSON)
		if !ok {
			continue
		}
		u, err := s.readUse(key)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var corrupt *CorruptError
		if errors.As(err, &corrupt) {
			damaged = errors.Join(damaged, err)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read bundles: %w", err)
		}
		b := bundleUse{useFile: u, key: key}
		if !s.lookAt(&b, mounts, patience) {
			s.warn(errSilent, "look at bundle "+u.Dir)
			patience = min(patience, max(patience/10, time.Second)) // it may have company
		}
		if b.err != nil {
			return nil, fmt.Errorf("check bundle %s: %w", u.Dir, b.err)
		}
		all = append(all, b)
	}
	s.findMoved(all)
	users := map[ChainID][]string{}
	for _, u := range all {
		switch {
		case u.there, u.moved:
			for _, c := range u.Chains {
				users[c] = append(users[c], s.userOf(u))
			}
		case drop:
			_ = s.dropUse(u.key) // the next removal tries again
		}
	}
	if drop {
		s.sweepRefs(entries)
	}
	return users, errors.Join(s.addMounts(users, mounts), damaged)
}

// usesStore reports whether the bundle still needs its layers. Only proof
// that it does not counts: what cannot be looked at is in use.
func (s *Store) usesStore(u useFile, mounts []stacked) (bool, error) {
	// While it is mounted, deleting what is beside the mount point changes
	// nothing.
	if slices.ContainsFunc(mounts, func(m stacked) bool { return m.target == filepath.Join(u.Dir, bundleRootfs) }) {
		return true, nil
	}
	if isOwnerID(u.Owner) {
		alive, err := s.ownerLives(u.Owner)
		if alive || err != nil {
			return alive, err
		}
	}
	links, err := os.ReadDir(filepath.Join(u.Dir, bundleLower))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return false, nil
	case err != nil:
		return true, nil // a bundle of another user, or on a broken disk
	}
	for _, l := range links {
		n, err := strconv.Atoi(l.Name())
		if err != nil || n < 1 || n > len(u.Chains) {
			continue
		}
		there, err := os.Stat(filepath.Join(u.Dir, bundleLower, l.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return true, nil // see above
		}
		here, err := os.Stat(s.layout.diff(u.Chains[n-1]))
		if err == nil && os.SameFile(here, there) {
			return true, nil
		}
	}
	return false, nil
}

// ownerLives reports whether the process that recorded a bundle has the store
// open.
func (s *Store) ownerLives(id string) (bool, error) {
	f, err := os.OpenFile(s.layout.owner(id), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	dead, err := flockNow(f, lockShared)
	return !dead, err
}
