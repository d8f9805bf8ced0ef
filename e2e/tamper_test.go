package e2e_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/testregistry"
	"github.com/byhand/byhand/internal/testtar"
)

// lie is an image of two layers of which one thing is not what its digest
// says. want and got are what the error has to name.
type lie struct {
	name string
	// tell arms the registry and returns what to pull, and the two digests.
	tell func(r *testregistry.Registry, img liarImage) (ref string, want, got digest.Digest)
}

// liarImage is what there is to lie about.
type liarImage struct {
	config, manifest, index ocispec.Descriptor
	layers                  []ocispec.Descriptor
	diffIDs                 []digest.Digest
	raw                     map[digest.Digest][]byte
}

func addImage(t *testing.T, r *testregistry.Registry, falseDiffID bool) liarImage {
	t.Helper()
	img := liarImage{raw: map[digest.Digest][]byte{}}
	add := func(mediaType string, raw []byte) ocispec.Descriptor {
		d := r.AddBlob("lab/liar", raw)
		d.MediaType = mediaType
		img.raw[d.Digest] = raw
		return d
	}
	for _, content := range []string{"one", "two"} {
		tarball := testtar.Tar(testtar.Dir("srv"), testtar.File("srv/"+content, strings.Repeat(content, 1000)))
		img.diffIDs = append(img.diffIDs, digest.FromBytes(tarball))
		img.layers = append(img.layers, add(ocispec.MediaTypeImageLayerGzip, packed(t, tarball)))
	}
	named := slices.Clone(img.diffIDs)
	if falseDiffID {
		named[1] = digest.FromString("another layer")
	}
	platform := ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	img.config = add(ocispec.MediaTypeImageConfig, marshal(t, ocispec.Image{
		Platform: platform, Config: ocispec.ImageConfig{Cmd: []string{"/bin/true"}}, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: named},
	}))
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: img.config, Layers: img.layers}
	m.SchemaVersion = 2
	img.manifest = r.AddManifest("lab/liar", "v1", ocispec.MediaTypeImageManifest, marshal(t, m))
	img.raw[img.manifest.Digest] = marshal(t, m)
	img.manifest.Platform = &platform
	idx := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{img.manifest}}
	idx.SchemaVersion = 2
	img.index = r.AddManifest("lab/liar", "all", ocispec.MediaTypeImageIndex, marshal(t, idx))
	img.raw[img.index.Digest] = marshal(t, idx)
	return img
}

func packed(t *testing.T, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// flipped is raw with its last letter changed, so that JSON stays JSON in
// all cases where the digest is what has to find it.
func flipped(raw []byte) []byte {
	out := bytes.Clone(raw)
	out[len(out)/2] ^= 1
	return out
}

// lies are one for each kind of content.
func lies() []lie {
	return []lie{
		{"layer", func(r *testregistry.Registry, img liarImage) (string, digest.Digest, digest.Digest) {
			d := img.layers[1].Digest
			r.SetBlob("lab/liar", d, flipped(img.raw[d]))
			return "lab/liar:v1", d, digest.FromBytes(flipped(img.raw[d]))
		}},
		{"config", func(r *testregistry.Registry, img liarImage) (string, digest.Digest, digest.Digest) {
			d := img.config.Digest
			r.SetBlob("lab/liar", d, flipped(img.raw[d]))
			return "lab/liar:v1", d, digest.FromBytes(flipped(img.raw[d]))
		}},
		{"manifest named by digest", func(r *testregistry.Registry, img liarImage) (string, digest.Digest, digest.Digest) {
			d := img.manifest.Digest
			r.SetManifest("lab/liar", d.String(), ocispec.MediaTypeImageManifest, flipped(img.raw[d]))
			return "lab/liar@" + d.String(), d, digest.FromBytes(flipped(img.raw[d]))
		}},
		{"manifest of an index", func(r *testregistry.Registry, img liarImage) (string, digest.Digest, digest.Digest) {
			d := img.manifest.Digest
			r.SetManifest("lab/liar", d.String(), ocispec.MediaTypeImageManifest, flipped(img.raw[d]))
			return "lab/liar:all", d, digest.FromBytes(flipped(img.raw[d]))
		}},
	}
}

// TestLiars: content that is not what its digest says is exit code 3, the
// error names both, and the store is as it was.
func TestLiars(t *testing.T) {
	for _, tc := range lies() {
		t.Run(tc.name, func(t *testing.T) {
			l := newLab(t)
			r := testregistry.New(t, testregistry.Options{})
			ref, want, got := tc.tell(r, addImage(t, r, false))
			l.caught(r.Host()+"/"+ref, want, got)
		})
	}
	t.Run("diff ID", func(t *testing.T) {
		l := newLab(t)
		r := testregistry.New(t, testregistry.Options{})
		img := addImage(t, r, true)
		l.caught(r.Host()+"/lab/liar:v1", digest.FromString("another layer"), img.diffIDs[1])
	})
}

// caught pulls in every way there is; each has to find the lie.
func (l lab) caught(ref string, want, got digest.Digest) {
	l.t.Helper()
	l.must(l.byhand("images")) // makes the store
	commands := [][]string{
		{"pull", ref},
		{"unpack", ref},
		{"unpack", ref, l.path("tree")},
		{"pull-and-unpack", ref, l.path("bundle")},
		{"pull-and-unpack", "--rootfs", "flat", "--keep-blobs", ref, l.path("flat")},
		{"export", ref, "-o", l.path("out.tar")},
	}
	for _, args := range commands {
		if args[0] == "pull" && want == digest.FromString("another layer") {
			continue // pull looks at compressed layers alone
		}
		r := l.byhand(append([]string{"--quiet"}, args...)...)
		wantCode(l.t, r, 3, want.String())
		if !strings.Contains(r.stderr, got.String()) {
			l.t.Errorf("%v: the error does not name %s, which was found: %s", args, got, r.stderr)
		}
		if images := l.must(l.byhand("--json", "images")); images != "[]\n" {
			l.t.Errorf("%v: the store lists %s", args, images)
		}
		l.must(l.byhand("prune")) // layers that were right are kept until then
		if diff := cmp.Diff([]string{}, l.leftovers()); diff != "" {
			l.t.Errorf("%v: left behind (-want +got):\n%s", args, diff)
		}
	}
}

// leftovers lists files of content in the store, and whatever a command was
// to make.
func (l lab) leftovers() []string {
	l.t.Helper()
	found := []string{}
	for _, name := range []string{"tree", "bundle", "flat", "out.tar"} {
		if matches, err := filepath.Glob(l.path(name) + "*"); err != nil || matches != nil {
			found = append(found, matches...)
		}
	}
	for _, dir := range []string{"layers", "blobs", "staging", "l"} {
		err := filepath.WalkDir(filepath.Join(l.path("store"), dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				found = append(found, path)
			}
			return err
		})
		if err != nil {
			l.t.Error(err)
		}
	}
	return found
}
