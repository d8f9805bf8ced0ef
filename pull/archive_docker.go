package pull

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// dockerManifestFile lists the images of an archive that docker save made.
const dockerManifestFile = "manifest.json"

// dockerImage is an entry of manifest.json.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// dockerArchive is the provider for the output of docker save. That has no
// manifest with digests, so one is made: a layer that lies there uncompressed
// has the digest that the config states as its diff ID, and the config has the
// digest that is its name.
type dockerArchive struct {
	set    *archiveSet
	name   string
	ref    Reference
	limits Limits
	images []dockerImage

	made  rawDocument              // the manifest, once list has made it
	files map[digest.Digest]string // entries by the digest of their content
}

var (
	_ provider = (*dockerArchive)(nil)
	_ lister   = (*dockerArchive)(nil)
)

func newDockerArchive(set *archiveSet, ref Reference, name string, limits Limits) (*dockerArchive, error) {
	a := &dockerArchive{set: set, name: name, ref: ref, limits: limits}
	raw, err := a.read(dockerManifestFile)
	if err != nil {
		return nil, err
	}
	return a, decodeJSON(dockerManifestFile+" of "+name, raw, &a.images)
}

// read returns a metadata entry as a whole.
func (a *dockerArchive) read(name string) ([]byte, error) {
	f, size, err := a.open(name)
	if err != nil {
		return nil, err
	}
	if size > a.limits.Metadata {
		return nil, &LimitError{Object: name + " of " + a.name, Limit: "Metadata", Max: a.limits.Metadata, Got: size}
	}
	return io.ReadAll(f)
}

// open opens an entry that manifest.json speaks of.
func (a *dockerArchive) open(name string) (io.Reader, int64, error) {
	f, size, err := a.set.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, &FormatError{Object: a.name, Reason: fmt.Sprintf("entry %q is missing", name)}
	}
	return f, size, err
}

// list implements lister.
func (a *dockerArchive) list(ctx context.Context, _ string) ([]ocispec.Descriptor, error) {
	img, err := a.choose()
	if err != nil {
		return nil, err
	}
	if err := a.build(ctx, img); err != nil {
		return nil, err
	}
	return []ocispec.Descriptor{{
		MediaType: ocispec.MediaTypeImageManifest,
		Digest:    digest.Digest(a.made.digest),
		Size:      int64(len(a.made.raw)),
	}}, nil
}

// choose returns the image that the reference names, or the only one.
func (a *dockerArchive) choose() (dockerImage, error) {
	tags := a.allTags()
	if a.ref.Repository == "" {
		switch len(a.images) {
		case 0:
			return dockerImage{}, &NotFoundError{Object: "an image in " + a.name + ", which is empty"}
		case 1:
			return a.images[0], nil
		}
		return dockerImage{}, &NotFoundError{Object: "which image is meant in " + a.name, Available: tags}
	}
	want := a.ref.Host + "/" + a.ref.Repository + ":" + a.ref.Tag
	for _, img := range a.images {
		for _, t := range img.RepoTags {
			if r, reason := parseName(t); reason == "" && r.Name()+":"+r.Tag == want {
				return img, nil
			}
		}
	}
	return dockerImage{}, &NotFoundError{Object: fmt.Sprintf("image %s in %s", want, a.name), Available: tags}
}

// build makes the manifest of img.
func (a *dockerArchive) build(ctx context.Context, img dockerImage) error {
	raw, err := a.read(img.Config)
	if err != nil {
		return err
	}
	files := map[digest.Digest]string{}
	object := fmt.Sprintf("config %s of %s", img.Config, a.name)
	configDigest := nameDigest(img.Config)
	if configDigest == "" {
		configDigest = digest.FromBytes(raw)
	}
	if err := checkBytes(object, raw, configDigest, -1); err != nil {
		return err
	}
	files[configDigest] = img.Config
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: configDigest, Size: int64(len(raw))},
		Layers:    []ocispec.Descriptor{},
	}
	var config document
	if err := decodeJSON(object, raw, &config); err != nil {
		return err
	}
	if got, want := len(config.RootFS.DiffIDs), len(img.Layers); got != want {
		return &FormatError{Object: object, Reason: fmt.Sprintf("it lists %d diff IDs for the %d layers of %s", got, want, dockerManifestFile)}
	}
	if n := len(img.Layers); n > a.limits.Layers {
		return &LimitError{Object: object, Limit: "Layers", Max: int64(a.limits.Layers), Got: int64(n)}
	}
	hashed := map[archiveEntry]digest.Digest{}
	for i, name := range img.Layers {
		d, err := a.layer(ctx, name, config.RootFS.DiffIDs[i], hashed)
		if err != nil {
			return err
		}
		files[d.Digest] = name
		m.Layers = append(m.Layers, d)
	}
	made, err := json.Marshal(m)
	if err != nil {
		return err
	}
	a.files = files
	a.made = rawDocument{mediaType: m.MediaType, digest: string(digest.FromBytes(made)), raw: made}
	return nil
}

