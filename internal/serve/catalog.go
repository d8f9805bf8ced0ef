package serve

import (
	"context"
	_ "crypto/sha256" // go-digest finds its algorithms by import
	_ "crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// maxMetadata is the distribution specification's advice for the largest
	// manifest that a registry should take.
	maxMetadata = 4 << 20
	// maxDepth bounds indexes within indexes.
	maxDepth = 8
	// maxObjects bounds what one repository refers to.
	maxObjects = 100_000
)

// Catalog is the content of the opened sources by repository. It does not
// change after Open and may be used by several goroutines.
type Catalog struct {
	repositories map[string]*repository
	sources      []files
}

// repository is what one name serves: nothing but what its tags and digests
// lead to, so that a token for one repository opens no other.
type repository struct {
	tags    map[string]digest.Digest
	objects map[digest.Digest]object
}

// object is one manifest or blob and the place that has it.
type object struct {
	descriptor ocispec.Descriptor
	manifest   bool
	content    content
}

// content is where an object's bytes are: a file of a source, or data made up
// in memory (the manifest of a docker archive has no file).
type content struct {
	files files
	name  string
	data  []byte
}

// Image is one tag and what it names.
type Image struct {
	Repository, Tag string // Tag is empty for what only a digest names
	Digest          digest.Digest
}

func (i Image) String() string {
	if i.Tag == "" {
		return i.Repository + "@" + i.Digest.String()
	}
	return i.Repository + ":" + i.Tag
}

