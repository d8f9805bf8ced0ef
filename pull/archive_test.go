package pull_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/pull"
)

// archiver makes archives entry by entry.
type archiver struct {
	t   testing.TB
	buf bytes.Buffer
	w   *tar.Writer
}

func newArchiver(t testing.TB) *archiver {
	a := &archiver{t: t}
	a.w = tar.NewWriter(&a.buf)
	return a
}

func (a *archiver) header(h *tar.Header, data []byte) *archiver {
	a.t.Helper()
	h.Size = int64(len(data))
	if err := a.w.WriteHeader(h); err != nil {
		a.t.Fatal(err)
	}
	if _, err := a.w.Write(data); err != nil {
		a.t.Fatal(err)
	}
	return a
}

func (a *archiver) file(name string, data []byte) *archiver {
	a.t.Helper()
	return a.header(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, data)
}

func (a *archiver) json(name string, v any) *archiver {
	a.t.Helper()
	return a.file(name, mustJSON(a.t, v))
}

func (a *archiver) link(flag byte, name, target string) *archiver {
	a.t.Helper()
	return a.header(&tar.Header{Typeflag: flag, Name: name, Linkname: target}, nil)
}

func (a *archiver) bytes() []byte {
	a.t.Helper()
	if err := a.w.Close(); err != nil {
		a.t.Fatal(err)
	}
	return a.buf.Bytes()
}

