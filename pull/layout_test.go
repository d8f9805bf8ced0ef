package pull_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/pull"
)

// linkBlobs moves every blob to the layout's top and leaves a symbolic link.
func (b *blobs) linkBlobs(target func(name string) string) {
	b.t.Helper()
	dir := filepath.Join(b.dir, "blobs", "sha256")
	entries, err := os.ReadDir(dir)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, e := range entries {
		blob := filepath.Join(dir, e.Name())
		if err := os.Rename(blob, filepath.Join(b.dir, "file-"+e.Name())); err != nil {
			b.t.Fatal(err)
		}
		if err := os.Symlink(target("file-"+e.Name()), blob); err != nil {
			b.t.Fatal(err)
		}
	}
}

func TestLayoutLinks(t *testing.T) {
	l := gzipLayer(t, words(10_000, 1))
	b := newBlobs(t)
	b.index(b.image(amd64(), l))
	b.linkBlobs(func(name string) string { return "../../" + name })
	img := b.mustResolve(&pull.Client{})
	if data, err := readLayer(t, img.Layers[0], pull.OpenOptions{}); err != nil || !bytes.Equal(data, l.tar) {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

// A link that leads out of the layout is not followed.
func TestLayoutLinksOutside(t *testing.T) {
	outside := t.TempDir()
	for name, prefix := range map[string]string{"absolute": outside + "/", "relative": "../../../" + filepath.Base(outside) + "/"} {
		b := newBlobs(t)
		b.index(b.image(amd64()))
		b.linkBlobs(func(name string) string {
			data, err := os.ReadFile(filepath.Join(b.dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(outside, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
			return prefix + name
		})
		if _, err := b.resolve(client(t, &pull.Client{})); err == nil {
			t.Errorf("%s link to a file outside was followed", name)
		}
	}
}

// The official busybox image is published as a layout of links. Where links
// were lost on the way, files hold what the links said.
func TestLayoutBusybox(t *testing.T) {
	const dir = "/work/shared/images/busybox-amd64"
	if _, err := os.Stat(dir); err != nil {
		return // TestLayoutLinks is the same with another image
	}
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	entries, err := filepath.Glob(copied + "/blobs/sha256/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range entries {
		data, err := os.ReadFile(name)
		if err == nil && bytes.HasPrefix(data, []byte("../../")) {
			err = errors.Join(os.Remove(name), os.Symlink(string(data), name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	img, err := client(t, &pull.Client{}).Resolve(t.Context(), mustRef(t, "oci:"+copied), amd64())
	if err != nil {
		t.Fatal(err)
	}
	const want = "sha256:1cfa4e2b09e127b9c4ed43578d3f3c18e7d44ea47b9ea98475c0cbe9086525f8"
	if img.Manifest.Descriptor.Digest != want {
		t.Errorf("manifest %s, want %s", img.Manifest.Descriptor.Digest, want)
	}
	data, err := readLayer(t, img.Layers[0], pull.OpenOptions{})
	if err != nil || len(data) < 1<<20 {
		t.Errorf("layer: %d bytes, %v", len(data), err)
	}
}

func TestLayoutNames(t *testing.T) {
	b := newBlobs(t)
	one, two := b.image(amd64(), gzipLayer(t, []byte("1"))), b.image(amd64(), gzipLayer(t, []byte("2")))
	arm := b.image(platform("linux/arm64"))
	full := func(d ocispec.Descriptor, ref, name string) ocispec.Descriptor {
		d = named(d, ref)
		d.Annotations["io.containerd.image.name"] = name
		return d
	}
	for _, tt := range []struct {
		name    string
		entries []ocispec.Descriptor
		tag     string
		want    digest.Digest
		others  []string // NotFoundError with these
	}{
		{"only one", []ocispec.Descriptor{named(one, "a")}, "", one.Digest, nil},
		{"only one, nameless", []ocispec.Descriptor{one}, "", one.Digest, nil},
		{"one of two names", []ocispec.Descriptor{named(one, "a"), named(one, "b")}, "", one.Digest, nil},
		{"by tag", []ocispec.Descriptor{named(one, "a"), named(two, "b")}, ":b", two.Digest, nil},
		{"two and no tag", []ocispec.Descriptor{named(one, "a"), named(two, "b")}, "", "", []string{"a", "b"}},
		{"no such tag", []ocispec.Descriptor{named(one, "a"), named(two, "b")}, ":c", "", []string{"a", "b"}},
		{"tag of one nameless", []ocispec.Descriptor{one}, ":c", "", nil},
		{"one tag for two platforms", []ocispec.Descriptor{
			withPlatform(named(arm, "a"), platform("linux/arm64")), withPlatform(named(one, "a"), amd64()),
			withPlatform(named(two, "b"), amd64()),
		}, ":a", one.Digest, nil},
		{"no tag for two platforms", []ocispec.Descriptor{
			withPlatform(named(arm, "a"), platform("linux/arm64")), withPlatform(named(one, "a"), amd64()),
		}, "", one.Digest, nil},
		{"full name", []ocispec.Descriptor{named(one, "docker.io/library/x:1"), named(two, "docker.io/library/x:2")}, ":docker.io/library/x:2", two.Digest, nil},
		{"tag of the full name", []ocispec.Descriptor{named(one, "docker.io/library/x:1"), named(two, "docker.io/library/x:2")}, ":2", two.Digest, nil},
		{"containerd's name", []ocispec.Descriptor{full(one, "1", "docker.io/library/x:1"), full(two, "2", "docker.io/library/x:2")}, ":docker.io/library/x:2", two.Digest, nil},
		{"empty", nil, "", "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.index(tt.entries...)
			img, err := client(t, &pull.Client{}).Resolve(t.Context(), b.ref(tt.tag), amd64())
			var nf *pull.NotFoundError
			switch {
			case tt.want != "" && err != nil:
				t.Error(err)
			case tt.want != "" && img.Manifest.Descriptor.Digest != tt.want:
				t.Errorf("got %s, want %s", img.Manifest.Descriptor.Digest, tt.want)
			case tt.want == "" && (!errors.As(err, &nf) || !slices.Equal(nf.Available, tt.others)):
				t.Errorf("error %v, want a NotFoundError with %q", err, tt.others)
			}
		})
	}
}

func TestLayoutTags(t *testing.T) {
	b := newBlobs(t)
	d := b.image(amd64())
	b.index(named(d, "a"), d, named(d, "b"), named(d, "a"))
	got, err := client(t, &pull.Client{}).Tags(t.Context(), b.ref(""))
	if want := []string{"a", "b"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("tags %q, %v; want %q", got, err, want)
	}
}

func TestLayoutRefused(t *testing.T) {
	empty := t.TempDir()
	for _, tt := range []struct {
		name string
		make func(b *blobs)
		kind string
		text string
	}{
		{"no index", func(b *blobs) {}, "Format", "no index.json"},
		{"index is no JSON", func(b *blobs) { b.write("index.json", []byte("{")) }, "Format", "malformed"},
		{"index is a manifest", func(b *blobs) { b.write("index.json", []byte(`{"schemaVersion":2,"layers":[]}`)) }, "Format", "not an index"},
		{"index is huge", func(b *blobs) { b.write("index.json", make([]byte, 4<<20+1)) }, "Limit", "Metadata"},
		{"another version", func(b *blobs) { b.write("oci-layout", []byte(`{"imageLayoutVersion":"2.0.0"}`)) }, "Unsupported", "2.0.0"},
		{"version is no JSON", func(b *blobs) { b.write("oci-layout", []byte(`x`)) }, "Format", "oci-layout"},
	} {
		b := newBlobs(t)
		tt.make(b)
		_, err := b.resolve(client(t, &pull.Client{}))
		if err == nil {
			t.Errorf("%s: no error", tt.name)
			continue
		}
		assertKind(t, err, tt.kind, tt.text)
	}

	b := newBlobs(t)
	if err := syscall.Mkfifo(filepath.Join(b.dir, "index.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := b.resolve(client(t, &pull.Client{})); err == nil || !strings.Contains(err.Error(), "regular") {
		t.Errorf("a FIFO: error %v", err)
	}
	_, err := client(t, &pull.Client{}).Resolve(t.Context(), mustRef(t, "oci:"+empty+"/missing"), amd64())
	var nf *pull.NotFoundError
	if !errors.As(err, &nf) {
		t.Errorf("no directory: error %v, want a NotFoundError", err)
	}
}

// Layouts without the oci-layout file are common.
func TestLayoutWithoutVersion(t *testing.T) {
	b := newBlobs(t)
	b.index(b.image(amd64()))
	if err := os.Remove(filepath.Join(b.dir, "oci-layout")); err != nil {
		t.Fatal(err)
	}
	b.mustResolve(&pull.Client{})
}
