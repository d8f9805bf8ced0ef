package serve_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/demo"
	"github.com/byhand/byhand/internal/serve"
	"github.com/byhand/byhand/internal/testneed"
)

// image is a demo layout and what is in it.
type image struct {
	dir      string
	root     ocispec.Descriptor
	manifest ocispec.Manifest
}

func newImage(t testing.TB, o demo.Options) image {
	t.Helper()
	i := image{dir: filepath.Join(t.TempDir(), "demo")}
	var err error
	if i.root, err = demo.Build(i.dir, o); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(i.blob(t, i.root.Digest), &i.manifest); err != nil {
		t.Fatal(err)
	}
	return i
}

func (i image) path(d digest.Digest) string {
	return filepath.Join(i.dir, "blobs", "sha256", d.Encoded())
}

func (i image) blob(t testing.TB, d digest.Digest) []byte {
	t.Helper()
	data, err := os.ReadFile(i.path(d))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func start(t testing.TB, o serve.Options, sources ...string) *httptest.Server {
	t.Helper()
	catalog := open(t, sources...)
	server := httptest.NewServer(catalog.Handler(o))
	t.Cleanup(server.Close)
	return server
}

func open(t testing.TB, sources ...string) *serve.Catalog {
	t.Helper()
	catalog, err := openErr(t, sources...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := catalog.Close(); err != nil {
			t.Error(err)
		}
	})
	return catalog
}

func openErr(t testing.TB, sources ...string) (*serve.Catalog, error) {
	t.Helper()
	var list []serve.Source
	for _, s := range sources {
		source, err := serve.ParseSource(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, source)
	}
	return serve.Open(t.Context(), list)
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func get(t testing.TB, url string, header ...string) answer {
	return do(t, http.MethodGet, url, header...)
}

func do(t testing.TB, method, url string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, body}
}

