package pull_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/pull"
)

// typed says whether err is one of the errors that content can cause.
func typed(err error) bool {
	var (
		de *pull.DigestError
		se *pull.SizeError
		fe *pull.FormatError
		le *pull.LimitError
		ue *pull.UnsupportedError
		pe *pull.PlatformError
		nf *pull.NotFoundError
	)
	return errors.As(err, &de) || errors.As(err, &se) || errors.As(err, &fe) || errors.As(err, &le) ||
		errors.As(err, &ue) || errors.As(err, &pe) || errors.As(err, &nf)
}

// checkInvariants is what holds for every image that Resolve returns.
func checkInvariants(t *testing.T, img *pull.Image) {
	t.Helper()
	docs := []pull.Document{img.Manifest, img.Config}
	if img.Index != nil {
		docs = append(docs, *img.Index)
	}
	for _, d := range docs {
		if d.Descriptor.Digest != d.Descriptor.Digest.Algorithm().FromBytes(d.Raw) || d.Descriptor.Size != int64(len(d.Raw)) {
			t.Errorf("document %+v is not its %d bytes", d.Descriptor, len(d.Raw))
		}
	}
	if len(img.Layers) != len(img.Spec.RootFS.DiffIDs) {
		t.Errorf("%d layers, %d diff IDs", len(img.Layers), len(img.Spec.RootFS.DiffIDs))
	}
	if img.Spec.OS != "" && img.Spec.OS != "linux" {
		t.Errorf("an image for %s", img.Spec.OS)
	}
	for _, l := range img.Layers {
		if l.DiffID().Validate() != nil || l.Descriptor.Digest.Validate() != nil || l.Descriptor.Size < 0 {
			t.Errorf("layer %+v with diff ID %q", l.Descriptor, l.DiffID())
		}
	}
}

func descriptor(mediaType string, data []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
}

// archiveInMemory is a layout with one entry in its index.
func archiveInMemory(t testing.TB, entry ocispec.Descriptor, blobs ...[]byte) io.Reader {
	t.Helper()
	a := newArchiver(t).json("index.json", ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{entry},
	})
	for _, data := range blobs {
		a.file("blobs/sha256/"+digest.FromBytes(data).Encoded(), data)
	}
	return bytes.NewReader(a.bytes())
}

// FuzzManifest reads any bytes as manifest, index or config of a layout.
func FuzzManifest(f *testing.F) {
	l := gzipLayer(f, []byte("content"))
	good := newBlobs(f)
	d := good.image(amd64(), l)
	manifest, err := os.ReadFile(good.path(d.Digest))
	if err != nil {
		f.Fatal(err)
	}
	config := mustJSON(f, configFor(amd64(), l))
	index := mustJSON(f, ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{withPlatform(d, amd64()), d}})
	f.Add(manifest, config)
	f.Add(index, config)
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"platform":{}}],"layers":[]}`), config)
	f.Add([]byte(`{"schemaVersion":1,"fsLayers":[]}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, doc, config []byte) {
		own := mustJSON(t, ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2},
			Config:    descriptor(ocispec.MediaTypeImageConfig, config),
			Layers:    []ocispec.Descriptor{descriptor(l.mediaType, l.packed)},
		})
		for _, top := range [][]byte{own, doc} {
			in := archiveInMemory(t, descriptor("", top), own, doc, config, manifest, l.packed)
			img, err := client(t, &pull.Client{Stdin: in}).Resolve(t.Context(), mustRef(t, "oci-archive:-"), amd64())
			if err != nil {
				if !typed(err) {
					t.Errorf("error %T %v is not one of the package's", err, err)
				}
				continue
			}
			checkInvariants(t, img)
		}
	})
}

