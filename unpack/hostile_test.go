package unpack_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/internal/treecmp"
	"github.com/byhand/byhand/unpack"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// canary is a tree around the directory that a layer is unpacked to.
// Nothing in it may change, whatever the layer says.
type canary struct {
	base   string
	before map[string]*treecmp.Entry
}

// newCanary returns the canary and the directory to unpack to, two levels
// below its base.
func newCanary(t testing.TB) (canary, string) {
	t.Helper()
	base := t.TempDir()
	root := filepath.Join(base, "up", "root")
	for _, dir := range []string{"up/root", "out/sub"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"secret", "up/secret", "out/sub/secret", "up/x", "x"} {
		if err := os.WriteFile(filepath.Join(base, name), []byte("untouched"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := canary{base: base}
	c.before = c.read(t)
	t.Cleanup(func() { openUp(root) })
	return c, root
}

func (c canary) read(t testing.TB) map[string]*treecmp.Entry {
	t.Helper()
	entries, err := treecmp.Read(c.base, treecmp.Options{Skip: func(name string) bool { return name == "up/root" }})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func (c canary) check(t testing.TB) {
	t.Helper()
	if d := cmp.Diff(c.before, c.read(t), cmp.AllowUnexported(treecmp.Entry{}, treecmp.Inode{})); d != "" {
		t.Errorf("outside of the root (-before +after):\n%s", d)
	}
	err := filepath.WalkDir(filepath.Join(c.base, "up", "root"), func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err != nil || info.Size() > 1<<20 {
			return err
		}
		content, err := os.ReadFile(name)
		if err == nil && string(content) == "untouched" {
			t.Errorf("%s holds what is outside of the root", name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestHostile goes through ways out of the root. want is a part of the error,
// empty if the layer is harmless where it lands.
func TestHostile(t *testing.T) {
	abs := func(base, name string) string { return filepath.Join(base, name) }
	tests := []struct {
		name    string
		entries func(base string) entries
		want    string
	}{
		{"parent in name", func(string) entries { return entries{tFile("../x", "evil")} }, "leads out"},
		{"parents in name", func(string) entries { return entries{tDir("a"), tFile("a/../../../x", "evil")} }, "leads out"},
		{"absolute name", func(b string) entries { return entries{tFile(abs(b, "x"), "evil")} }, ""},
		{"absolute name with parents", func(string) entries { return entries{tFile("/../../x", "evil")} }, ""},
		{"through symlink to parent", func(string) entries { return entries{tSym("l", ".."), tFile("l/x", "evil")} }, ""},
		{"through absolute symlink", func(b string) entries { return entries{tSym("l", b), tFile("l/x", "evil")} }, ""},
		{"through two symlinks", func(b string) entries { return entries{tSym("a", b), tSym("l", "a/up/.."), tFile("l/x", "evil")} }, ""},
		{"over a symlink", func(b string) entries { return entries{tSym("l", abs(b, "x")), tFile("l", "evil")} }, ""},
		{"directory over a symlink", func(b string) entries { return entries{tSym("l", b), tDir("l", tMode(0o777)), tFile("l/x", "evil")} }, ""},
		{"metadata over a symlink", func(b string) entries {
			return entries{tSym("l", abs(b, "x"), tMode(0o777), testtar.Owner(1, 1)), testtar.Fifo("l", tMode(0o777))}
		}, ""},
		{"parent becomes a symlink", func(b string) entries {
			return entries{tDir("d"), tFile("d/a", "1"), tSym("d", b), tFile("d/x", "evil"), tFile("d/up/x", "evil")}
		}, ""},
		{"grandparent becomes a symlink", func(b string) entries {
			return entries{tDir("d"), tDir("d/up"), tFile("d/up/a", "1"), tSym("d", b), tFile("d/up/x", "evil"), tWh("d/up/secret")}
		}, ""},
		{"parent becomes a symlink by a link", func(b string) entries {
			return entries{tSym("l", b), tDir("d"), tFile("d/a", "1"), tLink("d", "l"), tFile("d/x", "evil")}
		}, ""},
		{"hard link to parent", func(string) entries { return entries{tLink("h", "../x"), tFile("h", "evil")} }, "leads out"},
		{"hard link to absolute", func(b string) entries { return entries{tLink("h", abs(b, "x")), tFile("h", "evil")} }, ""},
		{"hard link through symlink", func(b string) entries { return entries{tSym("l", b), tLink("h", "l/x")} }, ""},
		{"hard link through symlink with parents", func(string) entries { return entries{tSym("l", "a/../../.."), tLink("h", "l/x")} }, ""},
		{"write through a link to a symlink", func(b string) entries {
			return entries{tSym("l", abs(b, "x")), tLink("h", "l"), tFile("h", "evil"), tFile("l", "evil")}
		}, ""},
		{"hard link to directory", func(string) entries { return entries{tDir("d"), tLink("h", "d")} }, "directory"},
		{"hard link to root", func(string) entries { return entries{tLink("h", "/")} }, "directory"},
		{"whiteout of parent", func(string) entries { return entries{tDir("d"), tFile("d/.wh...", "")} }, "no sense"},
		{"whiteout of itself", func(string) entries { return entries{tDir("d"), tFile("d/.wh..", "")} }, "no sense"},
		{"whiteout of nothing", func(string) entries { return entries{tFile(".wh.", "")} }, "no sense"},
		{"whiteout of nothing as a directory", func(string) entries { return entries{tDir(".wh./")} }, "no sense"},
		{"whiteout below parent", func(string) entries { return entries{tFile("../.wh.x", "")} }, "leads out"},
		{"whiteout through symlink", func(b string) entries { return entries{tSym("l", b), tWh("l/x"), tWh("l/out")} }, ""},
		{"opaque through symlink", func(b string) entries { return entries{tSym("l", b), tOpq("l")} }, ""},
		{"opaque below parent", func(string) entries { return entries{tOpq("..")} }, "leads out"},
		{"root as file", func(string) entries { return entries{tFile(".", "evil")} }, "no sense"},
		{"root as symlink", func(b string) entries { return entries{tSym("/", b), tFile("x", "evil")} }, "no sense"},
		{"root as symlink by parents", func(b string) entries { return entries{tSym("a/..", b), tFile("x", "evil")} }, "no sense"},
		{"root as hard link", func(string) entries { return entries{tFile("f", ""), tLink("./", "f")} }, "no sense"},
		{"empty name", func(string) entries {
			return entries{testtar.Raw(testtar.Header(testtar.Fields{Type: '0'}, []byte("evil")))}
		}, "no sense"},
		{"file as parent", func(string) entries { return entries{tFile("f", ""), tFile("f/x", "evil")} }, "not a directory"},
		{"symlinks in a circle", func(string) entries { return entries{tSym("a", "b"), tSym("b", "a"), tFile("a/x", "evil")} }, "too many levels"},
		{"symlink to itself", func(string) entries { return entries{tSym("a", "a/a"), tFile("a/x", "evil")} }, "too many levels"},
		{"empty symlink", func(string) entries { return entries{tSym("a", "")} }, "no such file"},
		{"device numbers cut to 0:0", func(string) entries {
			return entries{testtar.Raw(testtar.Header(testtar.Fields{Type: '3', Name: "c", Major: "0010000"}, nil))}
		}, "invalid argument"},
		{"unknown type", func(string) entries {
			return entries{testtar.Raw(testtar.Header(testtar.Fields{Type: 'Z', Name: "a"}, nil))}
		}, "unknown type"},
		{"multi-volume", func(string) entries {
			return entries{testtar.Raw(testtar.Header(testtar.Fields{Type: 'M', Name: "a"}, nil))}
		}, "unknown type"},
		{"component of 256 bytes", func(string) entries { return entries{tFile(strings.Repeat("n", 256), "")} }, "name too long"},
		{"AUFS links as a symlink", func(b string) entries {
			return entries{tSym(".wh..wh.plnk", b), tFile(".wh..wh.plnk/x", "evil"), tLink("h", ".wh..wh.plnk/x")}
		}, ""},
	}
	eachWay(t, func(t *testing.T, o unpack.Options) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				c, root := newCanary(t)
				_, err := applyTo(root, testtar.Tar(tt.entries(c.base)...), o)
				switch {
				case tt.want == "" && err != nil:
					t.Errorf("unexpected error: %v", err)
				case tt.want != "":
					var ee *unpack.EntryError
					if !errors.As(err, &ee) || !strings.Contains(err.Error(), tt.want) {
						t.Errorf("error %v, want an EntryError with %q", err, tt.want)
					}
				}
				c.check(t)
			})
		}
	})
}

// TestOverlayMarkers tells that a layer cannot speak to overlayfs.
func TestOverlayMarkers(t *testing.T) {
	archive := testtar.Tar(
		tDir("d", tXattr("trusted.overlay.opaque", "y"), tXattr("user.overlay.opaque", "y"), tXattr("trusted.overlay.redirect", "/etc")),
		testtar.Char("zero", 0, 0),
		tFile("f", "1", tXattr("trusted.overlay.metacopy", ""), tXattr("user.overlay.whiteout", "y")),
	)
	dir, res, err := apply(t, archive, unpack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"d/", "f: 1"}, tree(t, dir)); d != "" {
		t.Errorf("tree (-want +got):\n%s", d)
	}
	for _, name := range []string{"d", "f"} {
		for _, attr := range []string{"trusted.overlay.opaque", "user.overlay.opaque", "trusted.overlay.redirect", "user.overlay.whiteout"} {
			if _, err := unix.Lgetxattr(filepath.Join(dir, name), attr, nil); !errors.Is(err, unix.ENODATA) {
				t.Errorf("%s of %s: error %v, want ENODATA", attr, name, err)
			}
		}
	}
	got := make(map[unpack.SkipKind]int)
	for _, s := range res.Skipped {
		got[s.Kind] = s.Count
	}
	delete(got, unpack.SkipOwner) // an ordinary user's
	want := map[unpack.SkipKind]int{unpack.SkipOverlayXattr: 5, unpack.SkipZeroDevice: 1}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("skipped (-want +got):\n%s", d)
	}
}
