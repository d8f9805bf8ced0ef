package overlay_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/overlay"
)

const alpine = "docker.io/library/alpine:latest"

func TestImages(t *testing.T) {
	s := open(t, t.TempDir())
	old := putImage(t, s, alpine, linuxAMD64, whole("old"))
	img := putImage(t, s, alpine, linuxAMD64, whole("new"))
	arm := putImage(t, s, alpine, linuxARM64, whole("arm"))
	other := putImage(t, s, "localhost:5000/a/b:1", linuxAMD64, whole("other"))

	imgs, err := s.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ignore := cmpopts.IgnoreFields(overlay.Image{}, "Added")
	byDigest := cmpopts.SortSlices(func(a, b overlay.Image) bool { return a.Manifest.Digest < b.Manifest.Digest })
	if diff := cmp.Diff([]overlay.Image{img, arm, other}, imgs, ignore, byDigest); diff != "" {
		t.Errorf("Images (-want +got):\n%s", diff)
	}

	find := []struct {
		name string
		p    ocispec.Platform
		want digest.Digest
	}{
		{alpine, linuxAMD64, img.Manifest.Digest},
		{alpine, ocispec.Platform{OS: "linux", Architecture: "arm64"}, arm.Manifest.Digest},
		{"docker.io/library/alpine@" + arm.Manifest.Digest.String(), linuxARM64, arm.Manifest.Digest},
		{"docker.io/library/alpine:x@" + img.Manifest.Digest.String(), linuxAMD64, img.Manifest.Digest},
		{"localhost:5000/a/b:1", ocispec.Platform{}, other.Manifest.Digest},
		{"localhost:5000/a/b@" + other.Manifest.Digest.String(), ocispec.Platform{}, other.Manifest.Digest},
	}
	for _, tt := range find {
		got, err := s.Find(t.Context(), tt.name, tt.p)
		if err != nil || got.Manifest.Digest != tt.want {
			t.Errorf("Find %s: %s, %v; want %s", tt.name, got.Manifest.Digest, err, tt.want)
		}
	}
	_, err = s.Find(t.Context(), alpine, ocispec.Platform{OS: "linux", Architecture: "s390x"})
	e := as[*overlay.NotFoundError](t, err)
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, sorted(e.Available)); diff != "" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("platforms offered (-want +got):\n%s", diff)
	}
	for _, name := range []string{
		"alpine", "docker.io/library/alpine:3", "docker.io/library/alpine@" + old.Manifest.Digest.String(),
		"docker.io/library/alpin@" + img.Manifest.Digest.String(), "",
	} {
		if got, err := s.Find(t.Context(), name, ocispec.Platform{}); err == nil {
			t.Errorf("Find %s: %s", name, got.Name)
		}
	}
	if ids, err := s.DiffIDs(t.Context(), img); err != nil || len(ids) != 1 || ids[0] != whole("new").diffID {
		t.Errorf("DiffIDs: %v, %v", ids, err)
	}
}

// An image is not listed before its documents are there and whole.
func TestTagChecks(t *testing.T) {
	s := open(t, t.TempDir())
	absent := descriptor([]byte("{}"))
	noConfig, err := putJSON(t.Context(), s, ocispec.MediaTypeImageManifest, ocispec.Manifest{Config: absent})
	if err != nil {
		t.Fatal(err)
	}
	good := putImage(t, s, "good", linuxAMD64)
	withIndex := good
	withIndex.Name, withIndex.IndexDigest = "index", absent.Digest
	for _, img := range []overlay.Image{
		{Name: "no manifest", Manifest: absent},
		{Name: "no config", Manifest: noConfig},
		{Name: "no digest"},
		{Manifest: good.Manifest},
		withIndex,
	} {
		if err := s.Tag(t.Context(), img); err == nil {
			t.Errorf("image %q was listed", img.Name)
		}
	}
	imgs, err := s.Images(t.Context())
	if err != nil || len(imgs) != 1 {
		t.Errorf("Images: %v, %v; want only the good one", imgs, err)
	}
}

