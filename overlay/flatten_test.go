package overlay_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/unpack"
)

// names lists a directory.
func names(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func TestFlattenDestination(t *testing.T) {
	testneed.Root(t)
	dirs := stack(t, t.TempDir(), []testtar.Entry{testtar.Dir(".", testtar.Mode(0o711)), testtar.File("f", "1")})
	flatten := func(dst string) error {
		return overlay.Flatten(t.Context(), dirs, dst, overlay.FlattenOptions{Sync: true})
	}
	root := t.TempDir()
	check := func(what, dst string, want string) {
		t.Helper()
		if got := mustRead(t, filepath.Join(dst, "f")); got != "1" {
			t.Errorf("%s: %q", what, got)
		}
		if info, err := os.Stat(dst); err != nil || info.Mode().Perm() != 0o711 {
			t.Errorf("%s: root has mode %v, %v", what, info.Mode(), err)
		}
		if got := names(t, root); got != want {
			t.Errorf("%s: beside it is %s, expected %s", what, got, want)
		}
	}
	absent := filepath.Join(root, "absent")
	if err := flatten(absent); err != nil {
		t.Fatal(err)
	}
	check("absent", absent, "absent")
	empty := filepath.Join(root, "empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := flatten(empty); err != nil {
		t.Fatal(err)
	}
	check("empty", empty, "absent empty")
	if err := os.Symlink("linked", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "linked"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := flatten(filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	check("link to an empty directory", filepath.Join(root, "linked"), "absent empty link linked")
	var full *overlay.NotEmptyError
	if err := flatten(empty); !errors.As(err, &full) || !errors.Is(err, fs.ErrExist) {
		t.Errorf("full: %v", err)
	}
	if err := flatten(filepath.Join(empty, "f")); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file: %v", err)
	}
	if err := flatten(filepath.Join(root, "no/such")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no parent: %v", err)
	}
	if got := names(t, root); got != "absent empty link linked" {
		t.Errorf("left behind: %s", got)
	}
}

// TestFlattenMounted writes to the root of a file system, where no rename
// reaches.
func TestFlattenMounted(t *testing.T) {
	if !isolated(t) {
		return
	}
	dirs := stack(t, t.TempDir(), []testtar.Entry{testtar.Dir(".", testtar.Mode(0o711)), testtar.File("d/f", "1"), testtar.File("lost+found/x", "")})
	dst := tmpfs(t)
	if err := os.Mkdir(filepath.Join(dst, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := overlay.Flatten(t.Context(), dirs, dst, overlay.FlattenOptions{}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dst)
	if err != nil || info.Mode().Perm() != 0o711 || info.ModTime().Unix() != 1_600_000_000 {
		t.Errorf("root: %v %v", info.ModTime(), err)
	}
	if got := names(t, dst); got != "d lost+found" || mustRead(t, filepath.Join(dst, "d/f")) != "1" {
		t.Errorf("holds %s", got)
	}
	var full *overlay.NotEmptyError
	if err := overlay.Flatten(t.Context(), dirs, dst, overlay.FlattenOptions{}); !errors.As(err, &full) {
		t.Errorf("again: %v", err)
	}
}

// TestFlattenLeftovers finds what a killed run left, and a run that is still
// at work.
func TestFlattenLeftovers(t *testing.T) {
	testneed.Root(t)
	dirs := stack(t, t.TempDir(), []testtar.Entry{testtar.File("f", "1")})
	root := t.TempDir()
	dst := filepath.Join(root, "dst")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := overlay.Flatten(ctx, dirs, dst, overlay.FlattenOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if got := names(t, root); got != "" {
		t.Errorf("cancelled, left behind: %s", got)
	}
	stage := filepath.Join(root, overlay.StageName(dst))
	if err := os.MkdirAll(filepath.Join(stage, "tree/half/done"), 0o555); err != nil {
		t.Fatal(err)
	}
	busy, err := os.Open(stage)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(busy.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	var berr *overlay.BusyError
	if err := overlay.Flatten(t.Context(), dirs, dst, overlay.FlattenOptions{}); !errors.As(err, &berr) {
		t.Errorf("another at work: %v", err)
	}
	_ = busy.Close()
	if err := overlay.Flatten(t.Context(), dirs, dst, overlay.FlattenOptions{}); err != nil {
		t.Fatal(err)
	}
	if names(t, root) != "dst" || names(t, dst) != "f" {
		t.Errorf("after a killed run: %s, %s", names(t, root), names(t, dst))
	}
	foreign := filepath.Join(root, overlay.StageName("other"))
	if err := os.Mkdir(foreign, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(foreign, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := overlay.Flatten(t.Context(), dirs, filepath.Join(root, "other"), overlay.FlattenOptions{}); !errors.Is(err, unix.EPERM) {
		t.Errorf("stage of another user: %v", err)
	}
}

func TestFlattenSparse(t *testing.T) {
	if !isolated(t) {
		return
	}
	onDisk, inMemory, other := t.TempDir(), tmpfs(t), tmpfs(t)
	for name, where := range map[string][2]string{
		"disk": {onDisk, filepath.Join(onDisk, "flat")}, "tmpfs": {inMemory, filepath.Join(inMemory, "flat")},
		"tmpfs to disk": {inMemory, filepath.Join(onDisk, "flat2")}, "tmpfs to tmpfs": {inMemory, filepath.Join(other, "flat")},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(where[0], filepath.Base(t.Name()))
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			f, err := os.Create(filepath.Join(dir, "sparse"))
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range []int64{1 << 20, 9 << 20} {
				if _, err := f.WriteAt([]byte("data"), at); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(f.Truncate(64<<20), f.Close()); err != nil {
				t.Fatal(err)
			}
			if err := overlay.Flatten(t.Context(), []string{dir}, where[1], overlay.FlattenOptions{}); err != nil {
				t.Fatal(err)
			}
			var st unix.Stat_t
			if err := unix.Stat(filepath.Join(where[1], "sparse"), &st); err != nil || st.Size != 64<<20 || st.Blocks*512 > 1<<20 {
				t.Errorf("size %d in %d blocks, %v", st.Size, st.Blocks, err)
			}
			if a, b := mustRead(t, filepath.Join(dir, "sparse")), mustRead(t, filepath.Join(where[1], "sparse")); a != b {
				t.Error("content differs")
			}
		})
	}
}

// TestFlattenUser copies as an ordinary user what root unpacked.
func TestFlattenUser(t *testing.T) {
	if os.Getenv(isolatedEnv) == "" && os.Getuid() == 0 {
		root, err := os.MkdirTemp("/tmp", "flatten-user-") // t.TempDir is closed to others
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.RemoveAll(root) }()
		if err := os.Chmod(root, 0o777); err != nil {
			t.Fatal(err)
		}
		stack(t, root, []testtar.Entry{
			testtar.Dir(".", testtar.Mode(0o555)), testtar.Dir("d", testtar.Mode(0o555)), testtar.File("d/f", "1", testtar.Owner(3, 4), testtar.Mode(0o6755)),
			testtar.Char("null", 1, 3), testtar.Dir("e", testtar.Mode(0o755)), testtar.Symlink("s", "d", testtar.Owner(3, 3)),
		})
		t.Setenv("BYHAND_TEST_DIR", root)
		rerunAsUser(t)
		return
	}
	root := os.Getenv("BYHAND_TEST_DIR")
	if root == "" {
		t.Skip("run by root")
	}
	dirs := []string{filepath.Join(root, "layer1")}
	dst := filepath.Join(root, "flat")
	if err := overlay.Flatten(t.Context(), dirs, dst, overlay.FlattenOptions{}); !errors.Is(err, unix.EPERM) {
		t.Errorf("owners that cannot be kept: %v", err)
	}
	var skipped []unpack.Skip
	o := overlay.FlattenOptions{Owners: unpack.Squash, Skipped: func(s []unpack.Skip) { skipped = s }}
	if err := overlay.Flatten(t.Context(), dirs, dst, o); err != nil {
		t.Fatal(err)
	}
	if mustRead(t, filepath.Join(dst, "d/f")) != "1" || names(t, dst) != "d e s" {
		t.Errorf("holds %s", names(t, dst))
	}
	if info, err := os.Stat(filepath.Join(dst, "d/f")); err != nil || info.Mode() != 0o755 {
		t.Errorf("program of another user: %v, %v", info.Mode(), err)
	}
	if len(skipped) != 2 || skipped[0].Kind != unpack.SkipOwner || skipped[1].Kind != unpack.SkipDevice || skipped[1].Name != "null" {
		t.Errorf("skipped: %v", skipped)
	}
	if info, err := os.Stat(filepath.Join(dst, "d")); err != nil || info.Mode().Perm() != 0o555 {
		t.Errorf("read-only directory: %v, %v", info.Mode(), err)
	}
	for i, o := range []overlay.FlattenOptions{{Owners: unpack.Squash, Move: true}} {
		if err := overlay.Flatten(t.Context(), []string{dst}, filepath.Join(root, fmt.Sprint("moved", i)), o); err != nil {
			t.Errorf("move: %v", err)
		}
	}
	if names(t, filepath.Join(root, "moved0")) != "d e s" || mustRead(t, filepath.Join(root, "moved0/d/f")) != "1" {
		t.Errorf("moved: %s", names(t, filepath.Join(root, "moved0")))
	}
}

// TestFlattenDeep copies a tree whose paths are longer than PATH_MAX.
func TestFlattenDeep(t *testing.T) {
	if !isolated(t) {
		return
	}
	root := tmpfs(t)
	deep := strings.Repeat(strings.Repeat("n", 250)+"/", 40)
	dirs := stack(t, root, []testtar.Entry{testtar.File(deep+"f", "1")}, []testtar.Entry{testtar.File(deep+"g", "2")})
	dst := filepath.Join(root, "flat")
	if err := overlay.Flatten(t.Context(), dirs, dst, overlay.FlattenOptions{}); err != nil {
		t.Fatal(err)
	}
	want := list(t, dirs)
	if got := list(t, []string{dst}); got != want || strings.Count(got, "\n") != 43 {
		t.Errorf("%d lines, expected %d", strings.Count(got, "\n"), strings.Count(want, "\n"))
	}
}

// TestFlattenErrors shows that a failure in the middle leaves nothing.
func TestFlattenErrors(t *testing.T) {
	if !isolated(t) {
		return
	}
	root := t.TempDir()
	dirs := stack(t, root, []testtar.Entry{testtar.File("a/f", strings.Repeat("x", 1<<20)), testtar.File("b/f", strings.Repeat("y", 1<<20))})
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=1536k"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(small, unix.MNT_DETACH) }()
	for _, dst := range []string{small, filepath.Join(small, "dst")} {
		err := overlay.Flatten(t.Context(), dirs, dst, overlay.FlattenOptions{})
		var entry *unpack.EntryError
		if !errors.Is(err, unix.ENOSPC) || !errors.As(err, &entry) || !strings.HasSuffix(entry.Name, "/f") {
			t.Errorf("full disk: %v", err)
		}
		if got := names(t, small); got != "" {
			t.Errorf("left behind: %s", got)
		}
	}
}
