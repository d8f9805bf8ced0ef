package bundle_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/byhand/byhand/bundle"
)

// TestVolumesThroughLinks: a link of the image leads no volume to where the
// runtime has mounts of its own, whether something is there in the image or
// not: over /proc/sys, crun mounts whatever it is told to.
func TestVolumesThroughLinks(t *testing.T) {
	config := []byte(`{"config":{"Cmd":["a"],"Volumes":{"/p/self/attr":{},"/p/sys":{},"/up/sys":{},"/d/shm":{},"/two/x":{},"/p":{},
		"/file/x":{},"/p/../new/x":{},"/srv/data":{}}}}`)
	for _, have := range [][]string{nil, {"proc", "dev"}, {"proc/self/attr", "proc/sys", "dev/shm"}} {
		root := t.TempDir()
		for _, dir := range append(have, "srv") {
			if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for name, target := range map[string]string{"p": "/proc", "up": "srv/../../proc", "d": "dev", "two": "p/self/.."} {
			if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := bundle.Spec(config, openRoot(t, root), withHost(bundle.Options{}))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, v := range r.Volumes {
			got = append(got, v.Destination)
		}
		if diff := cmp.Diff([]string{"/file/x", "/new/x", "/srv/data"}, got); diff != "" {
			t.Errorf("with %q, volumes (-want +got):\n%s", have, diff)
		}
		if n := strings.Count(strings.Join(r.Warnings, "\n"), "the runtime mounts there"); n != 6 {
			t.Errorf("with %q, %d warnings: %q", have, n, r.Warnings)
		}
	}
}
