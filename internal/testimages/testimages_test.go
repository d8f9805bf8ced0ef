package testimages_test

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/demo"
	"github.com/byhand/byhand/internal/testimages"
)

// opened is a layout's image.
type opened struct {
	dir      string
	manifest ocispec.Manifest
	config   ocispec.Image
}

func openLayout(t *testing.T, dir string) opened {
	t.Helper()
	o := opened{dir: dir}
	var index ocispec.Index
	readJSON(t, filepath.Join(dir, "index.json"), &index)
	readJSON(t, o.path(index.Manifests[0].Digest), &o.manifest)
	readJSON(t, o.path(o.manifest.Config.Digest), &o.config)
	return o
}

func (o opened) path(d digest.Digest) string {
	return filepath.Join(o.dir, "blobs", "sha256", d.Encoded())
}

func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

// layer reads one, checks both of its digests, and gives its entries.
func (o opened) layer(t *testing.T, n int) map[string]*tar.Header {
	t.Helper()
	f, err := os.Open(o.path(o.manifest.Layers[n].Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	packed, raw := digest.SHA256.Digester(), digest.SHA256.Digester()
	var r io.Reader = io.TeeReader(f, packed.Hash())
	if o.manifest.Layers[n].MediaType == ocispec.MediaTypeImageLayerZstd {
		zr, err := zstd.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		defer zr.Close()
		r = zr
	} else if r, err = gzip.NewReader(r); err != nil {
		t.Fatal(err)
	}
	r = io.TeeReader(r, raw.Hash())
	entries := map[string]*tar.Header{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("layer %d: %v", n, err)
		}
		entries[h.Name] = h
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	if packed.Digest() != o.manifest.Layers[n].Digest || raw.Digest() != o.config.RootFS.DiffIDs[n] {
		t.Errorf("layer %d: digest %s, diff ID %s", n, packed.Digest(), raw.Digest())
	}
	return entries
}

func TestDebian(t *testing.T) {
	o := openLayout(t, testimages.Get(t, testimages.Debian()))
	if len(o.manifest.Layers) != 5 || len(o.config.RootFS.DiffIDs) != 5 {
		t.Fatalf("%d layers, %d diff IDs", len(o.manifest.Layers), len(o.config.RootFS.DiffIDs))
	}
	if base := o.layer(t, 0); len(base) < 5000 || base["./etc/debian_version"] == nil {
		t.Errorf("the base has %d entries", len(base))
	}
	ping := o.layer(t, 1)["usr/bin/ping"]
	if ping == nil || ping.PAXRecords["SCHILY.xattr.security.capability"] == "" {
		t.Errorf("ping has no file capability: %+v", ping)
	}
	removed := o.layer(t, 2)
	for _, want := range []string{"usr/bin/.wh.nano", "usr/share/doc/.wh..wh..opq", "usr/share/.wh.locale"} {
		if h := removed[want]; h == nil || h.Typeflag != tar.TypeReg || h.Size != 0 {
			t.Errorf("no marker %s: %+v", want, h)
		}
	}
	kinds := o.layer(t, 3)
	for name, kind := range map[string]byte{
		"opt": tar.TypeSymlink, "etc/issue/": tar.TypeDir, "usr/share/bug": tar.TypeReg, "srv/kinds/hard2": tar.TypeLink,
		"srv/kinds/fifo": tar.TypeFifo, "srv/kinds/null": tar.TypeChar, "srv/kinds/soft": tar.TypeLink, "srv/kinds/hardsoft": tar.TypeSymlink,
	} {
		if h := kinds[name]; h == nil || h.Typeflag != kind {
			t.Errorf("%s: %+v, expected type %c", name, h, kind)
		}
	}
	if h := kinds["srv/kinds/before-1970"]; h == nil || h.ModTime.Year() != 1969 || h.ModTime.Nanosecond() != 123456789 {
		t.Errorf("before-1970: %+v", h)
	}
	if h := o.layer(t, 4)["srv/app/data"]; h == nil || h.Uid != 1500 {
		t.Errorf("data: %+v", h)
	}
}

// TestBuildAgain: the second time costs nothing and gives the same.
func TestBuildAgain(t *testing.T) {
	one := testimages.Get(t, testimages.Debian())
	before, err := os.Stat(filepath.Join(one, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	two := testimages.Get(t, testimages.Debian())
	after, err := os.Stat(filepath.Join(two, "index.json"))
	if err != nil || one != two || !os.SameFile(before, after) || before.ModTime() != after.ModTime() {
		t.Errorf("%s and %s: %v", one, two, err)
	}
}

func TestRegistry(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	root, err := demo.Build(dir, demo.Options{Programs: map[string][]byte{"amd64": []byte("a"), "arm64": []byte("b")}})
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]testimages.RegistryOptions{
		"plain":    {},
		"tls":      {TLS: true},
		"htpasswd": {Username: "user", Password: "pa ss:word"},
		"both":     {TLS: true, Username: "user", Password: "word"},
	} {
		t.Run(name, func(t *testing.T) {
			r := testimages.StartRegistry(t, o)
			ref := r.Push(t, dir, "latest", "org/demo:v1")
			args := []string{"inspect", "--raw"}
			if o.TLS {
				args = append(args, "--cert-dir", r.CADir)
			} else {
				args = append(args, "--tls-verify=false")
			}
			anonymous := exec.CommandContext(t.Context(), "skopeo", append(args, "docker://"+ref)...)
			out, err := anonymous.CombinedOutput()
			if o.Username != "" {
				if err == nil || !strings.Contains(string(out), "authentication") {
					t.Errorf("without a password: %v: %s", err, out)
				}
				args = append(args, "--creds", o.Username+":"+o.Password)
				out, err = exec.CommandContext(t.Context(), "skopeo", append(args, "docker://"+ref)...).Output()
			}
			if err != nil || digest.FromBytes(out) != root.Digest {
				t.Errorf("index %s, expected %s: %v: %s", digest.FromBytes(out), root.Digest, err, out)
			}
		})
	}
}
