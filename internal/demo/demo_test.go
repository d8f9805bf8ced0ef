package demo_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/demo"
)

func read[T any](t *testing.T, dir string, d ocispec.Descriptor) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(blob(t, dir, d), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// blob reads one and checks it against its descriptor.
func blob(t *testing.T, dir string, d ocispec.Descriptor) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", d.Digest.Encoded()))
	if err != nil {
		t.Fatal(err)
	}
	if digest.FromBytes(data) != d.Digest || int64(len(data)) != d.Size {
		t.Fatalf("blob %s has digest %s and %d bytes", d.Digest, digest.FromBytes(data), len(data))
	}
	return data
}

// TestHostname is what tests rely on whose layers must be nobody else's.
func TestHostname(t *testing.T) {
	base := map[digest.Digest]string{}
	for _, name := range []string{"", "one", "two"} {
		dir := t.TempDir()
		root, err := demo.Build(dir, demo.Options{Hostname: name})
		if err != nil {
			t.Fatal(err)
		}
		config := read[ocispec.Image](t, dir, read[ocispec.Manifest](t, dir, root).Config)
		lowest := config.RootFS.DiffIDs[0]
		if same, ok := base[lowest]; ok {
			t.Errorf("hostnames %q and %q have the lowest layer %s", same, name, lowest)
		}
		base[lowest] = name
	}
}

func TestBuild(t *testing.T) {
	dir := t.TempDir()
	root, err := demo.Build(dir, demo.Options{Programs: map[string][]byte{"amd64": []byte("program")}})
	if err != nil {
		t.Fatal(err)
	}
	manifest := read[ocispec.Manifest](t, dir, root)
	config := read[ocispec.Image](t, dir, manifest.Config)
	if len(manifest.Layers) != len(config.RootFS.DiffIDs) || len(manifest.Layers) < 4 {
		t.Fatalf("%d layers, %d diff IDs", len(manifest.Layers), len(config.RootFS.DiffIDs))
	}
	var names []string
	for i, layer := range manifest.Layers {
		zr, err := gzip.NewReader(bytes.NewReader(blob(t, dir, layer)))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(zr)
		if err != nil {
			t.Fatal(err)
		}
		if digest.FromBytes(raw) != config.RootFS.DiffIDs[i] {
			t.Errorf("layer %d: diff ID %s, expected %s", i, digest.FromBytes(raw), config.RootFS.DiffIDs[i])
		}
		names = append(names, entries(t, raw)...)
	}
	for _, want := range []string{
		"srv/notes/.wh.two.txt", "var/lib/demo/.wh..wh..opq", "etc/passwd", "usr/bin/hello", "usr/bin/look", "bin",
	} {
		if !slices.Contains(names, want) {
			t.Errorf("no layer has %s", want)
		}
	}
	empty := 0
	for _, h := range config.History {
		if h.EmptyLayer {
			empty++
		}
	}
	if len(config.History)-empty != len(manifest.Layers) || empty == 0 {
		t.Errorf("%d history entries, %d of them empty, %d layers", len(config.History), empty, len(manifest.Layers))
	}
}

func entries(t *testing.T, raw []byte) []string {
	t.Helper()
	var names []string
	for tr := tar.NewReader(bytes.NewReader(raw)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

// TestBuildIsDeterministic compares every byte of two layouts.
func TestBuildIsDeterministic(t *testing.T) {
	o := demo.Options{Tag: "x", Programs: map[string][]byte{"amd64": []byte("a"), "arm64": []byte("b")}}
	var trees [2]map[string]string
	for i := range trees {
		dir := t.TempDir()
		if _, err := demo.Build(dir, o); err != nil {
			t.Fatal(err)
		}
		trees[i] = map[string]string{}
		err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(filepath.Join(dir, path))
			trees[i][path] = string(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(trees[0], trees[1]); diff != "" || len(trees[0]) < 10 {
		t.Errorf("%d files: %s", len(trees[0]), diff)
	}
}

func TestBuildRefusesWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	if _, err := demo.Build(dir, demo.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := demo.Build(dir, demo.Options{}); err == nil {
		t.Error("a second image was written over the first")
	}
}
