package overlay

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Usage says what one entry of the store's index takes there. Sizes are in
// bytes; that of a layer is its files' content.
type Usage struct {
	Image  Image
	Layers int64 // of the layers that are unpacked
	Blobs  int64 // of the blobs that are kept
	// Unique is what no other entry needs, and Shared the rest, of both.
	Unique, Shared int64
	// Users are bundles, overlay mounts and processes that use its layers,
	// as far as the caller may see them.
	Users []string
}

// Usage returns what the images take, in the order of Images. What is missing
// or cannot be read of one takes nothing.
func (s *Store) Usage(ctx context.Context) ([]Usage, error) {
	imgs, err := s.Images(ctx)
	if err != nil {
		return nil, err
	}
	users, err := s.layerUsers()
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	needs := make([]refs, len(imgs))
	needed := map[string]int{} // by how many images
	for i, img := range imgs {
		if needs[i], err = s.refsOf(ctx, []ocispec.Descriptor{img.descriptor()}, false); err != nil {
			return nil, err
		}
		for key := range needs[i].keys() {
			needed[key]++
		}
	}
	all := make([]Usage, len(imgs))
	for i, img := range imgs {
		u := Usage{Image: img}
		for key, size := range s.sizes(needs[i]) {
			if needed[key] == 1 {
				u.Unique += size
			} else {
				u.Shared += size
			}
			if strings.HasPrefix(key, leaseBlob) {
				u.Blobs += size
			} else {
				u.Layers += size
			}
		}
		for c := range needs[i].chains {
			u.Users = append(u.Users, users[c]...)
		}
		slices.Sort(u.Users)
		u.Users = slices.Compact(u.Users)
		all[i] = u
	}
	return all, nil
}

// keys names everything in r as leases do.
func (r refs) keys() map[string]bool {
	keys := make(map[string]bool, len(r.blobs)+len(r.chains))
	for d := range r.blobs {
		keys[leaseBlob+d.String()] = true
	}
	for c := range r.chains {
		keys[leaseLayer+c.String()] = true
	}
	return keys
}

// sizes returns the size of each thing in r that is in the store.
func (s *Store) sizes(r refs) map[string]int64 {
	sizes := map[string]int64{}
	for d := range r.blobs {
		if d.Validate() != nil {
			continue
		}
		if st, err := os.Lstat(s.layout.blob(d)); err == nil && st.Mode().IsRegular() {
			sizes[leaseBlob+d.String()] = st.Size()
		}
	}
	for c := range r.chains {
		if f, err := s.readLayerFile(c); err == nil {
			sizes[leaseLayer+c.String()] = f.Bytes
		}
	}
	return sizes
}

// layerUsers returns who uses each layer.
func (s *Store) layerUsers() (map[ChainID][]string, error) {
	users, err := s.uses(false)
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		s.warn(err, "read bundles")
		err = nil
	}
	if err != nil {
		return nil, err
	}
	self := ""
	s.mu.Lock()
	if s.owner != nil {
		self = s.owner.id
	}
	s.mu.Unlock()
	lines, err := leases(s.layout, self)
	if err != nil {
		return nil, err
	}
	for line, who := range lines {
		if c, ok := strings.CutPrefix(line, leaseLayer); ok {
			users[ChainID(c)] = append(users[ChainID(c)], who...)
		}
	}
	return users, nil
}

// AmbiguousError reports an image ID that several entries of the index begin
// with.
type AmbiguousError struct {
	ID     string
	Images []Image
}

// Same says whether all of them are names of one image.
func (e *AmbiguousError) Same() bool {
	return !slices.ContainsFunc(e.Images, func(img Image) bool { return img.Manifest.Digest != e.Images[0].Manifest.Digest })
}

func (e *AmbiguousError) Error() string {
	names := make([]string, len(e.Images))
	for i, img := range e.Images {
		names[i] = fmt.Sprintf("%s (%s)", img.Name, platformString(img.Manifest.Platform))
	}
	return fmt.Sprintf("%s could be any of %s; give more of it, or the name", e.ID, strings.Join(names, ", "))
}

// FindID returns the image whose manifest digest or image ID (the digest of its
// config) begins with id: hex digits, with or without the algorithm. More than
// one is an [AmbiguousError], none a [NotFoundError].
func (s *Store) FindID(ctx context.Context, id string) (Image, error) {
	imgs, err := s.Images(ctx)
	if err != nil {
		return Image{}, err
	}
	var found []Image
	for _, img := range imgs {
		if !hasID(img.Manifest.Digest, id) {
			m, err := s.readManifest(ctx, img.Manifest.Digest)
			if err != nil || !hasID(m.Config.Digest, id) {
				continue
			}
		}
		found = append(found, img)
	}
	switch len(found) {
	case 0:
		return Image{}, &NotFoundError{Name: id}
	case 1:
		return found[0], nil
	}
	return Image{}, &AmbiguousError{ID: id, Images: found}
}

func hasID(d digest.Digest, id string) bool {
	if d.Validate() != nil {
		return false
	}
	return id != "" && (strings.HasPrefix(d.Encoded(), id) || strings.HasPrefix(d.String(), id) && strings.Contains(id, ":"))
}

// ByDigest is the name that means this one image, whatever other platforms its
// name stands for.
func (img Image) ByDigest() string { return repository(img.Name) + "@" + img.Manifest.Digest.String() }