func TestManifestsAndBlobs(t *testing.T) {
	i := newImage(t, demo.Options{Tag: "v1"})
	url := start(t, serve.Options{}, i.dir).URL

	if a := get(t, url+"/v2/"); a.status != http.StatusOK ||
		a.header.Get("Docker-Distribution-Api-Version") != "registry/2.0" {
		t.Errorf("ping: %d %v", a.status, a.header)
	}
	for _, ref := range []string{"v1", i.root.Digest.String()} {
		a := get(t, url+"/v2/demo/manifests/"+ref)
		if a.status != http.StatusOK || !bytes.Equal(a.body, i.blob(t, i.root.Digest)) {
			t.Errorf("manifest %s: status %d, body %s", ref, a.status, a.body)
		}
		head := do(t, http.MethodHead, url+"/v2/demo/manifests/"+ref)
		want := map[string]string{
			"Content-Type": ocispec.MediaTypeImageManifest, "Content-Length": fmt.Sprint(i.root.Size),
			"Docker-Content-Digest": i.root.Digest.String(),
		}
		for key, value := range want {
			if a.header.Get(key) != value || head.header.Get(key) != value {
				t.Errorf("manifest %s: %s is %q, by HEAD %q, expected %q", ref, key, a.header.Get(key), head.header.Get(key), value)
			}
		}
		if len(head.body) != 0 {
			t.Errorf("HEAD has a body of %d bytes", len(head.body))
		}
	}
	for _, d := range append(i.manifest.Layers, i.manifest.Config) {
		a := get(t, url+"/v2/demo/blobs/"+d.Digest.String())
		if got := digest.FromBytes(a.body); got != d.Digest || a.header.Get("Docker-Content-Digest") != string(d.Digest) {
			t.Errorf("blob %s: status %d, digest %s", d.Digest, a.status, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	i := newImage(t, demo.Options{Tag: "v1"})
	url := start(t, serve.Options{}, i.dir).URL
	absent := digest.FromString("absent").String()
	tests := []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/", 404, "UNSUPPORTED"},
		{"GET", "/token", 404, "UNSUPPORTED"},
		{"GET", "/v2/demo/nothing", 404, "UNSUPPORTED"},
		{"GET", "/v2/other/manifests/v1", 404, "NAME_UNKNOWN"},
		{"GET", "/v2/Demo/manifests/v1", 400, "NAME_INVALID"},
		{"GET", "/v2/demo/manifests/v2", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/demo/manifests/" + absent, 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/demo/manifests/sha256:abc", 400, "DIGEST_INVALID"},
		{"GET", "/v2/demo/manifests/" + i.manifest.Config.Digest.String(), 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/demo/blobs/" + absent, 404, "BLOB_UNKNOWN"},
		{"GET", "/v2/demo/blobs/v1", 400, "DIGEST_INVALID"},
		{"GET", "/v2/demo/tags/list?n=x", 400, "PAGINATION_NUMBER_INVALID"},
		{"GET", "/v2/demo/tags/list?n=-1", 400, "PAGINATION_NUMBER_INVALID"},
		{"PUT", "/v2/demo/manifests/v1", 405, "UNSUPPORTED"},
		{"POST", "/v2/demo/blobs/uploads/", 405, "UNSUPPORTED"},
		{"DELETE", "/v2/demo/manifests/v1", 405, "UNSUPPORTED"},
	}
	for _, tt := range tests {
		a := do(t, tt.method, url+tt.path)
		var body struct {
			Errors []struct{ Code, Message string }
		}
		if err := json.Unmarshal(a.body, &body); err != nil || len(body.Errors) != 1 {
			t.Errorf("%s %s: body %q: %v", tt.method, tt.path, a.body, err)
			continue
		}
		if a.status != tt.status || body.Errors[0].Code != tt.code || body.Errors[0].Message == "" {
			t.Errorf("%s %s: %d %v, expected %d %s", tt.method, tt.path, a.status, body.Errors, tt.status, tt.code)
		}
	}
}

func TestRanges(t *testing.T) {
	i := newImage(t, demo.Options{})
	url := start(t, serve.Options{}, i.dir).URL
	layer := i.manifest.Layers[0]
	data := i.blob(t, layer.Digest)
	blob := url + "/v2/demo/blobs/" + layer.Digest.String()
	size := len(data)
	tests := []struct {
		header string
		status int
		body   []byte
		ranges string
	}{
		{"bytes=0-0", 206, data[:1], fmt.Sprintf("bytes 0-0/%d", size)},
		{"bytes=10-19", 206, data[10:20], fmt.Sprintf("bytes 10-19/%d", size)},
		{"bytes=100-", 206, data[100:], fmt.Sprintf("bytes 100-%d/%d", size-1, size)},
		{"bytes=-7", 206, data[size-7:], fmt.Sprintf("bytes %d-%d/%d", size-7, size-1, size)},
		{"bytes=5-999999999", 206, data[5:], fmt.Sprintf("bytes 5-%d/%d", size-1, size)},
		{fmt.Sprintf("bytes=%d-", size), 416, nil, fmt.Sprintf("bytes */%d", size)},
		{"bytes=-0", 416, nil, fmt.Sprintf("bytes */%d", size)},
		{"pages=1-2", 416, nil, ""},
	}
	for _, tt := range tests {
		a := get(t, blob, "Range", tt.header)
		if a.status != tt.status || a.header.Get("Content-Range") != tt.ranges {
			t.Errorf("%s: status %d, Content-Range %q", tt.header, a.status, a.header.Get("Content-Range"))
		}
		if tt.status == 206 && !bytes.Equal(a.body, tt.body) {
			t.Errorf("%s: %d bytes, expected %d", tt.header, len(a.body), len(tt.body))
		}
	}
	a := get(t, blob, "Range", "bytes=1-2", "If-Range", `"`+layer.Digest.String()+`"`)
	if a.status != http.StatusPartialContent {
		t.Errorf("If-Range with the blob's own tag: status %d", a.status)
	}
	if a = get(t, blob, "Range", "bytes=1-2", "If-Range", `"other"`); a.status != http.StatusOK {
		t.Errorf("If-Range with another tag: status %d", a.status)
	}
}

func TestTagsInPages(t *testing.T) {
	i := newImage(t, demo.Options{})
	var sources []string
	for _, tag := range []string{"b", "a", "c", "B", "latest"} {
		sources = append(sources, "lab/demo:"+tag+"="+i.dir)
	}
	url := start(t, serve.Options{}, sources...).URL
	if got, want := tags(t, get(t, url+"/v2/lab/demo/tags/list")), []string{"B", "a", "b", "c", "latest"}; !cmp.Equal(got, want) {
		t.Errorf("tags %v, expected %v", got, want)
	}
	var pages [][]string
	for next := "/v2/lab/demo/tags/list?n=2"; next != ""; {
		a := get(t, url+next)
		pages = append(pages, tags(t, a))
		next = ""
		if link := a.header.Get("Link"); link != "" {
			var ok bool
			if next, ok = strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`); !ok || len(pages) > 5 {
				t.Fatalf("Link %q", link)
			}
		}
	}
	if want := [][]string{{"B", "a"}, {"b", "c"}, {"latest"}}; !cmp.Equal(pages, want) {
		t.Errorf("pages %v, expected %v", pages, want)
	}
	if got := tags(t, get(t, url+"/v2/lab/demo/tags/list?last=ab")); !cmp.Equal(got, []string{"b", "c", "latest"}) {
		t.Errorf("after a tag that is not there: %v", got)
	}
	if got := tags(t, get(t, url+"/v2/lab/demo/tags/list?n=0")); len(got) != 0 {
		t.Errorf("n=0: %v", got)
	}
	if a := get(t, url+"/v2/_catalog"); string(a.body) != `{"repositories":["lab/demo"]}` {
		t.Errorf("catalog: %s", a.body)
	}
}

func tags(t testing.TB, a answer) []string {
	t.Helper()
	var body struct{ Tags []string }
	if err := json.Unmarshal(a.body, &body); err != nil || a.status != http.StatusOK {
		t.Fatalf("tags: status %d, body %s: %v", a.status, a.body, err)
	}
	return body.Tags
}

// TestRepositoriesAreApart: what one repository refers to is not had through
// another, even if one directory has both.
func TestRepositoriesAreApart(t *testing.T) {
	one := newImage(t, demo.Options{Programs: map[string][]byte{"amd64": []byte("one")}})
	two := newImage(t, demo.Options{Programs: map[string][]byte{"arm64": []byte("two")}})
	url := start(t, serve.Options{}, "one="+one.dir, "two="+two.dir).URL
	program := two.manifest.Layers[1].Digest.String()
	if a := get(t, url+"/v2/two/blobs/"+program); a.status != http.StatusOK {
		t.Errorf("own blob: status %d", a.status)
	}
	if a := get(t, url+"/v2/one/blobs/"+program); a.status != http.StatusNotFound {
		t.Errorf("the other's blob: status %d", a.status)
	}
}

func TestIndexLeadsToItsPlatforms(t *testing.T) {
	i := newImage(t, demo.Options{Programs: map[string][]byte{"amd64": []byte("a"), "arm64": []byte("b")}})
	url := start(t, serve.Options{}, i.dir).URL
	a := get(t, url+"/v2/demo/manifests/latest")
	var index ocispec.Index
	if err := json.Unmarshal(a.body, &index); err != nil || len(index.Manifests) != 2 {
		t.Fatalf("index %s: %v", a.body, err)
	}
	if got := a.header.Get("Content-Type"); got != ocispec.MediaTypeImageIndex {
		t.Errorf("Content-Type %s", got)
	}
	for _, d := range index.Manifests {
		a := get(t, url+"/v2/demo/manifests/"+d.Digest.String())
		if digest.FromBytes(a.body) != d.Digest || a.header.Get("Content-Type") != d.MediaType {
			t.Errorf("manifest of %s: status %d, %v", d.Platform.Architecture, a.status, a.header)
		}
	}
}

// TestLinksStayInside: a layout whose blobs are symbolic links is served, but
// never what lies outside of it.
func TestLinksStayInside(t *testing.T) {
	i := newImage(t, demo.Options{})
	secret := filepath.Join(filepath.Dir(i.dir), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for n, target := range []string{"../../inside", "../../../secret", secret} {
		blob := i.path(i.manifest.Layers[n].Digest)
		if n == 0 {
			if err := os.Rename(blob, filepath.Join(i.dir, "inside")); err != nil {
				t.Fatal(err)
			}
		} else if err := os.Remove(blob); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, blob); err != nil {
			t.Fatal(err)
		}
	}
	url := start(t, serve.Options{}, i.dir).URL
	for n, status := range []int{http.StatusOK, http.StatusInternalServerError, http.StatusInternalServerError} {
		a := get(t, url+"/v2/demo/blobs/"+i.manifest.Layers[n].Digest.String())
		if a.status != status || bytes.Contains(a.body, []byte("secret")) {
			t.Errorf("link %d: status %d, body %.80q", n, a.status, a.body)
		}
	}
}

func TestArchives(t *testing.T) {
	i := newImage(t, demo.Options{Tag: "v1"})
	oci := filepath.Join(t.TempDir(), "Demo_Image.tar")
	writeTar(t, oci, os.DirFS(i.dir))
	for _, source := range []string{oci, "oci-archive:" + oci, "oci-archive:" + oci + ":v1", "demo-image=" + oci} {
		url := start(t, serve.Options{}, source).URL
		if a := get(t, url+"/v2/demo-image/manifests/v1"); digest.FromBytes(a.body) != i.root.Digest {
			t.Errorf("%s: status %d, %s", source, a.status, a.body)
		}
		for _, d := range i.manifest.Layers {
			a := get(t, url+"/v2/demo-image/blobs/"+d.Digest.String(), "Range", "bytes=1-")
			if want := i.blob(t, d.Digest)[1:]; !bytes.Equal(a.body, want) {
				t.Errorf("%s: blob %s: status %d, %d bytes", source, d.Digest, a.status, len(a.body))
			}
		}
	}
}

// TestCompressedArchives serves what docker save and skopeo wrote through a
// compressor, as pull reads it.
func TestCompressedArchives(t *testing.T) {
	testneed.Tool(t, "gzip", "zstd")
	i := newImage(t, demo.Options{Tag: "v1"})
	dir := t.TempDir()
	oci := filepath.Join(dir, "demo.tar")
	writeTar(t, oci, os.DirFS(i.dir))
	for program, suffix := range map[string]string{"gzip": ".gz", "zstd": ".zst"} {
		out, err := exec.CommandContext(t.Context(), program, "-k", oci).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", program, err, out)
		}
		for _, source := range []string{oci + suffix, "oci-archive:" + oci + suffix} {
			url := start(t, serve.Options{}, source).URL
			if a := get(t, url+"/v2/demo/manifests/v1"); digest.FromBytes(a.body) != i.root.Digest {
				t.Errorf("%s: status %d, %s", source, a.status, a.body)
			}
			for _, d := range i.manifest.Layers {
				a := get(t, url+"/v2/demo/blobs/"+d.Digest.String())
				if want := i.blob(t, d.Digest); !bytes.Equal(a.body, want) {
					t.Errorf("%s: blob %s: status %d, %d bytes", source, d.Digest, a.status, len(a.body))
				}
			}
		}
	}
}

func TestDockerArchive(t *testing.T) {
	layers := []string{"layer one, as it is", "\x1f\x8blayer two, compressed"}
	config := `{"rootfs":{"type":"layers"}}`
	name := filepath.Join(t.TempDir(), "saved.tar")
	f := tarFile{t: t}
	f.add("a/layer.tar", layers[0])
	f.add("b/layer.tar", layers[1])
	f.link("c/layer.tar", "../a/layer.tar")
	f.add("config.json", config)
	f.add("manifest.json", `[{"Config":"config.json","RepoTags":["docker.io/library/app:1","app:2"],`+
		`"Layers":["a/layer.tar","b/layer.tar","c/layer.tar"]}]`)
	f.write(name)
	url := start(t, serve.Options{}, name).URL
	a := get(t, url+"/v2/library/app/manifests/1")
	var m ocispec.Manifest
	if err := json.Unmarshal(a.body, &m); err != nil || a.header.Get("Docker-Content-Digest") != digest.FromBytes(a.body).String() {
		t.Fatalf("manifest: status %d, %s: %v", a.status, a.body, err)
	}
	want := []ocispec.Descriptor{
		{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString(layers[0]), Size: int64(len(layers[0]))},
		{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString(layers[1]), Size: int64(len(layers[1]))},
		{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString(layers[0]), Size: int64(len(layers[0]))},
	}
	if diff := cmp.Diff(want, m.Layers); diff != "" {
		t.Error(diff)
	}
	for n, d := range append(m.Layers[:2:2], m.Config) {
		want := append(layers[:2:2], config)[n]
		if a := get(t, url+"/v2/library/app/blobs/"+d.Digest.String()); string(a.body) != want {
			t.Errorf("blob %s: status %d, %q", d.Digest, a.status, a.body)
		}
	}
	if a := get(t, url+"/v2/app/manifests/2"); a.status != http.StatusOK {
		t.Errorf("second name: status %d", a.status)
	}
}

func TestNames(t *testing.T) {
	tests := []struct{ tag, source, want string }{
		{"v1", "%s", "demo:v1"},
		{"", "%s", "demo:latest"},
		{"docker.io/library/alpine:3.20", "%s", "library/alpine:3.20"},
		{"localhost:5000/a/b:c", "%s", "a/b:c"},
		{"quay.io/org/app", "%s", "org/app:latest"},
		{"v1", "mine=%s", "mine:v1"},
		{"v1", "mine/app:v2=%s", "mine/app:v2"},
		{"v1", "mine=oci:%s", "mine:v1"},
		{"v1", "oci:%s:v1", "demo:v1"},
		{"docker.io/x/y:z", "oci:%s:docker.io/x/y:z", "x/y:z"},
	}
	for _, tt := range tests {
		i := newImage(t, demo.Options{Tag: tt.tag})
		images := open(t, fmt.Sprintf(tt.source, i.dir)).Images()
		if len(images) != 1 || images[0].String() != tt.want || images[0].Digest != i.root.Digest {
			t.Errorf("%s of %q: %v, expected %s", tt.source, tt.tag, images, tt.want)
		}
	}
}

func TestSourcesThatCannotBeServed(t *testing.T) {
	i := newImage(t, demo.Options{Tag: "Not/A/Name:x"})
	other := newImage(t, demo.Options{Programs: map[string][]byte{"arm64": []byte("other")}})
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, bytes.Repeat([]byte("junk"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(t.TempDir(), "damaged.tar.gz")
	if err := os.WriteFile(damaged, []byte("\x1f\x8b\x08junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		sources []string
		want    string
	}{
		{[]string{"/nonexistent"}, "no such file"},
		{[]string{t.TempDir()}, "oci-layout"},
		{[]string{junk}, "read archive " + junk},
		{[]string{damaged}, "gzip"},
		{[]string{i.dir}, "NAME="},
		{[]string{"oci:" + i.dir + ":v9"}, `the name "v9"`},
		{[]string{"same:x=" + i.dir, "same:x=" + other.dir}, "two images"},
	}
	for _, tt := range tests {
		if _, err := openErr(t, tt.sources...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: error %v, expected %q in it", tt.sources, err, tt.want)
		}
	}
	for _, s := range []string{"", "name=", "oci:", "oci::tag"} {
		if source, err := serve.ParseSource(s); err == nil {
			t.Errorf("ParseSource(%q) = %+v", s, source)
		}
	}
}

func TestObserve(t *testing.T) {
	i := newImage(t, demo.Options{})
	seen := make(chan serve.Access, 1)
	url := start(t, serve.Options{Observe: func(a serve.Access) { seen <- a }}, i.dir).URL
	layer := i.manifest.Layers[0]
	path := "/v2/demo/blobs/" + layer.Digest.String()
	get(t, url+path+"?secret=1", "Range", "bytes=3-5")
	a := <-seen
	a.Duration = 0
	want := serve.Access{Method: "GET", Path: path, Range: "bytes=3-5", Status: 206, Bytes: 3}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Error(diff)
	}
}

// tarFile is a small archive in the making.
type tarFile struct {
	t   testing.TB
	buf bytes.Buffer
	w   *tar.Writer
}

func (f *tarFile) entry(h tar.Header, content string) {
	f.t.Helper()
	if f.w == nil {
		f.w = tar.NewWriter(&f.buf)
	}
	if err := f.w.WriteHeader(&h); err != nil {
		f.t.Fatal(err)
	}
	if _, err := io.WriteString(f.w, content); err != nil {
		f.t.Fatal(err)
	}
}

func (f *tarFile) add(name, content string) {
	f.entry(tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o644}, content)
}

func (f *tarFile) link(name, target string) {
	f.entry(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, "")
}

func (f *tarFile) write(name string) {
	f.t.Helper()
	if err := f.w.Close(); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(name, f.buf.Bytes(), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func writeTar(t testing.TB, name string, tree fs.FS) {
	t.Helper()
	f := tarFile{t: t}
	err := fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(tree, path)
		f.add(path, string(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	f.write(name)
}
