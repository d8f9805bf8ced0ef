package overlay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/unpack"
)

// fakeSource serves a tar, verified as a Source must, or as open says.
type fakeSource struct {
	tar    []byte
	diffID digest.Digest
	size   int64
	opened atomic.Int32
	// open replaces the stream; n counts the calls from 1.
	open func(ctx context.Context, n int) (io.ReadCloser, error)
}

var _ overlay.Source = (*fakeSource)(nil)

func source(tar []byte) *fakeSource {
	return &fakeSource{tar: tar, diffID: digest.FromBytes(tar), size: int64(len(tar))}
}

func (s *fakeSource) DiffID() digest.Digest { return s.diffID }
func (s *fakeSource) Size() int64           { return s.size }

func (s *fakeSource) Open(ctx context.Context) (io.ReadCloser, error) {
	n := int(s.opened.Add(1))
	if s.open != nil {
		return s.open(ctx, n)
	}
	return verified(s.tar, s.diffID), nil
}

// verified serves raw and ends in io.EOF only if it has the digest.
func verified(raw []byte, want digest.Digest) io.ReadCloser {
	return io.NopCloser(io.MultiReader(bytes.NewReader(raw), verdict{raw, want}))
}

type verdict struct {
	raw  []byte
	want digest.Digest
}

func (v verdict) Read([]byte) (int, error) {
	if got := v.want.Algorithm().FromBytes(v.raw); got != v.want {
		return 0, &damagedError{v.want, got}
	}
	return 0, io.EOF
}

// damagedError is the error of a stream that is not what it should be.
type damagedError struct{ want, got digest.Digest }

func (e *damagedError) Error() string {
	return "expected " + e.want.String() + ", found " + e.got.String()
}
func (e *damagedError) Damaged() bool { return true }

// options are those that the user who runs the test can have.
func options() overlay.Options {
	if os.Geteuid() != 0 {
		return overlay.Options{UserXattr: true, Owners: unpack.Squash}
	}
	return overlay.Options{}
}

func open(t testing.TB, dir string) *overlay.Store {
	t.Helper()
	return openWith(t, dir, options())
}

func openWith(t testing.TB, dir string, o overlay.Options) *overlay.Store {
	t.Helper()
	s, err := overlay.Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func sources(srcs ...*fakeSource) []overlay.Source {
	var list []overlay.Source
	for _, s := range srcs {
		list = append(list, s)
	}
	return list
}

func addAll(t testing.TB, s *overlay.Store, srcs ...*fakeSource) []overlay.Layer {
	t.Helper()
	layers, err := s.AddAll(t.Context(), sources(srcs...), overlay.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return layers
}

// prepare makes bundle a user of layers, with what its mount needs.
func prepare(t testing.TB, s *overlay.Store, bundle string, layers []overlay.Layer) {
	t.Helper()
	var chains []overlay.ChainID
	for _, l := range layers {
		chains = append(chains, l.ChainID)
	}
	if err := s.Use(t.Context(), bundle, chains); err != nil {
		t.Fatal(err)
	}
	if err := overlay.Prepare(bundle, layers); err != nil {
		t.Fatal(err)
	}
}

// tree lists everything below dir, slash-relative, sorted.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if rel, err := filepath.Rel(dir, p); err == nil && rel != "." {
			names = append(names, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// staging lists what is in staging apart from the owners of open stores.
func staging(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	for _, n := range tree(t, filepath.Join(dir, "staging")) {
		if !strings.HasSuffix(n, ".owner") {
			names = append(names, n)
		}
	}
	return names
}

func read(t testing.TB, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// putImage stores manifest and config for the layers and lists the image.
func putImage(t testing.TB, s *overlay.Store, name string, p ocispec.Platform, srcs ...*fakeSource) overlay.Image {
	t.Helper()
	img, err := tryPutImage(t.Context(), s, name, p, srcs...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func tryPutImage(ctx context.Context, s *overlay.Store, name string, p ocispec.Platform, srcs ...*fakeSource) (overlay.Image, error) {
	config := ocispec.Image{Platform: p, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}}
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Layers: []ocispec.Descriptor{},
	}
	for _, src := range srcs {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, src.diffID)
		manifest.Layers = append(manifest.Layers, ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageLayer, Digest: src.diffID, Size: int64(len(src.tar)),
		})
	}
	var err error
	if manifest.Config, err = putJSON(ctx, s, ocispec.MediaTypeImageConfig, config); err != nil {
		return overlay.Image{}, err
	}
	desc, err := putJSON(ctx, s, ocispec.MediaTypeImageManifest, manifest)
	if err != nil {
		return overlay.Image{}, err
	}
	desc.Platform = &p
	img := overlay.Image{Name: name, Manifest: desc}
	return img, s.Tag(ctx, img)
}

func putJSON(ctx context.Context, s *overlay.Store, mediaType string, v any) (ocispec.Descriptor, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	return desc, s.PutBlob(ctx, desc, bytes.NewReader(raw))
}

func descriptor(raw []byte) ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(raw), Size: int64(len(raw)),
	}
}

// as is errors.As for one type, failing the test.
func as[E error](t testing.TB, err error) E {
	t.Helper()
	e, ok := errors.AsType[E](err)
	if !ok {
		t.Fatalf("error is %T (%v), want %T", err, err, e)
	}
	return e
}

var (
	linuxAMD64 = ocispec.Platform{OS: "linux", Architecture: "amd64"}
	linuxARM64 = ocispec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
)

func sorted(names []string) []string {
	slices.Sort(names)
	return names
}

// smallTmpfs mounts a file system of 4 MiB, in a namespace that isolated made.
func smallTmpfs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m,mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func bigTar(size int) []byte {
	return testtar.Tar(testtar.Dir("./"), testtar.File("big", strings.Repeat("x", size)))
}
