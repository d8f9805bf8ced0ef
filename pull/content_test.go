package pull_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/pull"
)

// blobs is an image layout in the making.
type blobs struct {
	t   testing.TB
	dir string
}

func newBlobs(t testing.TB) *blobs {
	t.Helper()
	b := &blobs{t: t, dir: t.TempDir()}
	b.write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return b
}

func (b *blobs) write(name string, data []byte) {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *blobs) path(d digest.Digest) string {
	return filepath.Join(b.dir, "blobs", d.Algorithm().String(), d.Encoded())
}

// put adds a blob and returns its descriptor.
func (b *blobs) put(mediaType string, data []byte) ocispec.Descriptor {
	b.t.Helper()
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	b.write("blobs/sha256/"+d.Digest.Encoded(), data)
	return d
}

func (b *blobs) putJSON(mediaType string, v any) ocispec.Descriptor {
	b.t.Helper()
	return b.put(mediaType, mustJSON(b.t, v))
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// index writes index.json; an entry without a name gets none.
func (b *blobs) index(entries ...ocispec.Descriptor) {
	b.t.Helper()
	b.write("index.json", mustJSON(b.t, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: entries,
	}))
}

// layerBlob is a layer as it is stored, and the tar that is in it.
type layerBlob struct {
	mediaType string
	packed    []byte
	tar       []byte
}

func gzipLayer(t testing.TB, tarball []byte) layerBlob {
	return layerBlob{ocispec.MediaTypeImageLayerGzip, gzipBytes(t, tarball), tarball}
}

func gzipBytes(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func zstdBytes(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

// tarOf makes a tar of regular files, name and content by turns.
func tarOf(t testing.TB, pairs ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := 0; i < len(pairs); i += 2 {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: pairs[i], Size: int64(len(pairs[i+1])), Mode: 0o644}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(pairs[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func amd64() pull.Platform { return pull.Platform{OS: "linux", Architecture: "amd64"} }

// configFor returns an image config for layers.
func configFor(p pull.Platform, layers ...layerBlob) ocispec.Image {
	img := ocispec.Image{Platform: p, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}}
	for _, l := range layers {
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, digest.FromBytes(l.tar))
	}
	return img
}

// image adds an image of layers to b and returns its manifest's descriptor.
func (b *blobs) image(p pull.Platform, layers ...layerBlob) ocispec.Descriptor {
	b.t.Helper()
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    b.putJSON(ocispec.MediaTypeImageConfig, configFor(p, layers...)),
		Layers:    []ocispec.Descriptor{},
	}
	for _, l := range layers {
		m.Layers = append(m.Layers, b.put(l.mediaType, l.packed))
	}
	return b.putJSON(ocispec.MediaTypeImageManifest, m)
}

// named gives an entry the name that oci:PATH:NAME selects.
func named(d ocispec.Descriptor, name string) ocispec.Descriptor {
	d.Annotations = map[string]string{ocispec.AnnotationRefName: name}
	return d
}

func withPlatform(d ocispec.Descriptor, p pull.Platform) ocispec.Descriptor {
	d.Platform = &p
	return d
}

func (b *blobs) ref(suffix string) pull.Reference {
	b.t.Helper()
	return mustRef(b.t, "oci:"+b.dir+suffix)
}

func mustRef(t testing.TB, s string) pull.Reference {
	t.Helper()
	ref, err := pull.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// client returns a client that is closed with the test.
func client(t testing.TB, c *pull.Client) *pull.Client {
	t.Helper()
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close client: %v", err)
		}
	})
	return c
}

// resolve resolves the layout's only image for linux/amd64.
func (b *blobs) resolve(c *pull.Client) (*pull.Image, error) {
	b.t.Helper()
	return c.Resolve(b.t.Context(), b.ref(""), amd64())
}

func (b *blobs) mustResolve(c *pull.Client) *pull.Image {
	b.t.Helper()
	img, err := b.resolve(client(b.t, c))
	if err != nil {
		b.t.Fatal(err)
	}
	return img
}

// overwrite replaces a blob's bytes, so that its digest is wrong.
func (b *blobs) overwrite(d digest.Digest, change func([]byte) []byte) {
	b.t.Helper()
	data, err := os.ReadFile(b.path(d))
	if err != nil {
		b.t.Fatal(err)
	}
	b.write(fmt.Sprintf("blobs/%s/%s", d.Algorithm(), d.Encoded()), change(data))
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		b = bytes.Clone(b)
		if at < 0 {
			at += len(b)
		}
		b[at] ^= 0x40
		return b
	}
}

func cut(n int) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Clone(b[:len(b)-n]) }
}

func extend(more string) func([]byte) []byte {
	return func(b []byte) []byte { return append(bytes.Clone(b), more...) }
}
