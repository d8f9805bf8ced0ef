package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/treecmp"
)

// TestStoreIsALayout: other programs read byhand's store, and byhand serves it.
func TestStoreIsALayout(t *testing.T) {
	testneed.Tool(t, "skopeo")
	l := newLab(t)
	image := l.serve("lab/demo:v1=oci:"+shared.image) + "/lab/demo:v1"
	want := strings.TrimSpace(l.must(l.byhand("pull", image)))

	var seen struct {
		Digest string
		Layers []string
	}
	out := l.must(l.run("skopeo", "inspect", "oci:"+l.path("store")+":"+image))
	if err := json.Unmarshal([]byte(out), &seen); err != nil || seen.Digest != want || len(seen.Layers) != 5 {
		t.Errorf("skopeo sees %+v, expected digest %s and 5 layers: %v", seen, want, err)
	}
	l.must(l.run("skopeo", "copy", "--insecure-policy", "--quiet", "oci:"+l.path("store")+":"+image, "oci:"+l.path("copy")+":v1"))

	again := newLab(t)
	second := again.serve("--token-auth", "copy="+l.path("store")) + "/copy:v1"
	if got := strings.TrimSpace(again.must(again.byhand("pull", second))); got != want {
		t.Errorf("pulled %s from the served store, expected %s", got, want)
	}
}

// TestEveryNameIsReadable: whatever names the store lists, other programs find
// the image under them, and unpack the same tree.
func TestEveryNameIsReadable(t *testing.T) {
	testneed.Root(t) // umoci gives files to their owners
	testneed.Tool(t, "skopeo", "umoci")
	l := newLab(t)
	served := l.serve("lab/demo:v1=oci:"+shared.image, "lab/demo:again=oci:"+shared.image, "lab/other:v1=oci:"+shared.image)
	image := served + "/lab/demo:v1"
	digest := strings.TrimSpace(l.must(l.byhand("pull", image)))
	for _, name := range []string{served + "/lab/demo:again", served + "/lab/other:v1", served + "/lab/demo@" + digest, "oci:" + shared.image + ":v1"} {
		l.must(l.byhand("pull", name))
	}
	var rows []struct{ Name, Digest string }
	if err := json.Unmarshal([]byte(l.must(l.byhand("--json", "images"))), &rows); err != nil || len(rows) != 5 {
		t.Fatalf("%d images listed, want 5: %v", len(rows), err)
	}
	for _, row := range rows {
		var seen struct{ Digest string }
		name := row.Name
		if path, ok := strings.CutPrefix(name, "oci:/"); ok {
			name = "oci/" + path // no tool takes it as it is
		}
		out := l.must(l.run("skopeo", "inspect", "oci:"+l.path("store")+":"+name))
		if err := json.Unmarshal([]byte(out), &seen); err != nil || seen.Digest != row.Digest {
			t.Errorf("skopeo sees %s as %s, expected %s: %v", row.Name, seen.Digest, row.Digest, err)
		}
	}
	l.must(l.run("umoci", "unpack", "--image", l.path("store")+":"+image, l.path("umoci")))
	l.must(l.byhand("unpack", image, l.path("tree")))
	diffs, err := treecmp.Compare(l.path("tree"), l.path("umoci/rootfs"), treecmp.Options{NoDirTime: true, NoRoot: true})
	if err != nil || len(diffs) > 0 {
		t.Errorf("umoci's tree differs: %v, %v", diffs, err)
	}
}

// TestSources gives the same image in each form that it can have, and expects
// the same tree.
func TestSources(t *testing.T) {
	testneed.Tool(t, "skopeo", "tar")
	l := newLab(t)
	archive, saved := l.path("oci.tar"), l.path("saved.tar")
	entries, err := os.ReadDir(shared.image)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--create", "--file", archive, "--directory", shared.image}
	for _, e := range entries {
		args = append(args, e.Name())
	}
	l.must(l.run("tar", args...))
	l.must(l.run("skopeo", "copy", "--insecure-policy", "--quiet", "oci:"+shared.image+":v1", "docker-archive:"+saved+":lab/demo:v1"))
	served := l.serve("saved:v1=docker-archive:"+saved, "archived=oci-archive:"+archive)

	var sums []string
	for _, image := range []string{
		"oci:" + shared.image + ":v1", "oci-archive:" + archive + ":v1", "docker-archive:" + saved,
		served + "/saved:v1", served + "/archived:v1",
	} {
		out := filepath.Join(l.dir, "tree.tar")
		sums = append(sums, strings.TrimSpace(l.must(l.byhand("export", image, "-o", out))))
	}
	if len(slices.Compact(slices.Clone(sums))) != 1 || !strings.HasPrefix(sums[0], "sha256:") {
		t.Errorf("digests of the trees differ: %q", sums)
	}
}
