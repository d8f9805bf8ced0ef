package overlay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Annotations of the entries of index.json. The name is also the standard
// org.opencontainers.image.ref.name, by which other tools find the image; an
// image of the same name for another platform loses that to the newest, so
// that a name means one thing to them.
const (
	annotationName  = "io.byhand.name"
	annotationIndex = "io.byhand.index"
	annotationAdded = "io.byhand.added"
)

// Image is one entry of the store's index: a name and the manifest it stands
// for on one platform.
type Image struct {
	Name        string             // full reference, such as docker.io/library/alpine:latest
	Manifest    ocispec.Descriptor // with its platform, without annotations
	IndexDigest digest.Digest      // of the index that led to the manifest, "" for none
	Added       time.Time          // set by Tag
	Annotations map[string]string  // further facts
}

// Tag lists an image under its name, in place of one of the same name and
// platform. Its manifest and config must be in the store.
func (s *Store) Tag(ctx context.Context, img Image) error {
	if img.Name == "" {
		return errors.New("tag image: no name")
	}
	if err := s.leaseImage(ctx, img); err != nil {
		return fmt.Errorf("tag image %s: %w", img.Name, err)
	}
	if err := s.syncBlobs(img); err != nil {
		return fmt.Errorf("tag image %s: %w", img.Name, err)
	}
	img.Added = time.Now().UTC().Truncate(time.Second)
	return s.updateIndex(ctx, func(idx *ocispec.Index) error {
		kept := []ocispec.Descriptor{img.descriptor()}
		for _, d := range idx.Manifests {
			if nameOf(d) != img.Name {
				kept = append(kept, d)
				continue
			}
			if samePlatform(d.Platform, img.Manifest.Platform) {
				continue
			}
			kept = append(kept, withoutRefName(d, img.Name))
		}
		slices.SortStableFunc(kept, func(a, b ocispec.Descriptor) int { return cmp.Compare(nameOf(a), nameOf(b)) })
		idx.Manifests = kept
		return nil
	})
}

// leaseImage leases an image's documents and checks that they are there and
// whole: nothing is listed that cannot be read.
func (s *Store) leaseImage(ctx context.Context, img Image) error {
	lines := []string{leaseBlob + img.Manifest.Digest.String()}
	if img.IndexDigest != "" {
		lines = append(lines, leaseBlob+img.IndexDigest.String())
	}
	if err := s.lease(ctx, lines...); err != nil {
		return err
	}
	m, err := s.readManifest(ctx, img.Manifest.Digest)
	if err != nil {
		return err
	}
	if err := s.lease(ctx, leaseBlob+m.Config.Digest.String()); err != nil {
		return err
	}
	if _, err := s.ReadBlob(ctx, m.Config.Digest); err != nil {
		return err
	}
	if img.IndexDigest != "" {
		_, err = s.ReadBlob(ctx, img.IndexDigest)
	}
	return err
}

// syncBlobs makes the names of blobs durable before the index names them.
func (s *Store) syncBlobs(img Image) error {
	return syncDir(s.layout.blobDir(img.Manifest.Digest.Algorithm()))
}

// Images lists all images by name, of one name the newest first.
func (s *Store) Images(_ context.Context) ([]Image, error) {
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	var imgs []Image
	for _, d := range idx.Manifests {
		if nameOf(d) != "" {
			imgs = append(imgs, imageOf(d))
		}
	}
	slices.SortStableFunc(imgs, func(a, b Image) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), b.Added.Compare(a.Added))
	})
	return imgs, nil
}

// Find returns the newest image of a name and platform. A name with a digest
// finds every image of that repository whose manifest or index has the
// digest. The zero platform matches any.
func (s *Store) Find(ctx context.Context, name string, p ocispec.Platform) (Image, error) {
	imgs, err := s.Images(ctx)
	if err != nil {
		return Image{}, err
	}
	missing := &NotFoundError{Name: name, Platform: platformString(&p)}
	for _, img := range imgs {
		if !img.matches(name) {
			continue
		}
		if p.OS == "" || samePlatform(img.Manifest.Platform, &p) {
			return img, nil
		}
		missing.Available = append(missing.Available, platformString(img.Manifest.Platform))
	}
	return Image{}, missing
}

