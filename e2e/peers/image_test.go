package peers_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

// tag is the name that every image has in its layout.
const tag = "latest"

// plain returns layers as tars.
func plain(layers [][]testtar.Entry) [][]byte {
	var tars [][]byte
	for _, entries := range layers {
		tars = append(tars, testtar.Tar(entries...))
	}
	return tars
}

// writeImage writes an OCI image layout of layers, plain or gzip.
func writeImage(t *testing.T, dir string, layers [][]byte) {
	t.Helper()
	writeImageConfig(t, dir, layers, nil)
}

// writeImageConfig is writeImage for an image that has a "config".
func writeImageConfig(t *testing.T, dir string, layers [][]byte, process map[string]any) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(mediaType string, raw []byte) ocispec.Descriptor {
		sum := digest.FromBytes(raw)
		if err := os.WriteFile(filepath.Join(dir, "blobs/sha256", sum.Encoded()), raw, 0o644); err != nil {
			t.Fatal(err)
		}
		return ocispec.Descriptor{MediaType: mediaType, Digest: sum, Size: int64(len(raw))}
	}
	asJSON := func(v any) []byte {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	platform := ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	config := struct {
		ocispec.Image
		Config map[string]any `json:"config,omitempty"`
	}{Image: ocispec.Image{Platform: platform, RootFS: ocispec.RootFS{Type: "layers"}}, Config: process}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, raw := range layers {
		mediaType, diffID := ocispec.MediaTypeImageLayer, digest.FromBytes(raw)
		if bytes.HasPrefix(raw, []byte{0x1f, 0x8b}) {
			mediaType, diffID = ocispec.MediaTypeImageLayerGzip, gunzipped(t, raw)
		}
		manifest.Layers = append(manifest.Layers, put(mediaType, raw))
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
	}
	manifest.Config = put(ocispec.MediaTypeImageConfig, asJSON(config))
	m := put(ocispec.MediaTypeImageManifest, asJSON(manifest))
	m.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{m}}
	for name, raw := range map[string][]byte{"index.json": asJSON(index), "oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`)} {
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func gunzipped(t *testing.T, raw []byte) digest.Digest {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	sum, err := digest.FromReader(r)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// pack writes a layout as an OCI archive.
func pack(t *testing.T, dir, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(f)
	if err := errors.Join(tw.AddFS(os.DirFS(dir)), tw.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// resolve finds the image in a layout.
func resolve(t *testing.T, image string) *pull.Image {
	t.Helper()
	client := &pull.Client{}
	t.Cleanup(func() { _ = client.Close() })
	ref, err := pull.ParseReference("oci:" + image + ":" + tag)
	if err != nil {
		t.Fatal(err)
	}
	img, err := client.Resolve(t.Context(), ref, pull.Platform{OS: "linux", Architecture: runtime.GOARCH})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// topSnapshot is the chain ID of the image in a layout, which containerd
// names its snapshots by.
func topSnapshot(t *testing.T, image string) string {
	t.Helper()
	chain := overlay.ChainIDs(resolve(t, image).Spec.RootFS.DiffIDs)
	return string(chain[len(chain)-1])
}

// flatten writes byhand's tree of the image in a layout to dst, and its store
// beside it.
func flatten(t *testing.T, image, dst string) error {
	t.Helper()
	store, err := overlay.Open(t.Context(), dst+".store", overlay.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}()
	var sources []overlay.Source
	for _, l := range resolve(t, image).Layers {
		sources = append(sources, source{l})
	}
	layers, err := store.AddAll(t.Context(), sources, overlay.AddOptions{})
	if err != nil {
		return err
	}
	var dirs []string
	for _, l := range layers {
		dirs = append(dirs, l.Dir)
	}
	return overlay.Flatten(t.Context(), dirs, dst, overlay.FlattenOptions{})
}

// source is a layer as the store takes it.
type source struct{ *pull.Layer }

func (s source) Open(ctx context.Context) (io.ReadCloser, error) {
	return s.Layer.Open(ctx, pull.OpenOptions{})
}
