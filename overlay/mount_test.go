package overlay_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
)

// oddNames are directories that a store or a bundle may be in.
var oddNames = []string{
	"plain", "with space", "comma,comma", "colon:colon", `back\slash`, `end\`, "new\nline", "newline\n", `"quotes" and 'quotes'`,
	"$HOME `id` %d*?", "-dash", ",ro,", "\\,:\\:,", "bytes\xff\xfe", "#hash;semi&amp|pipe>", "tab\tand\rreturn",
	strings.Repeat("long/", 60) + "end",
}

var mounters = map[string]func(overlay.MountOptions) error{
	"auto": overlay.Mount, "fsconfig": overlay.MountNew, "mount": overlay.MountClassic,
}

// bundle makes a bundle directory over the given layers.
func bundle(t *testing.T, dir string, dirs []string) overlay.MountOptions {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	layers := make([]overlay.Layer, 0, len(dirs))
	for _, d := range dirs {
		layers = append(layers, overlay.Layer{Dir: d})
	}
	if err := overlay.Prepare(dir, layers); err != nil {
		t.Fatal(err)
	}
	o, err := overlay.BundleMount(dir)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func mustRead(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestMountOddPaths(t *testing.T) {
	if !isolated(t) {
		return
	}
	for how, mount := range mounters {
		for _, odd := range oddNames {
			t.Run(fmt.Sprintf("%s %.20q", how, odd), func(t *testing.T) {
				root := tmpfs(t)
				store := filepath.Join(root, odd, "store")
				if err := os.MkdirAll(store, 0o755); err != nil {
					t.Fatal(err)
				}
				dirs := stack(t, store,
					[]testtar.Entry{testtar.File("a", "1"), testtar.File("gone", "1")},
					[]testtar.Entry{testtar.File("b", "2"), testtar.Whiteout("gone")})
				o := bundle(t, filepath.Join(root, odd, "bundle"), dirs)
				if err := mount(o); err != nil {
					t.Fatal(err)
				}
				checkMounted(t, o)
			})
		}
	}
}

func checkMounted(t *testing.T, o overlay.MountOptions) {
	t.Helper()
	if got := mustRead(t, filepath.Join(o.Target, "a")) + mustRead(t, filepath.Join(o.Target, "b")); got != "12" {
		t.Errorf("read %q, expected 12", got)
	}
	if _, err := os.Lstat(filepath.Join(o.Target, "gone")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("whiteout does not hide: %v", err)
	}
	err := os.WriteFile(filepath.Join(o.Target, "new"), []byte("3"), 0o644)
	if o.ReadOnly {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("write to a read-only mount: %v", err)
		}
	} else if err != nil || mustRead(t, filepath.Join(o.Upper, "new")) != "3" {
		t.Errorf("write: %v", err)
	}
	for range 2 {
		if err := overlay.Unmount(o.Target); err != nil {
			t.Errorf("unmount: %v", err)
		}
	}
	if names, err := os.ReadDir(o.Target); err != nil || len(names) > 0 {
		t.Errorf("after unmounting: %v %v", names, err)
	}
}

// TestMountCommand runs the line in a shell and expects what Mount gives.
func TestMountCommand(t *testing.T) {
	if !isolated(t) {
		return
	}
	for _, odd := range oddNames {
		for _, readOnly := range []bool{false, true} {
			t.Run(fmt.Sprintf("%.20q %v", odd, readOnly), func(t *testing.T) {
				root := tmpfs(t)
				store := filepath.Join(root, odd, "store")
				if err := os.MkdirAll(store, 0o755); err != nil {
					t.Fatal(err)
				}
				dirs := stack(t, store,
					[]testtar.Entry{testtar.File("a", "1"), testtar.File("gone", "1")},
					[]testtar.Entry{testtar.File("b", "2"), testtar.Whiteout("gone")})
				o := bundle(t, filepath.Join(root, odd, "bundle"), dirs)
				o.ReadOnly = readOnly
				line := overlay.MountCommand(o)
				if strings.ContainsAny(line, "\n\r") {
					t.Errorf("more than one line: %q", line)
				}
				out, err := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput()
				if err != nil {
					t.Fatalf("%s\n%v: %s", line, err, out)
				}
				checkMounted(t, o)
			})
		}
	}
}

// TestMountCommandElsewhere has layers, upper dir and target in places that
// share no directory, as no bundle does.
func TestMountCommandElsewhere(t *testing.T) {
	if !isolated(t) {
		return
	}
	for _, odd := range []string{"plain", "a:b", `back\slash`, "new\nline", "it's"} {
		t.Run(odd, func(t *testing.T) {
			root := tmpfs(t)
			var o overlay.MountOptions
			for _, p := range []*string{&o.Upper, &o.Work, &o.Target} {
				*p = filepath.Join(root, "x", fmt.Sprintf("%s%p", odd, p))
				if err := os.MkdirAll(*p, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for i, name := range []string{"one", "two"} {
				dir := filepath.Join(root, "y", name, odd)
				if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
					t.Fatal(err)
				}
				dirs := stack(t, filepath.Dir(dir), []testtar.Entry{testtar.File(string("ab"[i]), string("12"[i]))})
				if err := os.Rename(dirs[0], dir); err != nil {
					t.Fatal(err)
				}
				o.Lower = append(o.Lower, dir)
			}
			line := overlay.MountCommand(o)
			if out, err := exec.CommandContext(t.Context(), "sh", "-c", line).CombinedOutput(); err != nil {
				t.Fatalf("%s\n%v: %s", line, err, out)
			}
			checkMounted(t, o)
		})
	}
}

func TestMountManyLayers(t *testing.T) {
	if !isolated(t) {
		return
	}
	root := tmpfs(t)
	store := filepath.Join(root, "a store with a rather long name, as deep down as stores can be", "layers")
	if err := os.MkdirAll(store, 0o755); err != nil {
		t.Fatal(err)
	}
	var layers [][]testtar.Entry
	for i := range 500 {
		layers = append(layers, []testtar.Entry{testtar.File(fmt.Sprintf("d/file%03d", i), "x"), testtar.File("top", fmt.Sprint(i))})
	}
	dirs := stack(t, store, layers...)
	o := bundle(t, filepath.Join(root, "bundle"), dirs)
	how := map[string]func() error{
		"fsconfig": func() error { return overlay.MountNew(o) },
		"mount":    func() error { return overlay.MountClassic(o) },
		"shell": func() error {
			out, err := exec.CommandContext(t.Context(), "sh", "-c", overlay.MountCommand(o)).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		},
	}
	for name, mount := range how {
		t.Run(name, func(t *testing.T) {
			if err := mount(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = overlay.Unmount(o.Target) }()
			names, err := os.ReadDir(filepath.Join(o.Target, "d"))
			if err != nil || len(names) != 500 || mustRead(t, filepath.Join(o.Target, "top")) != "499" {
				t.Errorf("%d names, %v", len(names), err)
			}
		})
	}
	t.Run("one more", func(t *testing.T) {
		o := o
		o.Lower = append([]string{dirs[0]}, o.Lower...)
		var merr *overlay.MountError
		if err := overlay.Mount(o); !errors.As(err, &merr) || !strings.Contains(err.Error(), "500") {
			t.Errorf("expected an error that names the limit, found %v", err)
		}
	})
}

func TestMountReadOnly(t *testing.T) {
	if !isolated(t) {
		return
	}
	for how, mount := range mounters {
		t.Run(how, func(t *testing.T) {
			root := tmpfs(t)
			dirs := stack(t, root, []testtar.Entry{testtar.Dir(".", testtar.Mode(0o711)), testtar.File("a", "1"), testtar.File("b", "2")})
			o := bundle(t, filepath.Join(root, "bundle"), dirs)
			o.ReadOnly = true
			if err := mount(o); err != nil { // a single layer, which overlayfs alone refuses
				t.Fatal(err)
			}
			if info, err := os.Stat(o.Target); err != nil || info.Mode().Perm() != 0o711 {
				t.Errorf("root: %v %v", info.Mode(), err)
			}
			checkMounted(t, o)
			if err := os.WriteFile(filepath.Join(o.Target, "x"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := mount(o); !errors.Is(err, unix.ENOTEMPTY) {
				t.Errorf("over a file: %v", err)
			}
		})
	}
}

func TestMountErrors(t *testing.T) {
	if !isolated(t) {
		return
	}
	root := tmpfs(t)
	dirs := stack(t, root, []testtar.Entry{testtar.File("a", "1")}, []testtar.Entry{testtar.File("b", "2")})
	o := bundle(t, filepath.Join(root, "bundle"), dirs)
	if err := os.Rename(dirs[1], dirs[1]+".away"); err != nil {
		t.Fatal(err)
	}
	var missing *overlay.LowerDirError
	if err := overlay.Mount(o); !errors.As(err, &missing) || missing.Layer != 2 || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("vanished layer: %v", err)
	}
	if _, err := overlay.OpenView(dirs); !errors.As(err, &missing) || missing.Layer != 2 {
		t.Errorf("view of a vanished layer: %v", err)
	}
	if err := os.Rename(dirs[1]+".away", dirs[1]); err != nil {
		t.Fatal(err)
	}
	bad := o
	bad.Work = filepath.Join(root, "nowhere")
	var merr *overlay.MountError
	if err := overlay.Mount(bad); !errors.As(err, &merr) || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("missing work dir: %v", err)
	}
	other := tmpfs(t)
	bad.Work = other // not the file system of the upper dir
	if err := overlay.Mount(bad); !errors.As(err, &merr) || !errors.Is(err, unix.EINVAL) || merr.Detail == "" {
		t.Errorf("work dir elsewhere: expected what the kernel says about it, found %v", err)
	}
	if err := overlay.Mount(overlay.MountOptions{Target: root}); !errors.As(err, &merr) {
		t.Errorf("no layer: %v", err)
	}
	if err := overlay.Unmount(filepath.Join(root, "nowhere")); err != nil {
		t.Errorf("unmount nothing: %v", err)
	}
	if err := overlay.Mount(o); err != nil {
		t.Fatal(err)
	}
	busy, err := os.Open(filepath.Join(o.Target, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := overlay.Unmount(o.Target); !errors.Is(err, unix.EBUSY) {
		t.Errorf("unmount in use: %v", err)
	}
	_ = busy.Close()
	if err := overlay.Unmount(o.Target); err != nil {
		t.Error(err)
	}
}

// TestObstacle asks before anything is made; what an overlay itself is an
// obstacle to, TestOnOverlay of e2e shows.
func TestObstacle(t *testing.T) {
	dir := t.TempDir()
	for layers, want := range map[int]string{0: "no layer", 1: "", 500: "", 501: "at most 500 layers, the image has 501"} {
		if got, err := overlay.Obstacle(dir, layers); err != nil || (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%d layers: got %q, %v; want %q", layers, got, err, want)
		}
	}
	if _, err := overlay.Obstacle(filepath.Join(dir, "nowhere"), 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: got %v", err)
	}
}

// TestMountRootless unpacks and mounts as an ordinary user in a user
// namespace, with user.overlay markers.
func TestMountRootless(t *testing.T) {
	if !isolatedUser(t) {
		return
	}
	for how, mount := range mounters {
		t.Run(how, func(t *testing.T) {
			root := tmpfs(t)
			var dirs []string
			for i, entries := range [][]testtar.Entry{
				{testtar.File("a", "1"), testtar.File("gone", "1"), testtar.File("d/old", "1"), testtar.File("owned", "", testtar.Owner(1000, 1000))},
				{testtar.File("b", "2"), testtar.Whiteout("gone"), testtar.Opaque("d"), testtar.File("d/new", "2")},
			} {
				dir := filepath.Join(root, fmt.Sprint("layer", i))
				if err := layerDir(t, dir, dirs, true, testtar.Tar(entries...)); err != nil {
					t.Fatal(err)
				}
				dirs = append(dirs, dir)
			}
			o := bundle(t, filepath.Join(root, "bundle"), dirs)
			o.UserXattr = true
			if err := mount(o); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(filepath.Join(o.Target, "d/old")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("opaque directory does not hide: %v", err)
			}
			checkMounted(t, o)
			out, err := exec.CommandContext(t.Context(), "sh", "-c", overlay.MountCommand(o)).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if _, err := os.Lstat(filepath.Join(o.Target, "d/old")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("opaque directory does not hide: %v", err)
			}
		})
	}
}

func TestBundleMount(t *testing.T) {
	root := t.TempDir()
	own := testtar.Owner(os.Geteuid(), os.Getegid())
	dirs := stack(t, root, []testtar.Entry{testtar.File("a", "1", own)}, []testtar.Entry{testtar.Dir(".", testtar.Mode(0o2710), own), testtar.File("b", "2", own)})
	dir := filepath.Join(root, "bundle")
	o := bundle(t, dir, dirs)
	if len(o.Lower) != 2 || o.Lower[0] != filepath.Join(dir, "lower/1") || o.Target != filepath.Join(dir, "rootfs") {
		t.Errorf("read back %+v", o)
	}
	if got, err := os.Readlink(o.Lower[1]); err != nil || got != dirs[1] {
		t.Errorf("lower/2 -> %s, %v", got, err)
	}
	info, err := os.Stat(o.Upper)
	if err != nil || info.Mode() != fs.ModeDir|fs.ModeSetgid|0o710 || info.ModTime().Unix() != 1_600_000_000 {
		t.Errorf("upper dir: %v %v, %v; expected the image's root", info.Mode(), info.ModTime(), err)
	}
	bundle(t, dir, dirs) // again is no error
	if err := overlay.Prepare(dir, []overlay.Layer{{Dir: dirs[1]}}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over another image's: %v", err)
	}
	if err := overlay.Prepare(dir, []overlay.Layer{{Dir: dirs[0]}}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a longer one: %v", err)
	}
	var berr *overlay.BundleError
	if _, err := overlay.BundleMount(root); !errors.As(err, &berr) {
		t.Errorf("no bundle: %v", err)
	}
	if err := os.Remove(o.Lower[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := overlay.BundleMount(dir); !errors.As(err, &berr) {
		t.Errorf("a layer missing: %v", err)
	}
}

// A second mount of the same changes nothing, and another is refused.
func TestMountTwice(t *testing.T) {
	if !isolated(t) {
		return
	}
	root := tmpfs(t)
	dirs := stack(t, root, []testtar.Entry{testtar.File("a", "1")}, []testtar.Entry{testtar.File("b", "2")})
	o := bundle(t, filepath.Join(root, "a,b: c\\d", "bundle"), dirs)
	readOnly := o
	readOnly.ReadOnly = true
	for _, tc := range []struct {
		first, second overlay.MountOptions
		said          string
	}{
		{o, o, ""}, {readOnly, readOnly, ""}, {o, readOnly, "for writing already"}, {readOnly, o, "read-only already"},
	} {
		for how, mount := range mounters {
			if err := mount(tc.first); err != nil {
				t.Fatal(err)
			}
			err := overlay.Mount(tc.second)
			if tc.said == "" && err != nil || tc.said != "" && (!errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), tc.said)) {
				t.Errorf("%s: %v, want %q", how, err, tc.said)
			}
			if err := unix.Unmount(o.Target, 0); err != nil {
				t.Fatal(err)
			}
			if err := unix.Unmount(o.Target, 0); !errors.Is(err, unix.EINVAL) {
				t.Errorf("%s: it was mounted twice", how)
			}
		}
	}
	if err := unix.Mount("tmpfs", o.Target, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := overlay.Mount(o); !errors.Is(err, unix.EBUSY) {
		t.Errorf("over a tmpfs: %v", err)
	}
	if err := unix.Unmount(o.Target, 0); err != nil {
		t.Fatal(err)
	}
}
