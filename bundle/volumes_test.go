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

// TestMountsBehindLinks: what counts for order, and for whose mount it is, is the
// place that the runtime finds behind the image's links.
func TestMountsBehindLinks(t *testing.T) {
	root, src := t.TempDir(), t.TempDir()
	for _, dir := range []string{"run", "var", "srv/deep/er"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"var/run": "/run", "short": "srv/deep/er"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name, image string
		user, want  []string // want are the mounts in their order
	}{
		{"parent by a longer name", `"/var/run":{},"/run/x":{}`, nil, []string{"/var/run", "/run/x"}},
		{"child by a shorter name", `"/short":{},"/srv/deep":{},"/srv":{}`, nil, []string{"/srv", "/srv/deep", "/short"}},
		{"child is not there", `"/var/run":{},"/run/no/such":{},"/var/run/no":{}`, nil, []string{"/var/run", "/var/run/no", "/run/no/such"}},
		{"one place by two names", `"/var/run":{},"/run":{}`, nil, []string{"/run"}},
		{"the caller's place by another name", `"/var/run":{}`, []string{"/run"}, []string{"/run"}},
		{"the caller's other name for the place", `"/srv/deep/er":{}`, []string{"/short"}, []string{"/short"}},
		{"the caller's below", `"/var/run":{}`, []string{"/run/x"}, []string{"/var/run", "/run/x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := withHost(bundle.Options{})
			for _, dst := range test.user {
				o.Volumes = append(o.Volumes, src+":"+dst)
			}
			r, err := bundle.Spec([]byte(`{"config":{"Cmd":["a"],"Volumes":{`+test.image+`}}}`), openRoot(t, root), o)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range r.Spec.Mounts {
				if m.Type == "bind" {
					got = append(got, m.Destination)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("mounts (-want +got):\n%s", diff)
			}
		})
	}
}
