package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/testtar"
)

// oddLayers have what a listing can stumble over.
func oddLayers() [][]byte {
	long := testtar.ModTime(time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC))
	return [][]byte{
		testtar.Tar(
			testtar.Dir("d"), testtar.File("d/a", "hidden by an opaque directory"), testtar.File("d/b", "so is this"),
			testtar.File("sp ace", "gone later"), testtar.File("line\nbreak", ""), testtar.File("esc\x1b[31m", ""), testtar.File("bad\xff", ""),
			testtar.File(".hidden", "seen"), testtar.File("big", strings.Repeat("0123456789abcdef", 1<<17), testtar.Owner(1000, 4294967294), testtar.Mode(0o6755), long),
			testtar.File("sparse", "abc", testtar.PAX("GNU.sparse.major", "0"), testtar.PAX("GNU.sparse.minor", "1"),
				testtar.PAX("GNU.sparse.numblocks", "2"), testtar.PAX("GNU.sparse.map", "2,1,7,2"), testtar.PAX("GNU.sparse.size", "12")),
			testtar.Symlink("loop", "loop"), testtar.Symlink("dangling", "nowhere"), testtar.Symlink("dir", "d"),
			testtar.Char("null", 1, 3), testtar.Fifo("pipe"), testtar.Dir("sticky", testtar.Mode(0o1777)),
			testtar.File("etc/passwd", "the image's own\n"), testtar.Symlink("out", "/../../../../../etc/passwd"),
		),
		testtar.Tar(
			testtar.Opaque("d"), testtar.File("d/c", "new"), testtar.Whiteout("sp ace"), testtar.Link("hard", "big"),
			testtar.Link("sparse2", "sparse"), testtar.File("etc/motd", "hello\n"),
		),
		testtar.Tar(testtar.File("etc/motd", "hello again\n"), testtar.Whiteout("line\nbreak")),
	}
}

// buildOdd writes an image of oddLayers to dir, whose history names more
// layers than there are.
func buildOdd(t *testing.T, dir string) {
	t.Helper()
	image := map[string]any{
		"architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05.678Z", "author": "nobody", "x-more": true,
		"config": map[string]any{
			"Cmd": []string{"sh", "-c", "true"}, "Labels": map[string]string{"a.b": "c"}, "X-Unknown": 7,
			"Healthcheck": map[string]any{"Test": []string{"CMD", "true"}, "Interval": 30e9},
		},
		"history": []map[string]any{
			{"created": "2024-01-02T03:04:05Z", "created_by": "one\ttab", "comment": "first"},
			{"created": "0001-01-01T00:00:00Z", "created_by": "two"},
			{"created_by": "ENV a=b", "empty_layer": true},
			{"created_by": "three"},
			{"created_by": "four, which has no layer"},
		},
	}
	buildImage(t, dir, image, oddLayers())
}

// buildImage writes an image layout of the config and layers to dir.
func buildImage(t *testing.T, dir string, image map[string]any, layers [][]byte) {
	t.Helper()
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{},
	}
	diffIDs := []digest.Digest{}
	for _, raw := range layers {
		diffIDs = append(diffIDs, digest.FromBytes(raw))
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(raw); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		manifest.Layers = append(manifest.Layers, putBlob(t, dir, ocispec.MediaTypeImageLayerGzip, b.Bytes()))
	}
	image["rootfs"] = map[string]any{"type": "layers", "diff_ids": diffIDs}
	manifest.Config = putBlob(t, dir, ocispec.MediaTypeImageConfig, asJSON(t, image))
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	entry := putBlob(t, dir, ocispec.MediaTypeImageManifest, asJSON(t, manifest))
	entry.Annotations = map[string]string{ocispec.AnnotationRefName: "v1"}
	index.Manifests = append(index.Manifests, entry)
	writeFile(t, filepath.Join(dir, "index.json"), asJSON(t, index))
	writeFile(t, filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
}

func putBlob(t *testing.T, dir, mediaType string, content []byte) ocispec.Descriptor {
	t.Helper()
	d := digest.FromBytes(content)
	writeFile(t, filepath.Join(dir, "blobs", d.Algorithm().String(), d.Encoded()), content)
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}
}

func writeFile(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func asJSON(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
