package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/treecmp"
)

// TestInContainer is root as in an ordinary container: it may give files to
// anybody, but neither mount nor make a user namespace. It gets the same tree, as
// plain files, and no complaint.
func TestInContainer(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "runc")
	l := newLab(t)
	image := "oci:" + shared.image + ":v1"
	l.must(l.byhand("unpack", image, l.path("tree")))
	volume := l.path("volume")
	if err := os.Mkdir(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	inside := func(args ...string) result {
		return l.byhand(append([]string{
			"run", "--user", "0:0", "--entrypoint", "/byhand", "-v", shared.byhand + ":/byhand:ro",
			"-v", shared.image + ":/image:ro", "-v", volume + ":/volume", image, "--", "--progress", "none", "--store", "/volume/store",
		}, args...)...)
	}
	r := inside("pull-and-unpack", "oci:/image:v1", "/volume/bundle")
	if out := l.must(r); out != "/volume/bundle\n" || r.stderr != "" {
		t.Errorf("output %q, %q, expected the bundle and no more", out, r.stderr)
	}
	diffs, err := treecmp.Compare(l.path("tree"), filepath.Join(volume, "bundle/rootfs"), treecmp.Options{})
	if err != nil || len(diffs) > 0 {
		t.Errorf("another tree: %v, %v", diffs, err)
	}
	l.must(inside("verify", "oci:/image:v1"))
	if r := inside("run", "--runtime", "/image/index.json", "oci:/image:v1"); r.code != 125 {
		t.Errorf("exit %d, expected 125 without a runtime: %s", r.code, r.stderr)
	}
}

// TestOnOverlay has its bundle, and then its store too, on an overlay, as all of
// a container is but its volumes: no upper dir and no whiteout can be there.
func TestOnOverlay(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "runc")
	l := newLab(t)
	for _, dir := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(l.path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", l.path("lower"), l.path("upper"), l.path("work"))
	if err := unix.Mount("overlay", l.path("merged"), "overlay", 0, data); err != nil {
		t.Fatal(err)
	}
	image, bundle := "oci:"+shared.image+":v1", l.path("merged/bundle")
	r := l.byhand("pull-and-unpack", image, bundle)
	l.must(r)
	if !strings.Contains(r.stderr, "merged/bundle/rootfs is plain files: ") {
		t.Errorf("said %q", r.stderr)
	}
	checkLook(t, l.runtime("runc", bundle))
	checkLook(t, l.byhand("run", bundle))
	if r := l.byhand("pull-and-unpack", "--rootfs", "overlay", image, l.path("merged/other")); r.code != 1 || !strings.Contains(r.stderr, "--rootfs flat") {
		t.Errorf("an overlay that was asked for: exit %d: %s", r.code, r.stderr)
	}
	if r := l.byhand("--store", l.path("merged/store"), "run", image); r.code != 125 || !strings.Contains(r.stderr, "name one on a volume") {
		t.Errorf("a store on an overlay: exit %d: %s", r.code, r.stderr)
	}
}
