package report_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/report"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

type memory []byte

func (m memory) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(m)), nil
}

// image is what a test's page is made of.
type image struct {
	name    string // repository
	config  map[string]any
	history []ocispec.History
	layers  [][]byte
}

func document(t testing.TB, v any) pull.Document {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return pull.Document{
		Descriptor: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(raw), Size: int64(len(raw))}, Raw: raw,
	}
}

// input makes the image as if it had been pulled.
func (i image) input(t testing.TB) report.Input {
	t.Helper()
	img := &pull.Image{Reference: pull.Reference{Transport: pull.Registry, Host: "docker.io", Repository: i.name, Tag: "latest"}}
	sources, ids := []imagetree.Source{}, []digest.Digest{}
	for n, l := range i.layers {
		d := digest.FromBytes(l)
		ids = append(ids, d)
		sources = append(sources, memory(l))
		img.Layers = append(img.Layers, &pull.Layer{Descriptor: ocispec.Descriptor{Digest: d, Size: int64(len(l))}, DiffIDValue: d, Index: n})
	}
	whole := map[string]any{
		"os": "linux", "architecture": "amd64", "created": "2024-02-29T12:00:00Z", "config": i.config,
		"history": i.history, "rootfs": map[string]any{"type": "layers", "diff_ids": ids},
	}
	img.Config = document(t, whole)
	if err := json.Unmarshal(img.Config.Raw, &img.Spec); err != nil {
		t.Fatal(err)
	}
	img.Manifest = document(t, map[string]any{"config": img.Config.Descriptor})
	tree, err := imagetree.Build(t.Context(), sources, imagetree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return report.Input{Image: img, Tree: tree}
}

func (i image) page(t testing.TB, o report.Options) []byte {
	t.Helper()
	return write(t, i.input(t), o)
}

func write(t testing.TB, in report.Input, o report.Options) []byte {
	t.Helper()
	page, err := report.Build(t.Context(), in, o)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := page.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// small is an image with one of each.
func small() image {
	return image{
		name: "lab/small",
		config: map[string]any{
			"Cmd": []string{"sh", "-c", "true"}, "Env": []string{"PATH=/bin", "A=b"}, "User": "app",
			"Volumes": map[string]any{"/data": map[string]any{}}, "Labels": map[string]string{"some": "label"},
		},
		history: []ocispec.History{
			{CreatedBy: "ADD base", Comment: "the base"}, {CreatedBy: "ENV A=b", EmptyLayer: true}, {CreatedBy: "RUN rm"}, {CreatedBy: "RUN opaque"},
		},
		layers: [][]byte{
			testtar.Tar(testtar.File("etc/passwd", "app:x:1234:1235::/home/app:/bin/sh\n"), testtar.File("usr/lib/big", strings.Repeat("x", 70_000)),
				testtar.File("usr/lib/other", strings.Repeat("y", 30_000)), testtar.File("srv/old", strings.Repeat("z", 20_000)), testtar.File("var/cache/x", "123")),
			testtar.Tar(testtar.Whiteout("srv/old"), testtar.File("usr/lib/other", strings.Repeat("Y", 10_000)), testtar.Symlink("bin", "usr/bin")),
			testtar.Tar(testtar.Dir("var/cache"), testtar.Opaque("var/cache"), testtar.File("var/cache/new", strings.Repeat("n", 5000))),
		},
	}
}

// visible is a page without script, style and data.
func visible(page []byte) string {
	return regexp.MustCompile(`(?s)<(script|style)[^>]*>.*?</(script|style)>`).ReplaceAllString(string(page), "")
}

func TestPageSays(t *testing.T) {
	in := small().input(t)
	page := string(write(t, in, report.Options{}))
	text := visible([]byte(page))
	chain := overlay.ChainIDs([]digest.Digest{in.Image.Layers[0].DiffIDValue, in.Image.Layers[1].DiffIDValue, in.Image.Layers[2].DiffIDValue})
	for _, want := range []string{
		"docker.io/lab/small:latest", "linux/amd64, 3 layers.", "All 7 digests", "2024-02-29 12:00:00 UTC",
		in.Image.Manifest.Descriptor.Digest.String(), in.Image.Config.Descriptor.Digest.String(),
		in.Image.Layers[2].Descriptor.Digest.String(), chain[2].String(), "layers/" + chain[1].Digest().Encoded() + "/diff",
		"ADD base", "the base", "ENV A=b", "configuration only",
		"<b>63.0 %</b>", "50 kB are hidden", // 85,035 of 135,038 bytes show
		"✕ whiteout", "opaque directory", "/srv/old", "not there",
		"lowerdir=3:2:1,upperdir=/box/upper,workdir=/box/work /box/rootfs",
		"uid: 1234", "gid: 1235", "HOME=/home/app", "gives: process.env", "from: image config.User",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	for _, never := range []string{"MISMATCH", "ZgotmplZ", "<nil>", "%!"} {
		if strings.Contains(page, never) {
			t.Errorf("the page has %q", never)
		}
	}
}

// TestPageIsSame makes the page twice, from trees built twice.
func TestPageIsSame(t *testing.T) {
	if !bytes.Equal(small().page(t, report.Options{}), small().page(t, report.Options{})) {
		t.Error("two pages of one image differ")
	}
}

func TestPageAlone(t *testing.T) {
	page := small().page(t, report.Options{})
	for _, m := range regexp.MustCompile(`(?i)\b(src|href|action|data|poster|xlink:href|srcset)\s*=\s*["']?([^"'\s>]*)`).FindAllStringSubmatch(visible(page), -1) {
		if !strings.HasPrefix(m[2], "#") {
			t.Errorf("refers to %q", m[0])
		}
	}
	for _, m := range regexp.MustCompile(`(?i)url\([^)]*\)|@import|\bfetch\(|XMLHttpRequest|WebSocket|https?://[^"' <]*`).FindAllString(string(page), -1) {
		if !strings.HasPrefix(m, "url(#") && m != "http://www.w3.org/2000/svg" {
			t.Errorf("refers to %q", m)
		}
	}
	if !bytes.Contains(page, []byte(`content="default-src &#39;none&#39;; style-src &#39;sha256-`)) {
		t.Error("no content security policy")
	}
}

// wellFormed reads a page as XML, but for elements that are not closed in HTML:
// every other one is closed where it was opened, and no id is there twice.
func wellFormed(page []byte) error {
	text := regexp.MustCompile(`<(meta|br)([^>]*)>`).ReplaceAllString(visible(page), "<$1$2/>")
	d := xml.NewDecoder(strings.NewReader(text))
	d.Entity = xml.HTMLEntity
	ids := map[string]bool{}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		for _, a := range e.Attr {
			if a.Name.Local == "id" && ids[a.Value] {
				return fmt.Errorf("two elements are called %q", a.Value)
			} else if a.Name.Local == "id" {
				ids[a.Value] = true
			}
		}
	}
}

func TestWellFormed(t *testing.T) {
	for name, i := range map[string]image{"small": small(), "hostile": hostile(), "empty": {name: "empty"}, "no config": {name: "x", layers: small().layers}} {
		if err := wellFormed(i.page(t, report.Options{})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if wellFormed([]byte("<p><b>x</p>")) == nil {
		t.Error("the check does not check")
	}
}

// evil is foreign text that tries to be more.
const evil = `"><script>window.pwned=1</script><img src=x onerror="window.pwned=1">'--></style></title></script>{{.}}` + "\u2028\u202e\x1b[31m\x00\xff"

// hostile is an image that says evil wherever it can.
func hostile() image {
	long := strings.Repeat("long ", 3000)
	name := strings.NewReplacer("/", `\`, "\x00", "").Replace(evil) + "\n"
	return image{
		name: "lab/" + evil,
		config: map[string]any{
			"Cmd": []string{evil, long}, "Env": []string{"X=" + evil, "Y=" + long, evil}, "WorkingDir": "/" + evil,
			"Labels": map[string]string{evil: evil, "long": long}, "Volumes": map[string]any{"/" + evil: map[string]any{}}, evil: evil,
			"ExposedPorts": map[string]any{evil: nil},
		},
		history: []ocispec.History{{CreatedBy: evil + long, Comment: evil, Author: evil}, {CreatedBy: long}, {CreatedBy: evil, EmptyLayer: true}},
		layers: [][]byte{
			testtar.Tar(testtar.File(name, strings.Repeat("x", 5000)), testtar.File("d/"+name, strings.Repeat("x", 9000)), testtar.Symlink("l", strings.ReplaceAll(evil, "\x00", "")+long[:1000]),
				testtar.File("__proto__", "12"), testtar.File("constructor/toString", "12"), testtar.Dir("hasOwnProperty")),
			testtar.Tar(testtar.Whiteout(name), testtar.File("d/"+name, strings.Repeat("y", 7000))),
			testtar.Tar(testtar.File(strings.Repeat("deep/", 800)+"f", "123")),
		},
	}
}

func TestHistoryThatDoesNotFit(t *testing.T) {
	i := small()
	i.history = i.history[:2]
	if page := string(i.page(t, report.Options{})); !strings.Contains(page, "speaks of 1 layer, the image has 3") {
		t.Error("a short history is not told of")
	}
	i.history = append(small().history, small().history...)
	if page := string(i.page(t, report.Options{})); !strings.Contains(page, "speaks of 6 layers, the image has 3") {
		t.Error("a long history is not told of")
	}
	i.history = nil
	if page := string(i.page(t, report.Options{})); !strings.Contains(page, "has no history") {
		t.Error("a missing history is not told of")
	}
}

// TestRefused shows an image that no bundle can be made of.
func TestRefused(t *testing.T) {
	i := small()
	i.config["User"] = "nobody-knows"
	if page := string(i.page(t, report.Options{})); !strings.Contains(page, "byhand would make no bundle of this image: look up user &#34;nobody-knows&#34;") {
		t.Error("the refusal is not told of")
	}
}

func TestLeftOut(t *testing.T) {
	page := string(small().page(t, report.Options{Names: 4}))
	if !strings.Contains(page, "names the 4 files and directories with the most bytes. The other 9 are summed up") || !strings.Contains(page, "[null,") {
		t.Error("what is left out is not told of")
	}
	if !strings.Contains(page, "<b>63.0 %</b>") {
		t.Error("what is left out is not counted")
	}
}

// TestWrongDigest has a document that is not what it is called.
func TestWrongDigest(t *testing.T) {
	in := small().input(t)
	in.Image.Config.Raw = append([]byte(" "), in.Image.Config.Raw...)
	_, err := report.Build(t.Context(), in, report.Options{})
	if d, ok := errors.AsType[*overlay.DigestError](err); !ok || d.Want != in.Image.Config.Descriptor.Digest {
		t.Errorf("%v", err)
	}
}

func TestNotVerified(t *testing.T) {
	in := small().input(t)
	in.Verified = func(d digest.Digest) bool { return d != in.Image.Layers[1].Descriptor.Digest }
	if page := string(write(t, in, report.Options{})); !strings.Contains(page, "</span> 6 digests were calculated") || !strings.Contains(page, "The compressed form of 1 layer was not at hand") || !strings.Contains(page, "not at hand") {
		t.Error("a blob that was not read counts as checked")
	}
}

// save puts a page where a browser finds it. With BYHAND_REPORT_PAGES it stays,
// for people to look at.
func save(t testing.TB, name string, page []byte) (url string) {
	t.Helper()
	dir := os.Getenv("BYHAND_REPORT_PAGES")
	if dir == "" {
		dir = t.TempDir()
	}
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, page, 0o644); err != nil {
		t.Fatal(err)
	}
	return "file://" + file
}
