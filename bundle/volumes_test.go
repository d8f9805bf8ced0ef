package bundle_test

import (
	"errors"
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

// TestVolumeKinds: a file goes on a file and a directory on a directory, as the
// kernel has it; what another mount covers is no business of the image's.
func TestVolumeKinds(t *testing.T) {
	root, src := t.TempDir(), t.TempDir()
	for _, dir := range []string{filepath.Join(root, "dir/sub"), filepath.Join(root, "proc"), filepath.Join(src, "d/sub")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{filepath.Join(root, "file"), filepath.Join(src, "f")} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"tofile": "file", "todir": "/dir", "nowhere": "/no/such"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	const file, dir = "a regular file", "a directory"
	for _, test := range []struct {
		volumes      []string // "f" and "d" are the sources
		at, want, is string   // "" if it is well
	}{
		{volumes: []string{"f:/file"}},
		{volumes: []string{"d:/dir"}},
		{volumes: []string{"f:/tofile"}},
		{volumes: []string{"d:/todir"}},
		{volumes: []string{"f:/dir/new"}},
		{volumes: []string{"f:/new/er"}},
		{volumes: []string{"d:/new/er"}},
		{volumes: []string{"f:/nowhere"}},
		{volumes: []string{"d:/nowhere/x"}},
		{volumes: []string{"f:/dir"}, at: "/dir", want: "a file or nothing", is: dir},
		{volumes: []string{"f:/todir"}, at: "/dir", want: "a file or nothing", is: dir},
		{volumes: []string{"d:/file"}, at: "/file", want: "a directory or nothing", is: file},
		{volumes: []string{"d:/tofile"}, at: "/file", want: "a directory or nothing", is: file},
		{volumes: []string{"f:/file/x"}, at: "/file", want: "a directory", is: file},
		{volumes: []string{"d:/tofile/x/y"}, at: "/file", want: "a directory", is: file},
		{volumes: []string{"f:/dir/../file/x"}, at: "/file", want: "a directory", is: file},
		{volumes: []string{"d:/dir", "f:/dir/sub"}},
		{volumes: []string{"d:/todir", "f:/dir/sub"}},
		{volumes: []string{"f:/proc/cpuinfo/x"}}, // whatever that does
	} {
		t.Run(strings.Join(test.volumes, " "), func(t *testing.T) {
			o := withHost(bundle.Options{})
			for _, v := range test.volumes {
				o.Volumes = append(o.Volumes, filepath.Join(src, v))
			}
			_, err := bundle.Spec([]byte(`{"config":{"Cmd":["a"]}}`), openRoot(t, root), o)
			got, _ := errors.AsType[*bundle.MountError](err)
			if test.at == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if got == nil || got.At != test.at || got.Want != test.want || got.Got != test.is {
				t.Errorf("error %v, want one of %s, %s, %s", err, test.at, test.want, test.is)
			}
		})
	}
	if _, err := bundle.Spec([]byte(`{"config":{"Cmd":["a"]}}`), nil, withHost(bundle.Options{Volumes: []string{filepath.Join(src, "f") + ":/a/b"}})); err != nil {
		t.Errorf("no root: %v", err)
	}
}