func writeFile(t testing.TB, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// archive makes a tar of a layout.
func (b *blobs) archive(prefix string) []byte {
	b.t.Helper()
	a := newArchiver(b.t)
	err := fs.WalkDir(os.DirFS(b.dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(b.dir, name))
		a.file(prefix+name, data)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return a.bytes()
}

type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// dockerSave makes an archive as docker save has done for most of its life.
func dockerSave(t testing.TB, tag string, layers ...layerBlob) (*archiver, dockerEntry) {
	t.Helper()
	config := mustJSON(t, configFor(amd64(), layers...))
	e := dockerEntry{Config: digest.FromBytes(config).Encoded() + ".json"}
	if tag != "" {
		e.RepoTags = []string{tag}
	}
	a := newArchiver(t).file(e.Config, config)
	for i, l := range layers {
		name := strings.Repeat(string(rune('a'+i)), 64) + "/layer.tar"
		a.file(name, l.packed)
		e.Layers = append(e.Layers, name)
	}
	return a, e
}

func plainLayer(data []byte) layerBlob { return layerBlob{ocispec.MediaTypeImageLayer, data, data} }

// checkImage reads all layers of an archive's image.
func checkImage(t *testing.T, c *pull.Client, ref string, layers ...layerBlob) *pull.Image {
	t.Helper()
	img, err := client(t, c).Resolve(t.Context(), mustRef(t, ref), amd64())
	if err != nil {
		t.Fatal(err)
	}
	if len(img.Layers) != len(layers) {
		t.Fatalf("%d layers, want %d", len(img.Layers), len(layers))
	}
	for i, want := range layers {
		got, err := readLayer(t, img.Layers[i], pull.OpenOptions{})
		if err != nil || !bytes.Equal(got, want.tar) {
			t.Errorf("layer %d: %d bytes, %v; want %d bytes", i, len(got), err, len(want.tar))
		}
	}
	return img
}

func TestDockerArchive(t *testing.T) {
	base, top := plainLayer(words(700_000, 1)), plainLayer(words(300_000, 2))
	a, e := dockerSave(t, "example.com/app:1", base, top)
	data := a.json("manifest.json", []dockerEntry{e}).bytes()
	name := writeFile(t, data)
	half := len(data) / 2
	for _, tt := range []struct {
		name   string
		ref    string
		client *pull.Client
	}{
		{"file", name, &pull.Client{}},
		{"by name", name + ":example.com/app:1", &pull.Client{}},
		{"gzip file", writeFile(t, gzipBytes(t, data)), &pull.Client{}},
		{"zstd file", writeFile(t, zstdBytes(t, data)), &pull.Client{}},
		{"standard input", "-", &pull.Client{Stdin: iotest.OneByteReader(bytes.NewReader(data))}},
		{"standard input, gzip of two members", "-", &pull.Client{
			Stdin: bytes.NewReader(append(gzipBytes(t, data[:half]), gzipBytes(t, data[half:])...)),
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := checkImage(t, tt.client, "docker-archive:"+tt.ref, base, top)
			if want := digest.FromBytes(base.tar); img.Layers[0].Descriptor.Digest != want {
				t.Errorf("layer's digest %s, want its diff ID %s", img.Layers[0].Descriptor.Digest, want)
			}
			if img.Manifest.Descriptor.Digest != digest.FromBytes(img.Manifest.Raw) {
				t.Error("manifest's digest is not that of its bytes")
			}
			if img.Config.Descriptor.Digest.Encoded()+".json" != e.Config {
				t.Errorf("config %s, want %s", img.Config.Descriptor.Digest, e.Config)
			}
		})
	}
}

// Standard input is there once; an image can be resolved more often.
func TestDockerArchiveStdinTwice(t *testing.T) {
	l := plainLayer(words(1000, 1))
	a, e := dockerSave(t, "x:1", l)
	c := &pull.Client{Stdin: bytes.NewReader(a.json("manifest.json", []dockerEntry{e}).bytes())}
	checkImage(t, c, "docker-archive:-", l)
	checkImage(t, c, "docker-archive:-:x:1", l)
}

// A redirected file is read in place, from where it stands.
func TestDockerArchiveStdinFile(t *testing.T) {
	l := plainLayer(words(100_000, 1))
	a, e := dockerSave(t, "x:1", l)
	f, err := os.Open(writeFile(t, append([]byte("consumed"), a.json("manifest.json", []dockerEntry{e}).bytes()...)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := io.CopyN(io.Discard, f, 8); err != nil {
		t.Fatal(err)
	}
	checkImage(t, &pull.Client{Stdin: f}, "docker-archive:-", l)
	if _, err := f.Stat(); err != nil {
		t.Errorf("the client closed standard input: %v", err)
	}
}

func TestDockerArchiveForms(t *testing.T) {
	l, other := plainLayer(words(400_000, 1)), plainLayer(words(1000, 2))
	packed := gzipLayer(t, l.tar)
	id := strings.Repeat("b", 64)

	t.Run("manifest first", func(t *testing.T) {
		_, e := dockerSave(t, "x:1", l)
		config := mustJSON(t, configFor(amd64(), l))
		data := newArchiver(t).json("manifest.json", []dockerEntry{e}).file(e.Layers[0], l.tar).file(e.Config, config).bytes()
		checkImage(t, &pull.Client{}, "docker-archive:"+writeFile(t, data), l)
	})
	t.Run("symbolic link to another layer", func(t *testing.T) {
		a, e := dockerSave(t, "x:1", l, l)
		e.Layers[1] = id + "/linked.tar"
		a.link(tar.TypeSymlink, e.Layers[1], "../"+e.Layers[0])
		checkImage(t, &pull.Client{}, "docker-archive:"+writeFile(t, a.json("manifest.json", []dockerEntry{e}).bytes()), l, l)
	})
	t.Run("hard link to another layer", func(t *testing.T) {
		a, e := dockerSave(t, "x:1", l, l)
		e.Layers[1] = id + "/linked.tar"
		a.link(tar.TypeLink, e.Layers[1], e.Layers[0])
		checkImage(t, &pull.Client{}, "docker-archive:"+writeFile(t, a.json("./manifest.json", []dockerEntry{e}).bytes()), l, l)
	})
	t.Run("gzip layer", func(t *testing.T) {
		a, e := dockerSave(t, "x:1", packed, other)
		img := checkImage(t, &pull.Client{}, "docker-archive:"+writeFile(t, a.json("manifest.json", []dockerEntry{e}).bytes()), packed, other)
		if d := img.Layers[0].Descriptor; d.Digest != digest.FromBytes(packed.packed) || d.MediaType != ocispec.MediaTypeImageLayerGzip {
			t.Errorf("layer %+v", d)
		}
	})
	t.Run("blobs as in a layout", func(t *testing.T) {
		config := mustJSON(t, configFor(amd64(), packed, other))
		blob := func(data []byte) string { return "blobs/sha256/" + digest.FromBytes(data).Encoded() }
		e := dockerEntry{Config: blob(config), RepoTags: []string{"x:1"}, Layers: []string{blob(packed.packed), blob(other.packed)}}
		data := newArchiver(t).file(e.Config, config).file(e.Layers[0], packed.packed).file(e.Layers[1], other.packed).
			json("manifest.json", []dockerEntry{e}).bytes()
		checkImage(t, &pull.Client{}, "docker-archive:"+writeFile(t, data), packed, other)
	})
	t.Run("a layout only", func(t *testing.T) {
		b := newBlobs(t)
		one, two := b.image(amd64(), packed), b.image(amd64(), other)
		one.Annotations = map[string]string{"io.containerd.image.name": "docker.io/library/one:1", "org.opencontainers.image.ref.name": "1"}
		two.Annotations = map[string]string{"io.containerd.image.name": "docker.io/library/two:1", "org.opencontainers.image.ref.name": "1"}
		b.index(one, two)
		checkImage(t, &pull.Client{}, "docker-archive:"+writeFile(t, b.archive(""))+":two:1", other)
	})
	t.Run("of two entries the last", func(t *testing.T) {
		a, e := dockerSave(t, "x:1", l)
		a.file("manifest.json", []byte("[]")).json("manifest.json", []dockerEntry{e})
		checkImage(t, &pull.Client{}, "docker-archive:"+writeFile(t, a.bytes()), l)
	})
}

func TestDockerArchiveChoice(t *testing.T) {
	l, other := plainLayer(words(4000, 1)), plainLayer(words(1000, 2))
	a, one := dockerSave(t, "one:1", l)
	config := mustJSON(t, configFor(amd64(), other))
	two := dockerEntry{Config: digest.FromBytes(config).Encoded() + ".json", RepoTags: []string{"localhost:5000/two:2", "docker.io/library/two:2"}, Layers: []string{"l.tar"}}
	name := writeFile(t, a.file(two.Config, config).file("l.tar", other.tar).json("manifest.json", []dockerEntry{one, two}).bytes())
	checkImage(t, &pull.Client{}, "docker-archive:"+name+":one:1", l)
	checkImage(t, &pull.Client{}, "docker-archive:"+name+":two:2", other)
	checkImage(t, &pull.Client{}, "docker-archive:"+name+":localhost:5000/two:2", other)
	all := []string{"one:1", "localhost:5000/two:2", "docker.io/library/two:2"}
	for _, suffix := range []string{"", ":two", ":three:1"} {
		_, err := client(t, &pull.Client{}).Resolve(t.Context(), mustRef(t, "docker-archive:"+name+suffix), amd64())
		var nf *pull.NotFoundError
		if !errors.As(err, &nf) || !slices.Equal(nf.Available, all) {
			t.Errorf("%q: error %v, want a NotFoundError with all names", suffix, err)
		}
	}
	tags, err := client(t, &pull.Client{}).Tags(t.Context(), mustRef(t, "docker-archive:"+name))
	if err != nil || !slices.Equal(tags, all) {
		t.Errorf("tags %q, %v", tags, err)
	}
}

func TestDockerArchiveDamage(t *testing.T) {
	l := plainLayer(words(400_000, 1))
	config := mustJSON(t, configFor(amd64(), l))
	right := digest.FromBytes(config)
	build := func(config, layer []byte) string {
		_, e := dockerSave(t, "x:1", l)
		return "docker-archive:" + writeFile(t, newArchiver(t).file(e.Config, config).file(e.Layers[0], layer).json("manifest.json", []dockerEntry{e}).bytes())
	}
	var de *pull.DigestError
	changed := bytes.Replace(config, []byte("amd64"), []byte("arm64"), 1)
	_, err := client(t, &pull.Client{}).Resolve(t.Context(), mustRef(t, build(changed, l.tar)), amd64())
	if !errors.As(err, &de) || de.Want != right || de.Got != digest.FromBytes(changed) {
		t.Errorf("config: error %v, want a DigestError of its name", err)
	}
	bad := flip(1234)(l.tar)
	for what, layer := range map[string][]byte{"plain": bad, "gzip": gzipBytes(t, bad)} {
		img, err := client(t, &pull.Client{}).Resolve(t.Context(), mustRef(t, build(config, layer)), amd64())
		if err != nil {
			t.Fatal(err)
		}
		_, err = readLayer(t, img.Layers[0], pull.OpenOptions{})
		if !errors.As(err, &de) || de.Want != digest.FromBytes(l.tar) || de.Got != digest.FromBytes(bad) {
			t.Errorf("%s layer: error %v, want a DigestError of the diff ID", what, err)
		}
	}
}

func TestArchiveRefused(t *testing.T) {
	l := plainLayer(words(4000, 1))
	a, e := dockerSave(t, "x:1", l)
	good := a.json("manifest.json", []dockerEntry{e}).bytes()
	missing := e
	missing.Layers = []string{"missing.tar"}
	more := e
	more.Layers = append(slices.Clone(e.Layers), e.Layers...)
	circle := newArchiver(t).link(tar.TypeSymlink, "manifest.json", "b").link(tar.TypeSymlink, "b", "manifest.json").bytes()
	for _, tt := range []struct {
		name string
		ref  string
		data []byte
		kind string
		text string
	}{
		{"neither", "docker-archive:", newArchiver(t).file("a", nil).bytes(), "Format", "neither manifest.json nor index.json"},
		{"empty file", "docker-archive:", nil, "Format", "neither"},
		{"not a tar", "docker-archive:", words(5000, 3), "Format", "damaged tar"},
		{"cut", "docker-archive:", good[:3000], "Format", ""},
		{"cut gzip", "docker-archive:", gzipBytes(t, good)[:100], "Format", "gzip"},
		{"docker save as a layout", "oci-archive:", good, "Format", "docker-archive:"},
		{"before 1.10", "docker-archive:", newArchiver(t).file("repositories", []byte("{}")).bytes(), "Unsupported", "1.10"},
		{"manifest.json malformed", "docker-archive:", newArchiver(t).file("manifest.json", []byte("{")).bytes(), "Format", "malformed"},
		{"manifest.json huge", "docker-archive:", newArchiver(t).file("manifest.json", make([]byte, 4<<20+1)).bytes(), "Limit", "Metadata"},
		{"links in a circle", "docker-archive:", circle, "Format", "chain"},
		{"layer missing", "docker-archive:", newArchiver(t).json("manifest.json", []dockerEntry{missing}).file(e.Config, mustJSON(t, configFor(amd64(), l))).bytes(), "Format", "missing.tar"},
		{"config missing", "docker-archive:", newArchiver(t).json("manifest.json", []dockerEntry{e}).bytes(), "Format", "missing"},
		{"more layers than diff IDs", "docker-archive:", newArchiver(t).json("manifest.json", []dockerEntry{more}).file(e.Config, mustJSON(t, configFor(amd64(), l))).bytes(), "Format", "1 diff IDs for the 2 layers"},
		{"xz", "docker-archive:", []byte("\xfd7zXZ\x00........"), "Unsupported", "xz"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, c := range []*pull.Client{{}, {Stdin: bytes.NewReader(tt.data)}} {
				ref := tt.ref + "-"
				if c.Stdin == nil {
					ref = tt.ref + writeFile(t, tt.data)
				}
				_, err := client(t, c).Resolve(t.Context(), mustRef(t, ref), amd64())
				if err == nil {
					t.Fatal("no error")
				}
				assertKind(t, err, tt.kind, tt.text)
			}
		})
	}

	_, err := client(t, &pull.Client{Limits: pull.Limits{ArchiveEntries: 2}}).Resolve(t.Context(), mustRef(t, "docker-archive:"+writeFile(t, good)), amd64())
	assertKind(t, err, "Limit", "ArchiveEntries")
	_, err = client(t, &pull.Client{Limits: pull.Limits{ArchiveNames: 20}}).Resolve(t.Context(), mustRef(t, "docker-archive:"+writeFile(t, good)), amd64())
	assertKind(t, err, "Limit", "ArchiveNames")
	_, err = client(t, &pull.Client{Stdin: bytes.NewReader(good), Limits: pull.Limits{ArchiveSize: 600}}).Resolve(t.Context(), mustRef(t, "docker-archive:-"), amd64())
	assertKind(t, err, "Limit", "ArchiveSize")
	bomb := gzipBytes(t, make([]byte, 4<<20))
	_, err = client(t, &pull.Client{Limits: pull.Limits{Ratio: 10, RatioFloor: 1 << 20}}).Resolve(t.Context(), mustRef(t, "docker-archive:"+writeFile(t, bomb)), amd64())
	assertKind(t, err, "Limit", "Ratio")
	var nf *pull.NotFoundError
	if _, err = client(t, &pull.Client{}).Resolve(t.Context(), mustRef(t, "docker-archive:/missing"), amd64()); !errors.As(err, &nf) {
		t.Errorf("no file: error %v, want a NotFoundError", err)
	}
	if _, err = client(t, &pull.Client{}).Resolve(t.Context(), mustRef(t, "docker-archive:"+t.TempDir()), amd64()); err == nil || !strings.Contains(err.Error(), "oci:") {
		t.Errorf("a directory: error %v", err)
	}
	if _, err = client(t, &pull.Client{}).Resolve(t.Context(), mustRef(t, "docker-archive:-"), amd64()); err == nil {
		t.Error("no standard input: no error")
	}
}

func TestOCIArchive(t *testing.T) {
	b := newBlobs(t)
	l := gzipLayer(t, words(500_000, 1))
	b.index(named(b.image(amd64(), l), "1.0"), named(b.image(platform("linux/arm64")), "arm"))
	for _, prefix := range []string{"", "./"} {
		data := b.archive(prefix)
		checkImage(t, &pull.Client{}, "oci-archive:"+writeFile(t, data)+":1.0", l)
		checkImage(t, &pull.Client{Stdin: bytes.NewReader(data)}, "oci-archive:-:1.0", l)
		checkImage(t, &pull.Client{}, "oci-archive:"+writeFile(t, gzipBytes(t, data))+":1.0", l)
	}
	img := checkImage(t, &pull.Client{}, "oci-archive:"+writeFile(t, b.archive(""))+":1.0", l)
	d := img.Layers[0].Descriptor.Digest
	b.overwrite(d, flip(100))
	img, err := client(t, &pull.Client{}).Resolve(t.Context(), mustRef(t, "oci-archive:"+writeFile(t, b.archive(""))+":1.0"), amd64())
	if err != nil {
		t.Fatal(err)
	}
	_, err = readLayer(t, img.Layers[0], pull.OpenOptions{})
	var de *pull.DigestError
	if !errors.As(err, &de) || de.Want != d {
		t.Errorf("error %v, want a DigestError", err)
	}
}

// Temporary files have no name, so that nothing is left behind.
func TestArchiveSpoolLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	l := plainLayer(words(100_000, 1))
	a, e := dockerSave(t, "x:1", l)
	data := a.json("manifest.json", []dockerEntry{e}).bytes()
	c := &pull.Client{Stdin: bytes.NewReader(data)}
	img, err := c.Resolve(t.Context(), mustRef(t, "docker-archive:-"), amd64())
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("%d files in TMPDIR while in use, %v", len(entries), err)
	}
	if _, err := readLayer(t, img.Layers[0], pull.OpenOptions{}); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	t.Setenv("TMPDIR", dir+"/missing")
	_, err = client(t, &pull.Client{Stdin: bytes.NewReader(data)}).Resolve(t.Context(), mustRef(t, "docker-archive:-"), amd64())
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want that of the missing directory", err)
	}
}

