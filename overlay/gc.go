package overlay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// Freed says what a removal did.
type Freed struct {
	Images []string // names that are gone
	Layers int
	Blobs  int
	Bytes  int64        // of blobs, and of the content of layers
	Kept   []InUseError // what nothing in the store needs, but somebody does
}

// Remove forgets images by name, on all platforms, and frees what only they
// needed. A name with a digest that the store does not list as it is means all
// names of that repository for the image. Remove refuses with an [InUseError],
// changing nothing, when that would take a layer from a bundle.
func (s *Store) Remove(ctx context.Context, names ...string) (Freed, error) {
	return s.RemovePlatform(ctx, ocispec.Platform{}, names...)
}

// RemovePlatform is Remove for the images of one platform alone; what the names
// mean on others stays. The zero platform matches any.
func (s *Store) RemovePlatform(ctx context.Context, p ocispec.Platform, names ...string) (Freed, error) {
	c, err := s.newCollector(ctx)
	if err != nil {
		return Freed{}, err
	}
	err = c.removeImages(ctx, p, names)
	return c.freed, errors.Join(err, c.finish())
}

// Prune frees everything that no image, bundle or running process needs:
// layers, blobs, records of bundles that are gone, and all leftovers in
// staging.
func (s *Store) Prune(ctx context.Context) (Freed, error) {
	o, err := s.own()
	if err != nil {
		return Freed{}, err
	}
	sweepErr := s.sweep(o.id, true)
	c, err := s.newCollector(ctx)
	if err != nil {
		return Freed{}, errors.Join(sweepErr, err)
	}
	err = c.prune(ctx)
	return c.freed, errors.Join(sweepErr, err, c.finish())
}

// collector is one removal. It holds the removal lock from newCollector to
// finish, and only for renames: trees are deleted after that.
type collector struct {
	store  *Store
	lock   *os.File
	users  map[ChainID][]string // bundles
	lease  map[string][]string  // processes
	doomed []string             // names in staging
	freed  Freed
}

func (s *Store) newCollector(ctx context.Context) (*collector, error) {
	o, err := s.own()
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(ctx, s.layout.layers(), true)
	if err != nil {
		return nil, fmt.Errorf("lock store: %w", err)
	}
	c := &collector{store: s, lock: lock}
	c.users, err = s.uses(true)
	if err == nil {
		c.lease, err = leases(s.layout, o.id)
	}
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	return c, nil
}

// finish gives up the lock and deletes what was renamed away.
func (c *collector) finish() error {
	_ = c.lock.Close()
	var errs []error
	for _, name := range c.doomed {
		errs = append(errs, c.store.removeStaged(name))
	}
	return errors.Join(errs...)
}

// removeImages takes names out of the index and frees what they alone needed.
func (c *collector) removeImages(ctx context.Context, p ocispec.Platform, names []string) error {
	var gone, kept refs
	err := c.store.updateIndex(ctx, func(idx *ocispec.Index) error {
		out, in, err := split(idx.Manifests, p, names)
		if err != nil {
			return err
		}
		for _, d := range out {
			c.freed.Images = append(c.freed.Images, nameOf(d))
		}
		if kept, err = c.store.refsOf(ctx, in, true); err != nil {
			return err
		}
		// A damaged image can be removed: what cannot be read of it is left
		// to Prune.
		if gone, err = c.store.refsOf(ctx, out, false); err != nil {
			return err
		}
		if err := c.checkUsers(names, gone, kept); err != nil {
			return err
		}
		idx.Manifests = append([]ocispec.Descriptor{}, in...)
		return nil
	})
	if err != nil {
		c.freed.Images = nil
		return err
	}
	slices.Sort(c.freed.Images)
	c.freed.Images = slices.Compact(c.freed.Images)
	return c.free(ctx, func(ch ChainID) bool { return gone.chains[ch] && !kept.chains[ch] },
		func(d digest.Digest) bool { return gone.blobs[d] && !kept.blobs[d] })
}