// Many at once lose no entry.
func TestTagConcurrently(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	const stores, each = 4, 5
	for i := range stores {
		s := open(t, dir)
		wg.Go(func() {
			for j := range each {
				if _, err := tryPutImage(t.Context(), s, fmt.Sprintf("i%d:%d", i, j), linuxAMD64); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	imgs, err := open(t, dir).Images(t.Context())
	if err != nil || len(imgs) != stores*each {
		t.Errorf("%d images, %v; want %d", len(imgs), err, stores*each)
	}
}

// Documents that are not what byhand wrote are named, not overwritten.
func TestCorruptStore(t *testing.T) {
	tests := []struct{ file, content, reason string }{
		{"index.json", "", "not JSON"},
		{"index.json", "[]", "not JSON"},
		{"index.json", `{"schemaVersion":1}`, "schemaVersion is 1"},
		{"index.json", `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}`, "mediaType"},
		{"index.json", `{"schemaVersion":2,"manifests":[{"digest":"sha256:../x"}]}`, "digest of entry 1"},
		{"oci-layout", "", "not JSON"},
		{"oci-layout", `{"imageLayoutVersion":"9"}`, `imageLayoutVersion is "9"`},
		{"store.json", "{", "JSON"},
		{"bundles/x.json", "{}", "not a record"},
		{"bundles/x.json", `{"dir":"/x","chains":["x"]}`, "not a record"},
	}
	for _, tt := range tests {
		t.Run(tt.file+" "+tt.content, func(t *testing.T) {
			dir := t.TempDir()
			if err := open(t, dir).Close(); err != nil {
				t.Fatal(err)
			}
			// Without any layer there is nothing that store.json could be wrong about.
			if err := os.Mkdir(filepath.Join(dir, "layers", "x"), 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, tt.file)
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			err := useStore(t, dir)
			e := as[*overlay.CorruptError](t, err)
			if e.Path != path || !strings.Contains(e.Reason, tt.reason) || e.Remedy == "" {
				t.Errorf("error is %+v", e)
			}
			if got := read(t, path); got != tt.content {
				t.Errorf("%s was changed to %q", tt.file, got)
			}
		})
	}
}

// useStore does one thing of each kind.
func useStore(t *testing.T, dir string) error {
	s, err := overlay.Open(t.Context(), dir, options())
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	if _, err := s.AddAll(t.Context(), sources(whole("f")), overlay.AddOptions{}); err != nil {
		return err
	}
	if _, err := tryPutImage(t.Context(), s, "name", linuxAMD64, whole("f")); err != nil {
		return err
	}
	_, err = s.Prune(t.Context())
	return err
}

// skopeo and umoci read the store as the OCI image layout that it is.
func TestPeersReadStore(t *testing.T) {
	testneed.Tool(t, "skopeo", "umoci")
	dir := t.TempDir()
	s := open(t, dir)
	src := whole("f")
	addAll(t, s, src)
	if err := s.PutBlob(t.Context(), descriptor(src.tar), strings.NewReader(string(src.tar))); err != nil {
		t.Fatal(err)
	}
	img := putImage(t, s, alpine, linuxAMD64, src)
	putImage(t, s, alpine, linuxARM64)
	amd := putImage(t, s, alpine, linuxAMD64, src) // the newest is what a name means to others
	putImage(t, s, "localhost:5000/a/b@"+img.Manifest.Digest.String(), linuxAMD64, src)

	for _, name := range []string{alpine, "localhost:5000/a/b@" + img.Manifest.Digest.String()} {
		var got struct {
			Digest       digest.Digest
			Architecture string
			Layers       []digest.Digest
		}
		out := run(t, "skopeo", "inspect", "oci:"+dir+":"+name)
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got.Digest != amd.Manifest.Digest || got.Architecture != "amd64" || len(got.Layers) != 1 || got.Layers[0] != src.diffID {
			t.Errorf("skopeo inspect %s: %+v", name, got)
		}
	}
	copied := t.TempDir()
	run(t, "skopeo", "copy", "oci:"+dir+":"+alpine, "oci:"+copied+":x")
	tags := strings.Fields(run(t, "umoci", "ls", "--layout", dir))
	if diff := cmp.Diff([]string{alpine, "localhost:5000/a/b@" + img.Manifest.Digest.String()}, sorted(tags)); diff != "" {
		t.Errorf("umoci ls (-want +got):\n%s", diff)
	}
	run(t, "umoci", "stat", "--image", dir+":"+alpine)
}

// An OCI image layout that another tool made becomes a store, and keeps its
// images.
func TestForeignLayout(t *testing.T) {
	testneed.Tool(t, "skopeo", "umoci")
	dir := filepath.Join(t.TempDir(), "layout")
	run(t, "umoci", "init", "--layout", dir)
	run(t, "umoci", "new", "--image", dir+":mine")
	s := open(t, dir)
	addAll(t, s, whole("f"))
	putImage(t, s, alpine, linuxAMD64, whole("f"))
	if _, err := s.Find(t.Context(), "mine", ocispec.Platform{}); err != nil {
		t.Error(err)
	}
	if _, err := s.Prune(t.Context()); err != nil {
		t.Error(err)
	}
	run(t, "skopeo", "inspect", "oci:"+dir+":mine")
	if tags := strings.Fields(run(t, "umoci", "ls", "--layout", dir)); len(tags) != 2 {
		t.Errorf("umoci ls: %q", tags)
	}
}

// What another tool calls an image of ours is a name of its own: it outlives
// ours.
func TestForeignTag(t *testing.T) {
	testneed.Tool(t, "umoci")
	s := open(t, t.TempDir())
	putImage(t, s, alpine, linuxAMD64, whole("f"))
	run(t, "umoci", "tag", "--image", s.Dir()+":"+alpine, "mine")
	names := func() (list []string) {
		t.Helper()
		imgs, err := s.Images(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, img := range imgs {
			list = append(list, img.Name)
		}
		return list
	}
	if diff := cmp.Diff([]string{alpine, "mine"}, names()); diff != "" {
		t.Errorf("Images (-want +got):\n%s", diff)
	}
	putImage(t, s, alpine, linuxAMD64, whole("newer"))
	if _, err := s.Remove(t.Context(), alpine); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"mine"}, names()); diff != "" {
		t.Errorf("Images after alpine was removed (-want +got):\n%s", diff)
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, stderr.String())
	}
	return string(out)
}

// Names that other tools take stay as they are, the others become such.
func TestRefName(t *testing.T) {
	for name, want := range map[string]string{
		alpine:                           alpine,
		"localhost:5000/a--b/c@sha256:0": "localhost:5000/a--b/c@sha256:0",
		"oci:/var/lib/x y/image:v1":      "oci/var/lib/x-y/image:v1",
		"docker-archive:/tmp/../a,b.tar": "docker-archive/tmp/a-b.tar",
	} {
		if got := overlay.RefName(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
