package bundle_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/byhand/byhand/bundle"
)

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}

func TestWrite(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "made", "for it")
	r := spec(t, `{"config":{"Cmd":["/bin/sh","-c","a <b && c"]}}`, bundle.Options{})
	if err := bundle.Write(dir, r, bundle.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "config.json")
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	data, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(data), `"a <b && c"`) || !strings.HasSuffix(string(data), "}\n") {
		t.Errorf("%v\n%s", err, data)
	}
	if encoded, err := r.Encode(); err != nil || string(encoded) != string(data) {
		t.Errorf("encoded as %s: %v", encoded, err)
	}
	var back specs.Spec
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*r.Spec, back); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(path, []byte("edited"), 0o600); err != nil {
		t.Fatal(err)
	}
	var ee *bundle.ExistsError
	if err := bundle.Write(dir, r, bundle.WriteOptions{}); !errors.As(err, &ee) || !ee.Bundle {
		t.Errorf("over an edited one: %v", err)
	}
	if data, _ := os.ReadFile(path); string(data) != "edited" {
		t.Errorf("the edited one is now %s", data)
	}
	if err := bundle.Write(dir, r, bundle.WriteOptions{Replace: true}); err != nil {
		t.Errorf("replacing: %v", err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	hidden, _ := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(names) != 1 || len(hidden) > 0 {
		t.Errorf("left in the bundle: %q %q", names, hidden)
	}
}

// TestWriteRace lets one of several win.
func TestWriteRace(t *testing.T) {
	dir := t.TempDir()
	r := spec(t, `{"config":{"Cmd":["a"]}}`, bundle.Options{})
	errs := make([]error, 16)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = bundle.Write(dir, r, bundle.WriteOptions{}) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		var ee *bundle.ExistsError
		switch {
		case err == nil:
			won++
		case !errors.As(err, &ee):
			t.Errorf("unexpected: %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d of them wrote it", won)
	}
}

func TestInspect(t *testing.T) {
	d := digest.FromString("x").String()
	ours := `{"manifest":"` + d + `","config":"` + d + `"}`
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  bundle.State
	}{
		{"empty", nil, bundle.StateFree},
		{"interrupted", map[string]string{"image.json": ours, "rootfs/x": "", "volumes/0/x": "", ".config.json.1": "", ".byhand-00/x": ""}, bundle.StateInterrupted},
		{"interrupted at its beginning", map[string]string{".image.json.1": "{"}, bundle.StateInterrupted},
		{"emptied by a power loss", map[string]string{"image.json": "", "config.json": "", "rootfs/x": ""}, bundle.StateInterrupted},
		{"config.json emptied", map[string]string{"image.json": ours, "config.json": ""}, bundle.StateInterrupted},
		{"an empty config.json of another tool", map[string]string{"config.json": ""}, bundle.StateForeign},
		{"interrupted, then used for something", map[string]string{"image.json": ours, "rootfs/x": "", "holiday.jpg": ""}, bundle.StateForeign},
		{"an image.json of something else", map[string]string{"image.json": `{"width":3}`}, bundle.StateForeign},
		{"a rootfs of something else", map[string]string{"rootfs/x": "", ".image.json.1": ""}, bundle.StateForeign},
		{"complete", map[string]string{"image.json": "{}", "config.json": "{}"}, bundle.StateComplete},
		{"of another tool", map[string]string{"config.json": "{}"}, bundle.StateComplete},
		{"foreign", map[string]string{"holiday.jpg": ""}, bundle.StateForeign},
		{"foreign hidden", map[string]string{".git/x": ""}, bundle.StateForeign},
	} {
		dir := filepath.Join(t.TempDir(), "d")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		makeTree(t, dir, tc.files)
		got, err := bundle.Inspect(dir)
		var ee *bundle.ExistsError
		wantErr := tc.want == bundle.StateComplete || tc.want == bundle.StateForeign
		if got != tc.want || errors.As(err, &ee) != wantErr {
			t.Errorf("%s: expected %d, found %d: %v", tc.name, tc.want, got, err)
		}
	}
	if got, err := bundle.Inspect(filepath.Join(t.TempDir(), "no")); got != bundle.StateFree || err != nil {
		t.Errorf("missing: %d %v", got, err)
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Inspect(file); err == nil {
		t.Error("a file is taken for a bundle")
	}
}

func TestImage(t *testing.T) {
	dir := t.TempDir()
	d := digest.FromString("x")
	want := bundle.Image{
		Reference: "docker.io/library/alpine:latest", Platform: "linux/amd64", Manifest: d, Config: d,
		Layers: []digest.Digest{d}, DiffIDs: []digest.Digest{d}, ChainIDs: []digest.Digest{d}, RootFS: bundle.RootFSOverlay,
	}
	if _, err := bundle.ReadImage(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	if err := bundle.WriteImage(dir, want); err != nil {
		t.Fatal(err)
	}
	got, err := bundle.ReadImage(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(filepath.Join(dir, "image.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.ReadImage(dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a damaged file: %v", err)
	}
}

// TestRoot reads a directory full of traps.
func TestRoot(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, map[string]string{
		"host/passwd": "root:x:0:0:::\nevil:x:0:0::/evil:\n", "host/group": "",
		"store/passwd": "good:x:5:6::/good:\n", "root/nix/passwd": "good:x:5:6::/good:\n",
		"root/etc/passwd": "->/nix/passwd", "root/etc/group": "->../../../.." + dir + "/host/group",
	})
	r, err := bundle.Spec([]byte(`{"config":{"User":"good","Cmd":["a"]}}`), openRoot(t, filepath.Join(dir, "root")), withHost(bundle.Options{}))
	if err != nil || r.Spec.Process.User.UID != 5 || r.Spec.Process.User.GID != 6 {
		t.Errorf("absolute link inside the root: %v", err)
	}
	for _, to := range []string{dir + "/host/passwd", "../../host/passwd", "/proc/self/root" + dir + "/host/passwd"} {
		makeTree(t, t.TempDir(), nil)
		link := filepath.Join(dir, "root/etc/passwd")
		if err := errors.Join(os.Remove(link), os.Symlink(to, link)); err != nil {
			t.Fatal(err)
		}
		for name, root := range map[string]fs.FS{"Root": openRoot(t, filepath.Join(dir, "root")), "DirFS": os.DirFS(filepath.Join(dir, "root"))} {
			_, err := bundle.Spec([]byte(`{"config":{"User":"evil","Cmd":["a"]}}`), root, withHost(bundle.Options{}))
			var ue *bundle.UserError
			if !errors.As(err, &ue) {
				t.Errorf("%s: link to %s: expected a UserError, found %v", name, to, err)
			}
		}
	}
}

// TestRootFIFO would hang if it failed.
func TestRootFIFO(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, map[string]string{"etc/": ""})
	if err := syscall.Mkfifo(filepath.Join(dir, "etc/passwd"), 0o644); err != nil {
		t.Fatal(err)
	}
	root := openRoot(t, dir)
	done := make(chan error, 1)
	go func() {
		_, err := bundle.Spec([]byte(`{"config":{"Cmd":["a"]}}`), root, withHost(bundle.Options{}))
		if f, oerr := root.Open("etc/passwd"); oerr == nil {
			_ = f.Close()
		}
		done <- err
	}()
	select {
	case err := <-done:
		var re *bundle.RootError
		if !errors.As(err, &re) || re.Got != "a FIFO" {
			t.Errorf("expected a RootError, found %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("waits for a writer")
	}
}

func TestDetectHost(t *testing.T) {
	h := bundle.DetectHost()
	if len(h.Known) < 38 || !slices.Contains(h.Known, "CAP_SYS_ADMIN") || h.UID != os.Geteuid() || len(h.UIDMappings) == 0 {
		t.Errorf("%+v", h)
	}
	for _, c := range h.Bounding {
		if !slices.Contains(h.Known, c) {
			t.Errorf("%s is bound but not known", c)
		}
	}
	for _, d := range h.Devices {
		if d.Path == "/dev/null" || strings.HasPrefix(d.Path, "/dev/pts/") {
			t.Errorf("%s belongs to each container itself", d.Path)
		}
	}
}