// Open reads what the sources contain. The caller closes the catalog.
func Open(ctx context.Context, sources []Source) (_ *Catalog, err error) {
	c := &Catalog{repositories: map[string]*repository{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	for _, s := range sources {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, kind, err := openFiles(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("open source: %w", err)
		}
		c.sources = append(c.sources, f)
		if kind == DockerArchive {
			err = c.addDockerArchive(ctx, s, f)
		} else {
			err = c.addLayout(ctx, s, f)
		}
		if err != nil {
			return nil, fmt.Errorf("read source %s: %w", s.Path, err)
		}
	}
	return c, nil
}

// Close closes the sources; requests still under way fail.
func (c *Catalog) Close() error {
	var errs []error
	for _, f := range c.sources {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// Images lists what the catalog serves, sorted by repository and tag.
func (c *Catalog) Images() []Image {
	var images []Image
	for name, r := range c.repositories {
		for tag, d := range r.tags {
			images = append(images, Image{Repository: name, Tag: tag, Digest: d})
		}
		if len(r.tags) == 0 {
			for d, o := range r.objects {
				if o.manifest {
					images = append(images, Image{Repository: name, Digest: d})
				}
			}
		}
	}
	slices.SortFunc(images, func(a, b Image) int {
		if a.String() < b.String() {
			return -1
		}
		return 1
	})
	return images
}

// add enters one image of a source under the name the source gives it.
func (c *Catalog) add(s Source, refName string, root ocispec.Descriptor, place placer) error {
	name, tag, err := s.target(refName)
	if err != nil {
		return err
	}
	repo := c.repositories[name]
	if repo == nil {
		repo = &repository{tags: map[string]digest.Digest{}, objects: map[digest.Digest]object{}}
		c.repositories[name] = repo
	}
	if was, ok := repo.tags[tag]; ok && was != root.Digest {
		return fmt.Errorf("serve %s:%s: the sources have two images of this name, %s and %s", name, tag, was, root.Digest)
	}
	if tag != "" {
		repo.tags[tag] = root.Digest
	}
	return repo.walk(root, place, 0)
}

// placer says where a source keeps the object with a digest.
type placer func(digest.Digest) content

// walk enters a manifest or index and all that it refers to. A child that is
// not there, or cannot be read, is served as far as it goes: an incomplete
// layout is a layout that a client must be able to complain about.
func (repo *repository) walk(d ocispec.Descriptor, place placer, depth int) error {
	if d.Digest.Validate() != nil {
		return nil // it cannot be asked for either
	}
	if len(repo.objects) >= maxObjects {
		return fmt.Errorf("serve %s: the image refers to more than %d objects", d.Digest, maxObjects)
	}
	where := place(d.Digest)
	repo.objects[d.Digest] = object{descriptor: d, manifest: true, content: where}
	raw, err := where.read(maxMetadata)
	var m struct {
		Manifests []ocispec.Descriptor `json:"manifests"`
		Config    *ocispec.Descriptor  `json:"config"`
		Layers    []ocispec.Descriptor `json:"layers"`
	}
	if err != nil || json.Unmarshal(raw, &m) != nil {
		return nil
	}
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	for _, blob := range m.Layers {
		if _, known := repo.objects[blob.Digest]; !known && blob.Digest.Validate() == nil && len(repo.objects) < maxObjects {
			repo.objects[blob.Digest] = object{descriptor: blob, content: place(blob.Digest)}
		}
	}
	for _, child := range m.Manifests {
		if _, known := repo.objects[child.Digest]; known || depth >= maxDepth {
			continue
		}
		if err := repo.walk(child, place, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (c content) open() (*file, error) {
	if c.data != nil {
		return memory(c.data), nil
	}
	return c.files.open(c.name)
}

func (c content) read(limit int64) ([]byte, error) {
	if c.data != nil {
		return c.data, nil
	}
	return readAll(c.files, c.name, limit)
}

// addLayout enters the images of an OCI image layout, image-spec section
// "index.json file".
func (c *Catalog) addLayout(ctx context.Context, s Source, f files) error {
	var layout ocispec.ImageLayout
	if err := readJSON(f, ocispec.ImageLayoutFile, &layout); err != nil {
		return err
	}
	if layout.Version != ocispec.ImageLayoutVersion {
		return fmt.Errorf("read oci-layout: version %q, expected %q", layout.Version, ocispec.ImageLayoutVersion)
	}
	var index ocispec.Index
	if err := readJSON(f, ocispec.ImageIndexFile, &index); err != nil {
		return err
	}
	roots := slices.DeleteFunc(index.Manifests, func(d ocispec.Descriptor) bool {
		return s.Ref != "" && !slices.Contains(refNames(d), s.Ref)
	})
	if err := s.checkCount(len(roots)); err != nil {
		return err
	}
	place := func(d digest.Digest) content {
		return content{files: f, name: "blobs/" + d.Algorithm().String() + "/" + d.Encoded()}
	}
	for _, root := range roots {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := root.Digest.Validate(); err != nil {
			return fmt.Errorf("read index.json: digest %q: %w", root.Digest, err)
		}
		name := s.Ref
		if names := refNames(root); name == "" && len(names) > 0 {
			name = names[0]
		}
		if name == "" && len(roots) > 1 {
			name = "@" + root.Digest.String() // no tag: only the digest tells them apart
		}
		if err := c.add(s, name, root, place); err != nil {
			return err
		}
	}
	return nil
}

// refNames gives the names a layout has for an image, the fuller one first.
// docker save writes the bare tag into the specification's annotation and the
// whole name into containerd's.
func refNames(d ocispec.Descriptor) []string {
	var names []string
	for _, key := range []string{"io.containerd.image.name", ocispec.AnnotationRefName} {
		if name := d.Annotations[key]; name != "" {
			names = append(names, name)
		}
	}
	return names
}

// checkCount refuses a selection that is empty or cannot have one name.
func (s Source) checkCount(n int) error {
	switch {
	case n == 0:
		return &NoImageError{Ref: s.Ref}
	case n > 1 && isTagged(s.Name):
		return fmt.Errorf("serve as %s: it has %d images; choose one, as in %s=oci:%s:TAG", s.Name, n, s.Name, s.Path)
	}
	return nil
}

func readJSON(f files, name string, v any) error {
	raw, err := readAll(f, name, maxMetadata)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("parse %s: %w", name, err)
	}
	return nil
}

// newManifest is the manifest of an image that came without one.
func newManifest(config ocispec.Descriptor, layers []ocispec.Descriptor) ([]byte, error) {
	return json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    config,
		Layers:    layers,
	})
}