// split parts the entries that names mean on platform p from the others. A name
// with a digest means all names of that image, unless it is one of them.
func split(entries []ocispec.Descriptor, p ocispec.Platform, names []string) (out, in []ocispec.Descriptor, err error) {
	byName := map[string][]int{} // of entries
	for i, d := range entries {
		byName[nameOf(d)] = append(byName[nameOf(d)], i)
	}
	gone := make([]bool, len(entries))
	for _, name := range names {
		missing := &NotFoundError{Name: name, Platform: platformString(&p)}
		found := false
		for _, i := range meant(entries, byName, name) {
			have := entries[i].Platform
			if p.OS == "" || samePlatform(have, &p) {
				gone[i], found = true, true
			} else {
				missing.Available = append(missing.Available, platformString(have))
			}
		}
		if !found {
			return nil, nil, missing
		}
	}
	for i, d := range entries {
		if gone[i] {
			out = append(out, d)
		} else {
			in = append(in, d)
		}
	}
	for _, d := range out {
		showAgain(in, nameOf(d))
	}
	return out, in, nil
}

// meant returns the entries that name means on any platform.
func meant(entries []ocispec.Descriptor, byName map[string][]int, name string) []int {
	if listed, ok := byName[name]; ok {
		return listed
	}
	var list []int
	for i, d := range entries {
		if imageOf(d).matches(name) {
			list = append(list, i)
		}
	}
	return list
}

// showAgain has other tools find the newest entry of a name, if none is left
// that they find.
func showAgain(entries []ocispec.Descriptor, name string) {
	newest := -1
	for i, d := range entries {
		if nameOf(d) != name {
			continue
		}
		if d.Annotations[ocispec.AnnotationRefName] != "" {
			return
		}
		if newest < 0 || imageOf(d).Added.After(imageOf(entries[newest]).Added) {
			newest = i
		}
	}
	if newest >= 0 {
		entries[newest] = imageOf(entries[newest]).descriptor()
	}
}

// checkUsers refuses to take layers from bundles.
func (c *collector) checkUsers(names []string, gone, kept refs) error {
	var users []string
	for ch := range gone.chains {
		if !kept.chains[ch] {
			users = append(users, c.users[ch]...)
		}
	}
	if len(users) == 0 {
		return nil
	}
	slices.Sort(users)
	var what strings.Builder
	what.WriteString("image")
	for _, n := range names {
		what.WriteString(" " + n)
	}
	return &InUseError{What: what.String(), Users: slices.Compact(users)}
}

// prune frees all that is not needed.
func (c *collector) prune(ctx context.Context) error {
	idx, err := c.store.readIndex()
	if err != nil {
		return err
	}
	kept, err := c.store.refsOf(ctx, idx.Manifests, true)
	if err != nil {
		return err
	}
	return c.free(ctx, func(ch ChainID) bool { return !kept.chains[ch] },
		func(d digest.Digest) bool { return !kept.blobs[d] })
}

// free removes the layers and blobs that are chosen and that nobody uses.
func (c *collector) free(ctx context.Context, layer func(ChainID) bool, blob func(digest.Digest) bool) error {
	chains, err := c.store.chains()
	if err != nil {
		return err
	}
	var errs []error
	for _, ch := range chains {
		if ctx.Err() != nil {
			return errors.Join(append(errs, context.Cause(ctx))...)
		}
		if layer(ch) {
			errs = append(errs, c.freeLayer(ch))
		}
	}
	errs = append(errs, c.freeLinks(), c.freeBlobs(blob))
	return errors.Join(errs...)
}