// layer describes an entry with a layer. hashed has the digests of those that
// had to be read before: many layers may be one entry.
func (a *dockerArchive) layer(ctx context.Context, name string, diffID digest.Digest, hashed map[archiveEntry]digest.Digest) (ocispec.Descriptor, error) {
	var d ocispec.Descriptor
	if err := validDigest("the diff ID of "+name+" in "+a.name, diffID); err != nil {
		return d, err
	}
	f, size, err := a.open(name)
	if err != nil {
		return d, err
	}
	head := make([]byte, 16)
	n, err := readFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) {
		return d, fmt.Errorf("read %s of %s: %w", name, a.name, err)
	}
	d = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: diffID, Size: size}
	switch sniff(head[:n]) {
	case plain:
		return d, nil
	case gzipped:
		d.MediaType = ocispec.MediaTypeImageLayerGzip
	case zstandard:
		d.MediaType = ocispec.MediaTypeImageLayerZstd
	}
	if named := nameDigest(name); named != "" && named != diffID {
		d.Digest = named
		return d, nil
	}
	// Nothing says what the compressed bytes hash to. The diff ID still
	// proves the content; the digest is only their name.
	e, err := a.set.find(name)
	if err != nil {
		return d, err
	}
	if hashed[e] == "" {
		if hashed[e], err = a.hashEntry(ctx, name); err != nil {
			return d, err
		}
	}
	d.Digest = hashed[e]
	return d, nil
}

// hashEntry computes the sha256 of an entry.
func (a *dockerArchive) hashEntry(ctx context.Context, name string) (digest.Digest, error) {
	f, _, err := a.open(name)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	buf := make([]byte, blockSize)
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := readFull(f, buf)
		_, _ = h.Write(buf[:n]) // a hash.Hash never fails
		if errors.Is(err, io.EOF) {
			return digest.NewDigest(digest.SHA256, h), nil
		}
		if err != nil {
			return "", fmt.Errorf("read %s of %s: %w", name, a.name, err)
		}
	}
}

// nameDigest returns the digest that an entry's name states: HEX.json as docker
// save writes configs, ALGORITHM/HEX in its newer form; "" for other names.
func nameDigest(name string) digest.Digest {
	base := strings.TrimSuffix(path.Base(name), ".json")
	algorithm := digest.SHA256
	if path.Base(path.Dir(name)) == digest.SHA512.String() {
		algorithm = digest.SHA512
	}
	if algorithm.Validate(base) != nil {
		return ""
	}
	return digest.NewDigestFromEncoded(algorithm, base)
}

// manifest implements provider.
func (a *dockerArchive) manifest(_ context.Context, ref string) (rawDocument, error) {
	if ref != a.made.digest {
		return rawDocument{}, &NotFoundError{Object: fmt.Sprintf("manifest %s in %s", ref, a.name)}
	}
	return a.made, nil
}

// blob implements provider.
func (a *dockerArchive) blob(_ context.Context, object string, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	name, ok := a.files[desc.Digest]
	if !ok {
		return nil, &NotFoundError{Object: object}
	}
	e, err := a.set.find(name)
	if err != nil {
		return nil, err
	}
	offset = min(offset, e.size)
	return io.NopCloser(io.NewSectionReader(a.set.file.data, e.offset+offset, e.size-offset)), nil
}

// tags implements provider.
func (a *dockerArchive) tags(context.Context) ([]string, error) { return a.allTags(), nil }

func (a *dockerArchive) allTags() []string {
	var tags nameSet
	for _, img := range a.images {
		for _, t := range img.RepoTags {
			tags.add(t)
		}
	}
	return tags.list
}

func (a *dockerArchive) close() error { return a.set.close() }