var errCable = errors.New("cable pulled")

func TestArchiveStdinFails(t *testing.T) {
	l := plainLayer(words(100_000, 1))
	a, e := dockerSave(t, "x:1", l)
	data := a.json("manifest.json", []dockerEntry{e}).bytes()
	for _, data := range [][]byte{data, gzipBytes(t, data)} {
		in := io.MultiReader(bytes.NewReader(data[:len(data)/2]), iotest.ErrReader(errCable))
		_, err := client(t, &pull.Client{Stdin: in}).Resolve(t.Context(), mustRef(t, "docker-archive:-"), amd64())
		if !errors.Is(err, errCable) {
			t.Errorf("error %v, want that of the reader", err)
		}
	}
}

// A writer that says nothing does not hold up an interrupt.
func TestArchiveStdinInterrupted(t *testing.T) {
	l := plainLayer(words(600_000, 1))
	a, e := dockerSave(t, "x:1", l)
	data := a.json("manifest.json", []dockerEntry{e}).bytes()
	for _, n := range []int{0, 3, 300_000, len(data)} {
		r, w := io.Pipe()
		before := runtime.NumGoroutine()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		c := client(t, &pull.Client{Stdin: r})
		go func() {
			_, err := c.Resolve(ctx, mustRef(t, "docker-archive:-"), amd64())
			done <- err
		}()
		if _, err := w.Write(data[:n]); err != nil {
			t.Fatal(err)
		}
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("after %d bytes: error %v, want context.Canceled", n, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("after %d bytes: the interrupt had no effect", n)
		}
		_ = w.Close()
		settle(t, before)
	}
}