// DiffIDs returns the diff IDs of an image's layers from its config, base
// first.
func (s *Store) DiffIDs(ctx context.Context, img Image) ([]digest.Digest, error) {
	m, err := s.readManifest(ctx, img.Manifest.Digest)
	if err != nil {
		return nil, fmt.Errorf("read image %s: %w", img.Name, err)
	}
	raw, err := s.ReadBlob(ctx, m.Config.Digest)
	if err != nil {
		return nil, fmt.Errorf("read image %s: %w", img.Name, err)
	}
	return diffIDs(raw), nil
}

// matches reports whether name means the image.
func (img Image) matches(name string) bool {
	if img.Name == name {
		return true
	}
	repo, hex, ok := strings.Cut(name, "@")
	if !ok || repository(repo) != repository(img.Name) {
		return false
	}
	d := digest.Digest(hex)
	return d == img.Manifest.Digest || d == img.IndexDigest
}

// repository cuts tag and digest off a full reference.
func repository(name string) string {
	name, _, _ = strings.Cut(name, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	return name
}

func (img Image) descriptor() ocispec.Descriptor {
	d := img.Manifest
	d.Annotations = maps.Clone(img.Annotations)
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[annotationName] = img.Name
	d.Annotations[ocispec.AnnotationRefName] = refName(img.Name)
	d.Annotations[annotationAdded] = img.Added.Format(time.RFC3339)
	if img.IndexDigest != "" {
		d.Annotations[annotationIndex] = img.IndexDigest.String()
	}
	return d
}

// What no component of a reference has (image-spec, annotations.md,
// org.opencontainers.image.ref.name), and what it has between letters only.
const refSeparators = "._:@+-"

var refOdd = regexp.MustCompile(`[^A-Za-z0-9._:@+-]+`)

// refName is the name by which other tools find an image. They take no other
// characters than those of a reference, which the path of a layout may have.
func refName(name string) string {
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		part = refOdd.ReplaceAllString(part, "-")
		if part = strings.Trim(part, refSeparators); part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "/")
}

func imageOf(d ocispec.Descriptor) Image {
	img := Image{Name: nameOf(d), IndexDigest: indexOf(d), Manifest: d}
	img.Added, _ = time.Parse(time.RFC3339, d.Annotations[annotationAdded])
	img.Manifest.Annotations = nil
	for k, v := range d.Annotations {
		switch k {
		case annotationName, annotationIndex, annotationAdded, ocispec.AnnotationRefName:
			continue
		}
		if img.Annotations == nil {
			img.Annotations = map[string]string{}
		}
		img.Annotations[k] = v
	}
	return img
}

// nameOf is the name of an entry, "" for one without: a foreign tool's. One that
// a tool made of ours under another name, as umoci tag does, has our annotations
// too: it goes by what that tool calls it.
func nameOf(d ocispec.Descriptor) string {
	name, ref := d.Annotations[annotationName], d.Annotations[ocispec.AnnotationRefName]
	if ref != "" && ref != refName(name) {
		return ref
	}
	return name
}

func indexOf(d ocispec.Descriptor) digest.Digest {
	idx := digest.Digest(d.Annotations[annotationIndex])
	if idx.Validate() != nil {
		return ""
	}
	return idx
}

// withoutRefName hides an entry from other tools, which know no platforms
// there.
func withoutRefName(d ocispec.Descriptor, name string) ocispec.Descriptor {
	d.Annotations = maps.Clone(d.Annotations)
	delete(d.Annotations, ocispec.AnnotationRefName)
	d.Annotations[annotationName] = name
	return d
}

// samePlatform compares platforms as registries write them: v8 is the
// variant that arm64 has when none is named, v7 that of arm.
func samePlatform(a, b *ocispec.Platform) bool {
	return platformString(a) == platformString(b)
}

func platformString(p *ocispec.Platform) string {
	if p == nil || p.OS == "" {
		return "any platform"
	}
	s := p.OS + "/" + p.Architecture
	switch {
	case p.Variant == "",
		p.Architecture == "arm64" && p.Variant == "v8",
		p.Architecture == "arm" && p.Variant == "v7":
		return s
	}
	return s + "/" + p.Variant
}

// isMissing tells what is not there from what is there and damaged.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