// freeLayer takes one layer out of the store, unless somebody needs it.
func (c *collector) freeLayer(ch ChainID) error {
	s := c.store
	what := "layer " + ch.String()
	users := append(slices.Clone(c.users[ch]), c.lease[leaseLayer+ch.String()]...)
	if len(users) > 0 {
		c.freed.Kept = append(c.freed.Kept, InUseError{What: what, Users: users})
		return nil
	}
	lock, err := tryLock(s.layout.chainLock(ch))
	if err != nil {
		return err
	}
	if lock == nil {
		c.freed.Kept = append(c.freed.Kept, InUseError{What: what, Users: []string{"a process that is making it"}})
		return nil
	}
	defer lock.release()
	var bytes int64
	if f, err := s.readLayerFile(ch); err == nil {
		bytes = f.Bytes
	}
	name, err := s.rename(s.layout.layer(ch))
	var used *InUseError
	if errors.As(err, &used) {
		c.freed.Kept = append(c.freed.Kept, *used)
		return nil
	}
	if err != nil {
		return err
	}
	c.doomed = append(c.doomed, name)
	c.freed.Layers++
	c.freed.Bytes += bytes
	if err := os.Remove(s.layout.link(ch)); err != nil && !isMissing(err) {
		return err
	}
	return nil
}

// freeLinks removes short links whose layer is gone.
func (c *collector) freeLinks() error {
	dir := c.store.layout.links()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		target, err := os.Readlink(path)
		if errors.Is(err, unix.EINVAL) || isMissing(err) {
			continue // not a link: not ours
		}
		if err != nil {
			return err
		}
		ch, ok := chainOfName(filepath.Base(filepath.Dir(target)))
		if !ok || ch.short() != e.Name() || target != c.store.layout.linkTarget(ch) {
			continue
		}
		if err := c.freeLink(ch); err != nil {
			return err
		}
	}
	return nil
}

// freeLink removes the link of a layer that is not there and not in the
// making.
func (c *collector) freeLink(ch ChainID) error {
	if _, err := os.Lstat(c.store.layout.layer(ch)); !isMissing(err) {
		return err
	}
	lock, err := tryLock(c.store.layout.chainLock(ch))
	if lock == nil {
		return err
	}
	defer lock.release()
	if _, err := os.Lstat(c.store.layout.layer(ch)); !isMissing(err) {
		return err
	}
	if err := os.Remove(c.store.layout.link(ch)); err != nil && !isMissing(err) {
		return err
	}
	return nil
}

// freeBlobs removes the blobs that are chosen and that nobody is about to
// list. Names that are not digests are left alone.
func (c *collector) freeBlobs(chosen func(digest.Digest) bool) error {
	root := c.store.layout.blobs()
	algs, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, alg := range algs {
		entries, err := os.ReadDir(filepath.Join(root, alg.Name()))
		if errors.Is(err, unix.ENOTDIR) || isMissing(err) {
			continue // not a directory: not ours
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			d := digest.NewDigestFromEncoded(digest.Algorithm(alg.Name()), e.Name())
			if d.Validate() != nil || !chosen(d) {
				continue
			}
			if users := c.lease[leaseBlob+d.String()]; len(users) > 0 {
				c.freed.Kept = append(c.freed.Kept, InUseError{What: "blob " + d.String(), Users: users})
				continue
			}
			if err := c.freeBlob(d, e); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *collector) freeBlob(d digest.Digest, e os.DirEntry) error {
	info, err := e.Info()
	if err == nil && !info.Mode().IsRegular() {
		return nil
	}
	if err == nil {
		err = os.Remove(c.store.layout.blob(d))
	}
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	c.freed.Blobs++
	c.freed.Bytes += info.Size()
	return nil
}

// chains lists the layers in the store, whether they can be trusted or not.
func (s *Store) chains() ([]ChainID, error) {
	entries, err := os.ReadDir(s.layout.layers())
	if err != nil {
		return nil, fmt.Errorf("list layers: %w", err)
	}
	var chains []ChainID
	for _, e := range entries {
		if c, ok := chainOfName(e.Name()); ok {
			chains = append(chains, c)
		}
	}
	return chains, nil
}

// diffIDs reads the diff IDs of an image config; nil for a config of
// something else.
func diffIDs(raw []byte) []digest.Digest {
	var config struct {
		RootFS struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if json.Unmarshal(raw, &config) != nil || validate(config.RootFS.DiffIDs) != nil {
		return nil
	}
	return config.RootFS.DiffIDs
}
