package serve

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// dockerImage is an element of manifest.json as docker save writes it.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// addDockerArchive enters the images of a docker save archive. It has no
// manifest in a registry's sense, so one is written for it over the very bytes
// in the archive: that takes one pass to know their digests.
func (c *Catalog) addDockerArchive(ctx context.Context, s Source, f files) error {
	var images []dockerImage
	if err := readJSON(f, "manifest.json", &images); err != nil {
		return err
	}
	if s.Ref != "" {
		images = slices.DeleteFunc(images, func(i dockerImage) bool { return !i.named(s.Ref) })
	}
	if err := s.checkCount(len(images)); err != nil {
		return err
	}
	hashed := map[string]ocispec.Descriptor{}
	for _, image := range images {
		places := map[digest.Digest]content{}
		root, err := image.describe(ctx, f, places, hashed)
		if err != nil {
			return err
		}
		place := func(d digest.Digest) content { return places[d] }
		names := image.RepoTags
		if s.Ref != "" {
			names = []string{s.Ref}
		}
		switch {
		case len(names) > 0:
		case len(images) > 1:
			names = []string{"@" + root.Digest.String()} // only the digest tells them apart
		default:
			names = []string{""}
		}
		if isTagged(s.Name) {
			names = names[:1]
		}
		for _, name := range names {
			if err := c.add(s, name, root, place); err != nil {
				return err
			}
		}
	}
	return nil
}

func (i dockerImage) named(ref string) bool {
	return slices.ContainsFunc(i.RepoTags, func(name string) bool {
		return name == ref || name == ref+":latest"
	})
}

func isTagged(name string) bool { return strings.Contains(name, ":") }

// describe makes the image's manifest and notes in places where each of its
// objects lies. hashed remembers the members already read, since images of one
// archive share layers.
func (i dockerImage) describe(ctx context.Context, f files, places map[digest.Digest]content,
	hashed map[string]ocispec.Descriptor,
) (ocispec.Descriptor, error) {
	blob := func(name, mediaType string) (ocispec.Descriptor, error) {
		name = path.Clean("/" + name)[1:]
		d, known := hashed[name]
		if !known {
			var err error
			if d, err = hashMember(ctx, f, name); err != nil {
				return d, fmt.Errorf("read %s: %w", name, err)
			}
			hashed[name] = d
		}
		if d.MediaType == "" {
			d.MediaType = mediaType
		}
		places[d.Digest] = content{files: f, name: name}
		return d, nil
	}
	config, err := blob(i.Config, ocispec.MediaTypeImageConfig)
	if err != nil {
		return config, err
	}
	config.MediaType = ocispec.MediaTypeImageConfig
	layers := []ocispec.Descriptor{}
	for _, name := range i.Layers {
		layer, err := blob(name, ocispec.MediaTypeImageLayer)
		if err != nil {
			return layer, err
		}
		layers = append(layers, layer)
	}
	raw, err := newManifest(config, layers)
	if err != nil {
		return config, err
	}
	root := ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest,
		Digest:    digest.FromBytes(raw), Size: int64(len(raw)),
	}
	places[root.Digest] = content{data: raw}
	return root, nil
}

// hashMember describes one member's bytes; the media type is set only where
// they show that they are a compressed layer.
func hashMember(ctx context.Context, f files, name string) (ocispec.Descriptor, error) {
	c, err := f.open(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer func() { _ = c.Close() }()
	var d ocispec.Descriptor
	magic := make([]byte, 4)
	n, err := io.ReadFull(c, magic)
	if err != nil && n == 0 {
		return d, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		d.MediaType = ocispec.MediaTypeImageLayerGzip
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		d.MediaType = ocispec.MediaTypeImageLayerZstd
	}
	hash := digest.SHA256.Digester()
	_, _ = hash.Hash().Write(magic[:n]) // hash.Hash never fails
	rest, err := io.Copy(hash.Hash(), contextReader(ctx, c))
	if err != nil {
		return d, err
	}
	d.Digest, d.Size = hash.Digest(), int64(n)+rest
	if d.Size != c.size {
		return d, fmt.Errorf("%w: %d bytes of %d", io.ErrUnexpectedEOF, d.Size, c.size)
	}
	return d, nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// contextReader stops reading when ctx ends.
func contextReader(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	})
}

func memory(data []byte) *file {
	return &file{
		ReadSeeker: bytes.NewReader(data), size: int64(len(data)),
		close: func() error { return nil },
	}
}
