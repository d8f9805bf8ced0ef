package overlay_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/overlay"
)

// TestViewMeta reads owner, mode, links and attributes from a view as they are
// on disk, those of a merged directory from its topmost layer.
func TestViewMeta(t *testing.T) {
	base, top := t.TempDir(), t.TempDir()
	for path, attr := range map[string]string{base + "/d": "base", top + "/d": "top"} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Setxattr(path, "user.mark", []byte(attr), 0); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(base, "d/f")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(file, file+"2"); err != nil {
		t.Fatal(err)
	}
	view, err := overlay.OpenView([]string{base, top})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = view.Close() }()
	for name, want := range map[string]string{"d": "top", "d/f": ""} {
		if got, err := view.Xattrs(name); err != nil || got["user.mark"] != want {
			t.Errorf("%s: expected user.mark %q, found %q, %v", name, want, got, err)
		}
	}
	info, err := view.Lstat("d/f")
	if err != nil {
		t.Fatal(err)
	}
	var want unix.Stat_t
	if err := unix.Lstat(file, &want); err != nil {
		t.Fatal(err)
	}
	entry, ok := info.Sys().(interface{ Stat() unix.Stat_t })
	if !ok {
		t.Fatalf("Sys is a %T", info.Sys())
	}
	got := entry.Stat()
	if got.Mode != want.Mode || got.Uid != want.Uid || got.Nlink != 2 || got.Ino != want.Ino || got.Mtim != want.Mtim {
		t.Errorf("expected %+v, found %+v", want, got)
	}
}