// FuzzArchive reads any bytes as an archive.
func FuzzArchive(f *testing.F) {
	l := plainLayer(tarOf(f, "a", "content"))
	a, e := dockerSave(f, "x:1", l, gzipLayer(f, l.tar))
	f.Add(a.json("manifest.json", []dockerEntry{e}).bytes())
	b := newBlobs(f)
	b.index(b.image(amd64(), gzipLayer(f, l.tar)))
	f.Add(b.archive(""))
	f.Add(gzipBytes(f, b.archive("./")))
	f.Add(newArchiver(f).link(tar.TypeSymlink, "manifest.json", "../../etc/passwd").bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		c := client(t, &pull.Client{Stdin: bytes.NewReader(data), Limits: pull.Limits{RatioFloor: 1 << 20, ZstdWindow: 1 << 20}})
		for _, ref := range []string{"docker-archive:-", "oci-archive:-"} {
			img, err := c.Resolve(t.Context(), mustRef(t, ref), amd64())
			if err != nil {
				if !typed(err) {
					t.Errorf("error %T %v is not one of the package's", err, err)
				}
				continue
			}
			checkInvariants(t, img)
			for _, l := range img.Layers {
				if data, err := readLayer(t, l, pull.OpenOptions{}); err == nil && l.DiffID() != l.DiffID().Algorithm().FromBytes(data) {
					t.Errorf("%s: EOF after other content than its diff ID's", l)
				}
			}
		}
	})
}

// FuzzDecompress reads any bytes as a layer. Oracle: what the standard library
// makes of gzip, else the bytes themselves.
func FuzzDecompress(f *testing.F) {
	text := words(2000, 1)
	f.Add(gzipBytes(f, text))
	f.Add(append(gzipBytes(f, text), gzipBytes(f, nil)...))
	f.Add(append(gzipBytes(f, text), make([]byte, 100)...))
	f.Add(append(gzipBytes(f, text), "\x1f\x8b\x08trailing"...))
	f.Add(zstdBytes(f, text))
	f.Add(text)
	f.Fuzz(func(t *testing.T, packed []byte) {
		want, ok := expand(packed)
		if !ok {
			want = []byte("nothing can be that")
		}
		config := mustJSON(t, configFor(amd64(), layerBlob{tar: want}))
		manifest := mustJSON(t, ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2},
			Config:    descriptor(ocispec.MediaTypeImageConfig, config),
			Layers:    []ocispec.Descriptor{descriptor(ocispec.MediaTypeImageLayerGzip, packed)},
		})
		c := client(t, &pull.Client{
			Limits: pull.Limits{RatioFloor: 16 << 20, ZstdWindow: 8 << 20},
			Stdin:  archiveInMemory(t, descriptor(ocispec.MediaTypeImageManifest, manifest), manifest, config, packed),
		})
		img, err := c.Resolve(t.Context(), mustRef(t, "oci-archive:-"), amd64())
		if err != nil {
			t.Fatal(err)
		}
		got, err := readLayer(t, img.Layers[0], pull.OpenOptions{})
		if ok && (err != nil || !bytes.Equal(got, want)) {
			t.Errorf("%d bytes, %v; want %d bytes", len(got), err, len(want))
		}
		if !ok && (err == nil || !typed(err)) {
			t.Errorf("error %T %v, want one of the package's", err, err)
		}
	})
}

// expand decompresses gzip as the standard library does, for the same lenience
// at the end; ok is false if packed cannot be judged without the package.
func expand(packed []byte) (content []byte, ok bool) {
	if !bytes.HasPrefix(packed, []byte{0x1f, 0x8b, 8}) {
		for _, magic := range []string{"\x28\xb5\x2f\xfd", "BZh", "\xfd7zXZ\x00"} {
			if bytes.HasPrefix(packed, []byte(magic)) {
				return nil, false
			}
		}
		if len(packed) >= 4 && packed[0]&0xf0 == 0x50 && bytes.Equal(packed[1:4], []byte{0x2a, 0x4d, 0x18}) {
			return nil, false
		}
		return packed, true
	}
	r := bytes.NewReader(packed)
	for {
		zr, err := gzip.NewReader(r)
		if err != nil {
			return nil, false
		}
		zr.Multistream(false)
		member, err := io.ReadAll(io.LimitReader(zr, 8<<20))
		if err != nil || len(member) == 8<<20 {
			return nil, false
		}
		content = append(content, member...)
		if !bytes.HasPrefix(packed[len(packed)-r.Len():], []byte{0x1f, 0x8b, 8}) {
			return content, true
		}
	}
}
