package overlay_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
)

// threeLayers are layers of which an ordinary user keeps everything but
// owners.
func threeLayers() []*fakeSource {
	return []*fakeSource{
		source(testtar.Tar(testtar.Dir("d"), testtar.File("d/a", "a"))),
		source(testtar.Tar(testtar.File("d/b", "b"))),
		source(testtar.Tar(testtar.File("d/c", "c"), testtar.Link("e", "d/b"))),
	}
}

// TestProve demands that layers of another boot are looked at before they are
// fetched again.
func TestProve(t *testing.T) {
	for name, tt := range map[string]struct {
		damage func(t *testing.T, layers []overlay.Layer)
		opened []int32 // how often each source is
	}{
		"whole":              {func(*testing.T, []overlay.Layer) {}, []int32{1, 1, 1}},
		"content lost":       {func(t *testing.T, l []overlay.Layer) { truncate(t, l[2].Dir, "d/c") }, []int32{1, 1, 2}},
		"content lost below": {func(t *testing.T, l []overlay.Layer) { truncate(t, l[1].Dir, "d/b") }, []int32{1, 2, 2}},
		"record lost":        {func(t *testing.T, l []overlay.Layer) { truncate(t, l[0].Dir, "../tar-record.s2") }, []int32{2, 2, 2}},
		"no record": {func(t *testing.T, l []overlay.Layer) {
			if err := os.Remove(filepath.Join(l[2].Dir, "../tar-record.s2")); err != nil {
				t.Fatal(err)
			}
		}, []int32{1, 1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, srcs := t.TempDir(), threeLayers()
			layers := addAll(t, open(t, dir), srcs...)
			for _, l := range layers {
				restart(t, dir, l)
			}
			tt.damage(t, layers)
			var proved int
			o := options()
			o.Observe = func(e overlay.Event) {
				if e.Kind == overlay.EventProved {
					proved++
				}
			}
			s := openWith(t, dir, o)
			if s.Has(layers[0].ChainID) {
				t.Error("a reader trusts the layer before it is proved")
			}
			again := addAll(t, s, srcs...)
			wantProved := 0
			for i, src := range srcs {
				if got := src.opened.Load(); got != tt.opened[i] {
					t.Errorf("layer %d was opened %d times, want %d", i+1, got, tt.opened[i])
				}
				if tt.opened[i] == 1 {
					wantProved++
					if !again[i].Synced {
						t.Errorf("layer %d is not marked as synced", i+1)
					}
				}
			}
			if proved != wantProved {
				t.Errorf("%d layers were proved, want %d", proved, wantProved)
			}
			if r := verify(t, s, putImage(t, s, "img", linuxAMD64, srcs...)); !r.OK() {
				t.Errorf("afterwards: %+v", *r)
			}
		})
	}
}

func truncate(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Truncate(filepath.Join(dir, name), 0); err != nil {
		t.Fatal(err)
	}
}

// TestVerifyUser verifies and repairs as whoever runs the test, what that user
// can keep.
func TestVerifyUser(t *testing.T) {
	dir, srcs := t.TempDir(), threeLayers()
	s := open(t, dir)
	layers := addAll(t, s, srcs...)
	img := putImage(t, s, "img", linuxAMD64, srcs...)
	if r := verify(t, s, img); !r.OK() || len(r.Differences) > 0 {
		t.Errorf("untouched: %+v", *r)
	}
	if err := flip("d/b")(layers[1].Dir); err != nil {
		t.Fatal(err)
	}
	r := verify(t, s, img)
	checkDamage(t, r, damage{layer: 2, want: []string{"/d/b: content: "}})
	repair(t, s, img, srcs)
	if r := verify(t, s, img); !r.OK() || len(r.Differences) > 0 {
		t.Errorf("repaired: %+v", *r)
	}
	if left := staging(t, dir); len(left) > 0 {
		t.Errorf("staging holds %q", left)
	}
}

// TestRepairInUse refuses to take a layer from under a mount, and replaces it
// once that is gone; the bundle then has the good one.
func TestRepairInUse(t *testing.T) {
	if !isolated(t) {
		return
	}
	root := tmpfs(t)
	s, err := overlay.Open(t.Context(), filepath.Join(root, "store"), overlay.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	srcs := threeLayers()
	layers := addAll(t, s, srcs...)
	img := putImage(t, s, "img", linuxAMD64, srcs...)
	bundle := filepath.Join(root, "bundle")
	if err := os.Mkdir(bundle, 0o755); err != nil {
		t.Fatal(err)
	}
	prepare(t, s, bundle, layers)
	m, err := overlay.BundleMount(bundle)
	if err != nil {
		t.Fatal(err)
	}
	if err := overlay.Mount(m); err != nil {
		t.Fatal(err)
	}
	if err := flip("d/c")(layers[2].Dir); err != nil {
		t.Fatal(err)
	}
	_, err = s.Repair(t.Context(), sources(srcs...), []int{3}, overlay.AddOptions{})
	if used := as[*overlay.InUseError](t, err); len(used.Users) != 1 || used.Users[0] != "the overlay mount on "+m.Target {
		t.Errorf("users are %q", used.Users)
	}
	if n := srcs[2].opened.Load(); n != 1 {
		t.Errorf("the layer was fetched %d times", n)
	}
	if err := unix.Unmount(m.Target, 0); err != nil {
		t.Fatal(err)
	}
	repair(t, s, img, srcs)
	if err := overlay.Mount(m); err != nil {
		t.Fatal(err)
	}
	if got := read(t, filepath.Join(m.Target, "d/c")); got != "c" {
		t.Errorf("the bundle has %q", got)
	}
	if err := unix.Unmount(m.Target, 0); err != nil {
		t.Error(err)
	}
}
