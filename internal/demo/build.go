package demo

import (
	"bytes"
	"compress/gzip"
	_ "crypto/sha256" // go-digest finds its algorithms by import
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Options of an image; the zero value makes one for this machine whose program
// does not run, which is enough to look at layers.
type Options struct {
	// Programs are the static executables to put in, by architecture as Go
	// and OCI name it. More than one make an index of that many platforms.
	Programs map[string][]byte
	// Tag is the image's name in the layout; empty is "latest".
	Tag string
	// Hostname is the content of /etc/hostname, in the lowest layer; empty is
	// "demo". Images that differ in it have no chain ID in common.
	Hostname string
}

// Build writes the image as an OCI image layout into dir, which it makes if
// need be and which must be empty, and returns the descriptor that index.json
// has of it.
func Build(dir string, o Options) (ocispec.Descriptor, error) {
	if o.Tag == "" {
		o.Tag = "latest"
	}
	if o.Hostname == "" {
		o.Hostname = "demo"
	}
	if len(o.Programs) == 0 {
		o.Programs = map[string][]byte{runtime.GOARCH: []byte("no program\n")}
	}
	if err := prepare(dir); err != nil {
		return ocispec.Descriptor{}, err
	}
	l := layout{dir}
	root, err := l.images(o)
	if err != nil {
		return root, err
	}
	root.Annotations = map[string]string{ocispec.AnnotationRefName: o.Tag}
	return root, l.finish(root)
}

func prepare(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return fmt.Errorf("make layout: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("make layout: %w", err)
	}
	if len(entries) > 1 {
		return fmt.Errorf("make layout %s: %w", dir, errors.New("the directory is not empty"))
	}
	return nil
}

// layout is the directory being written.
type layout struct{ dir string }

// images writes one image for each architecture, and the index if there are
// several.
func (l layout) images(o Options) (ocispec.Descriptor, error) {
	var manifests []ocispec.Descriptor
	for _, arch := range slices.Sorted(maps.Keys(o.Programs)) {
		d, err := l.image(arch, layers(o.Programs[arch], o.Hostname))
		if err != nil {
			return d, err
		}
		manifests = append(manifests, d)
	}
	if len(manifests) == 1 {
		return manifests[0], nil
	}
	return l.blobJSON(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests,
	})
}

func (l layout) image(arch string, parts []layer) (ocispec.Descriptor, error) {
	config := imageConfig(arch)
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Annotations: map[string]string{ocispec.AnnotationTitle: "byhand demo"},
	}
	created := epoch()
	for _, part := range parts {
		config.History = append(config.History, ocispec.History{
			Created: &created, CreatedBy: part.createdBy, EmptyLayer: part.entries == nil,
		})
		if part.entries == nil {
			continue
		}
		raw, err := part.tarball()
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(raw))
		packed, err := compress(raw)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		d, err := l.blob(ocispec.MediaTypeImageLayerGzip, packed)
		if err != nil {
			return d, err
		}
		manifest.Layers = append(manifest.Layers, d)
	}
	var err error
	if manifest.Config, err = l.blobJSON(ocispec.MediaTypeImageConfig, config); err != nil {
		return manifest.Config, err
	}
	root, err := l.blobJSON(ocispec.MediaTypeImageManifest, manifest)
	root.Platform = &config.Platform
	return root, err
}

func imageConfig(arch string) ocispec.Image {
	created := epoch()
	return ocispec.Image{
		Created: &created, Author: "The byhand developers",
		Platform: ocispec.Platform{Architecture: arch, OS: "linux"},
		Config: ocispec.ImageConfig{
			User:         "demo",
			Env:          []string{"PATH=/usr/bin:/bin", "GREETING=good day", "LANG=C.UTF-8"},
			Entrypoint:   []string{"hello"},
			Cmd:          []string{"look"},
			WorkingDir:   "/home/demo",
			Volumes:      map[string]struct{}{"/data": {}},
			ExposedPorts: map[string]struct{}{"8080/tcp": {}},
			StopSignal:   "SIGTERM",
			Labels: map[string]string{
				ocispec.AnnotationTitle:    "byhand demo",
				ocispec.AnnotationLicenses: "Apache-2.0",
				"io.byhand.demo":           "one of each",
			},
		},
		RootFS: ocispec.RootFS{Type: "layers"},
	}
}

func compress(raw []byte) ([]byte, error) {
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, gzip.BestCompression) // its header has no time: same bytes every day
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(raw); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func (l layout) blob(mediaType string, data []byte) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	name := filepath.Join(l.dir, "blobs", "sha256", d.Digest.Encoded())
	return d, os.WriteFile(name, data, 0o644)
}

func (l layout) blobJSON(mediaType string, v any) (ocispec.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return l.blob(mediaType, data)
}

// finish writes index.json and then oci-layout, which makes the directory a
// layout.
func (l layout) finish(root ocispec.Descriptor) error {
	index, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{root},
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.dir, ocispec.ImageIndexFile), index, 0o644); err != nil {
		return err
	}
	version, err := json.Marshal(ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.dir, ocispec.ImageLayoutFile), version, 0o644)
}
