package bundle_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/testneed"
)

// removableBundle makes a bundle with all that one can have in it.
func removableBundle(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "b")
	makeTree(t, dir, map[string]string{
		"config.json": "{}", "rootfs/etc/passwd": "", "rootfs/locked/in/f": "", "lower/1": "->/etc", "upper/f": "", "work/work/": "",
		"volumes/0/f": "", "run/run-1/config.json": "", ".config.json.1": "", ".byhand-1/f": "", "rootfs/out": "->/etc",
	})
	d := digest.FromString("x")
	if err := bundle.WriteImage(dir, bundle.Image{Manifest: d, Config: d}); err != nil {
		t.Fatal(err)
	}
	for _, locked := range []string{"rootfs/locked/in", "rootfs/locked"} {
		if err := os.Chmod(filepath.Join(dir, locked), 0o555); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { // so that the test's own directory can go
		for _, locked := range []string{"rootfs/locked", "rootfs/locked/in"} {
			_ = os.Chmod(filepath.Join(dir, locked), 0o755)
		}
	})
	return dir
}

func TestRemove(t *testing.T) {
	dir := removableBundle(t)
	if err := bundle.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if err := bundle.Remove(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("once more: %v", err)
	}
	begun := t.TempDir()
	makeTree(t, begun, map[string]string{".image.json.1": "{"})
	if err := bundle.Remove(begun); err != nil {
		t.Error(err)
	}
	interrupted := removableBundle(t)
	if err := os.Remove(filepath.Join(interrupted, "config.json")); err != nil {
		t.Fatal(err)
	}
	if !bundle.Made(interrupted) {
		t.Error("an interrupted bundle is none that was made")
	}
	if err := bundle.Remove(interrupted); err != nil {
		t.Error(err)
	}
}

// TestRemoveRefused: whatever is in the way is told before anything is gone.
func TestRemoveRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(t *testing.T, dir string) string // what to remove
		says   string
	}{
		"no image.json": {func(t *testing.T, dir string) string {
			t.Helper()
			must(t, os.Remove(filepath.Join(dir, "image.json")))
			return dir
		}, "image.json"},
		"an image.json of something else": {func(t *testing.T, dir string) string {
			t.Helper()
			must(t, os.WriteFile(filepath.Join(dir, "image.json"), []byte(`{"width":1}`), 0o600))
			return dir
		}, "image.json"},
		"a file of somebody else's": {func(t *testing.T, dir string) string {
			t.Helper()
			must(t, os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600))
			return dir
		}, "notes.txt"},
		"a file called run": {func(t *testing.T, dir string) string {
			t.Helper()
			must(t, os.RemoveAll(filepath.Join(dir, "run")))
			must(t, os.WriteFile(filepath.Join(dir, "run"), nil, 0o600))
			return dir
		}, "run"},
		"a link to it": {func(t *testing.T, dir string) string {
			t.Helper()
			link := filepath.Join(t.TempDir(), "link")
			must(t, os.Symlink(dir, link))
			return link
		}, "no directory"},
		"in use": {func(t *testing.T, dir string) string {
			t.Helper()
			f, err := os.Open(dir)
			must(t, err)
			t.Cleanup(func() { _ = f.Close() })
			must(t, unix.Flock(int(f.Fd()), unix.LOCK_SH))
			return dir
		}, "using it"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := removableBundle(t)
			refuses(t, tc.change(t, dir), tc.says)
			for _, stays := range []string{"config.json", "rootfs/locked/in/f", "upper/f", "volumes/0/f"} {
				if _, err := os.Lstat(filepath.Join(dir, stays)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestRemoveMounted: nothing is deleted where something is mounted, on the
// rootfs or deeper.
func TestRemoveMounted(t *testing.T) {
	testneed.Root(t)
	for point, says := range map[string]string{"rootfs": "overlay umount", "volumes/0": "volumes/0"} {
		dir := removableBundle(t)
		at := filepath.Join(dir, point)
		must(t, unix.Mount("tmpfs", at, "tmpfs", 0, ""))
		t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
		must(t, os.WriteFile(filepath.Join(at, "precious"), nil, 0o600))
		refuses(t, dir, says)
		for _, stays := range []string{"config.json", filepath.Join(point, "precious")} {
			if _, err := os.Lstat(filepath.Join(dir, stays)); err != nil {
				t.Error(err)
			}
		}
	}
}

func refuses(t *testing.T, dir, says string) {
	t.Helper()
	err := bundle.Remove(dir)
	var re *bundle.RemoveError
	if !errors.As(err, &re) || !strings.Contains(err.Error(), says) {
		t.Errorf("expected a RemoveError with %q, found %v", says, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
