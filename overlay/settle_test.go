package overlay_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/unpack"
)

// TestSettle gives each rule its smallest case. want lists lines of the
// merged tree, those of "not" must be missing.
func TestSettle(t *testing.T) {
	testneed.Root(t)
	at := func(sec int64) testtar.Option { return testtar.ModTime(time.Unix(sec, 0)) }
	lower := testtar.Dir("d", testtar.Mode(0o2750), testtar.Owner(3, 4), at(7), testtar.Xattr("user.k", "v"))
	tests := map[string]struct {
		layers [][]testtar.Entry
		want   []string
		not    []string
	}{
		"implicit directory keeps what lower says": {
			[][]testtar.Entry{{lower}, {testtar.File("d/f", "")}},
			[]string{"d 42750 3:4 7", "d/f "},
			nil,
		},
		"explicit directory says it anew": {
			[][]testtar.Entry{{lower}, {testtar.Dir("d", at(9)), testtar.File("d/f", "")}},
			[]string{"d 40755 0:0 9"},
			nil,
		},
		"implicit directory that nobody knows": {
			[][]testtar.Entry{{}, {testtar.File("x/y/f", "")}},
			[]string{"x 40755 0:0 0", "x/y 40755 0:0 0"},
			nil,
		},
		"root without an entry": {
			[][]testtar.Entry{{testtar.Dir("./", testtar.Mode(0o711), at(5))}, {testtar.File("f", "")}},
			[]string{". 40711 0:0 5"},
			nil,
		},
		"whiteout and implicit directory in one layer": {
			[][]testtar.Entry{{lower, testtar.File("d/old", "")}, {testtar.File("d/f", ""), testtar.Whiteout("d")}},
			[]string{"d 40755 0:0 0", "d/f "},
			[]string{"d/old"},
		},
		"opaque implicit directory": {
			[][]testtar.Entry{{lower, testtar.File("d/old", "")}, {testtar.File("d/f", ""), testtar.Opaque("d")}},
			[]string{"d 42750 3:4 7", "d/f "},
			[]string{"d/old"},
		},
		"through a link": {
			[][]testtar.Entry{{testtar.Symlink("lib", "usr/lib"), testtar.Dir("usr/lib", testtar.Mode(0o700), at(7))}, {testtar.File("lib/f", "")}},
			[]string{"lib 120777 0:0 1600000000 -> usr/lib", "usr/lib 40700 0:0 7", "usr/lib/f "},
			[]string{"lib/f"},
		},
		"through an absolute link that leads out": {
			[][]testtar.Entry{{testtar.Symlink("d/l", "/../../x")}, {testtar.File("d/l/f", "")}},
			[]string{"d/l 120777 0:0 1600000000 -> /../../x", "x 40755 0:0 0", "x/f "},
			nil,
		},
		"through a chain of links to a place that is not there": {
			[][]testtar.Entry{{testtar.Symlink("a", "b/c"), testtar.Symlink("b", "/e")}, {testtar.File("a/sub/f", "")}},
			[]string{"e/c/sub/f ", "e/c 40755 0:0 0"},
			nil,
		},
		"through links of links made implicit": {
			[][]testtar.Entry{
				{testtar.Symlink("a", "b/c"), testtar.Dir("e"), testtar.Symlink("b", "/e"), testtar.Symlink("e/c", "../z")},
				{testtar.File("a/f", "1"), testtar.File("b/g", "2"), testtar.File("b/c/h", "3")},
			},
			[]string{"z/f ", "e/g ", "z/h ", "b 120777", "a 120777"},
			nil,
		},
		"through a link of the base, with a layer between": {
			[][]testtar.Entry{{testtar.Symlink("lib", "usr/lib"), testtar.Dir("usr/lib", testtar.Mode(0o700), at(7))}, {testtar.File("x", "")}, {testtar.File("lib/f", "")}},
			[]string{"lib 120777", "usr/lib 40700 0:0 7", "usr/lib/f "},
			nil,
		},
		"through a link back from what is not there": {
			[][]testtar.Entry{{testtar.Symlink("d/n", "new/../../more")}, {testtar.File("d/n/f", "")}},
			[]string{"d/n 120777", "more/f "},
			[]string{"d/new", "new"},
		},
		"a link in a circle is replaced": {
			[][]testtar.Entry{{testtar.Symlink("a", "b"), testtar.Symlink("b", "a")}, {testtar.File("a/f", "")}},
			[]string{"a 40755 0:0 0", "a/f ", "b 120777"},
			nil,
		},
		"a link to a file is replaced": {
			[][]testtar.Entry{{testtar.Symlink("a", "f"), testtar.File("f", "")}, {testtar.File("a/g", "")}},
			[]string{"a 40755 0:0 0", "a/g ", "f 100644"},
			nil,
		},
		"a file in the way is replaced": {
			[][]testtar.Entry{{testtar.File("a", "x")}, {testtar.File("a/g", "")}},
			[]string{"a 40755 0:0 0", "a/g "},
			nil,
		},
		"whiteout through a link": {
			[][]testtar.Entry{{testtar.Symlink("lib", "usr/lib"), testtar.File("usr/lib/f", ""), testtar.File("usr/lib/g", "")}, {testtar.Whiteout("lib/f")}},
			[]string{"lib 120777", "usr/lib/g "},
			[]string{"usr/lib/f", "lib/f"},
		},
		"opaque through a link": {
			[][]testtar.Entry{{testtar.Symlink("lib", "usr/lib"), testtar.File("usr/lib/f", "")}, {testtar.Opaque("lib"), testtar.File("lib/g", "")}},
			[]string{"usr/lib/g "},
			[]string{"usr/lib/f"},
		},
		"two ways to one place": {
			[][]testtar.Entry{
				{testtar.Symlink("lib", "usr/lib"), testtar.Dir("usr/lib")},
				{testtar.File("lib/d/f", ""), testtar.Dir("usr/lib/d", testtar.Mode(0o700)), testtar.File("usr/lib/d/g", "")},
			},
			[]string{"usr/lib/d 40700", "usr/lib/d/f ", "usr/lib/d/g "},
			nil,
		},
		"opaque root": {
			[][]testtar.Entry{{testtar.File("f", ""), testtar.File("d/old", ""), testtar.File("g", "")}, {testtar.Opaque("."), testtar.File("d/new", "")}},
			[]string{"d 40755 0:0 0", "d/new "},
			[]string{"f", "g", "d/old"},
		},
		"times of directories that settling works in": {
			[][]testtar.Entry{
				{testtar.Symlink("lib", "usr/lib"), testtar.File("usr/x", ""), testtar.File("t", "")},
				{testtar.Dir("./", at(3)), testtar.Dir("usr", at(4)), testtar.Dir("usr/lib", at(5)), testtar.File("lib/f", ""), testtar.Link("usr/h", "t"), testtar.Whiteout("usr/lib/nothing")},
			},
			[]string{". 40755 0:0 3", "usr 40755 0:0 4", "usr/lib 40755 0:0 5", "usr/h ", "usr/lib/f "},
			[]string{"usr/lib/nothing"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wantLines(t, stack(t, t.TempDir(), test.layers...), test.want, test.not)
		})
	}
}

// wantLines looks for what lines of the merged tree begin with, and for names
// that it must not have.
func wantLines(t *testing.T, dirs, want, not []string) {
	t.Helper()
	got := "\n" + list(t, dirs)
	for _, line := range want {
		if !strings.Contains(got, "\n"+line) {
			t.Errorf("no %q in %s", line, got)
		}
	}
	for _, name := range not {
		if strings.Contains(got, "\n"+name+" ") {
			t.Errorf("%q in %s", name, got)
		}
	}
}

func TestSettleHardLinks(t *testing.T) {
	testneed.Root(t)
	tests := map[string]struct {
		layers [][]testtar.Entry
		groups [][]string // names of one file
		read   map[string]string
	}{
		"to a lower file": {
			[][]testtar.Entry{{testtar.File("d/f", "1"), testtar.Link("d/g", "d/f")}, {testtar.Link("h", "d/f"), testtar.Link("i", "h")}},
			[][]string{{"d/f", "d/g", "h", "i"}},
			map[string]string{"i": "1"},
		},
		"to a lower file that the layer replaces later": {
			[][]testtar.Entry{{testtar.File("f", "old")}, {testtar.Link("h", "f"), testtar.File("f", "new")}},
			[][]string{{"h"}, {"f"}},
			map[string]string{"h": "old", "f": "new"},
		},
		"to a lower file that the layer replaced before": {
			[][]testtar.Entry{{testtar.File("f", "old")}, {testtar.File("f", "new"), testtar.Link("h", "f")}},
			[][]string{{"f", "h"}},
			map[string]string{"h": "new"},
		},
		"to a lower file that the layer deletes": {
			[][]testtar.Entry{{testtar.File("f", "old")}, {testtar.Whiteout("f"), testtar.Link("h", "f")}},
			[][]string{{"h"}},
			map[string]string{"h": "old"},
		},
		"to a link of the layer in the place of a lower file": {
			[][]testtar.Entry{{testtar.File("f", "1"), testtar.File("h", "2")}, {testtar.Link("h", "f"), testtar.Link("i", "h")}},
			[][]string{{"f", "h", "i"}},
			map[string]string{"i": "1"},
		},
		"to a name that comes later": {
			[][]testtar.Entry{{}, {testtar.Link("h", "f"), testtar.File("f", "new")}},
			[][]string{{"f", "h"}},
			map[string]string{"h": "new"},
		},
		"to a name that comes later, in the base": {
			[][]testtar.Entry{{testtar.Link("h", "f"), testtar.File("f", "new")}},
			[][]string{{"f", "h"}},
			map[string]string{"h": "new"},
		},
		"through a lower link to a file of the layer": {
			[][]testtar.Entry{{testtar.Symlink("lib", "usr/lib"), testtar.File("usr/lib/f", "old")}, {testtar.File("usr/lib/f", "new"), testtar.Link("usr/lib/g", "lib/f")}},
			[][]string{{"usr/lib/f", "usr/lib/g"}},
			map[string]string{"usr/lib/g": "new"},
		},
		"in a directory that a lower link leads to": {
			[][]testtar.Entry{{testtar.Symlink("lib", "usr/lib"), testtar.File("usr/lib/f", "old")}, {testtar.Link("lib/g", "lib/f")}},
			[][]string{{"usr/lib/f", "usr/lib/g"}},
			map[string]string{"lib/g": "old"},
		},
		"in the place of the lower link that its directory is": {
			[][]testtar.Entry{{testtar.Symlink("c", "/"), testtar.File("f", "1")}, {testtar.Link("c/c", "f")}},
			[][]string{{"c", "f"}},
			map[string]string{"c": "1"},
		},
		"to a lower symbolic link": {
			[][]testtar.Entry{{testtar.Symlink("s", "f"), testtar.File("f", "1")}, {testtar.Link("h", "s")}},
			[][]string{{"h", "s"}, {"f"}},
			map[string]string{"h": "1"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dirs := stack(t, t.TempDir(), test.layers...)
			flat := filepath.Join(t.TempDir(), "flat")
			if err := overlay.Flatten(t.Context(), dirs, flat, overlay.FlattenOptions{}); err != nil {
				t.Fatal(err)
			}
			seen := map[uint64]int{}
			for i, group := range test.groups {
				for _, name := range group {
					var st unix.Stat_t
					if err := unix.Lstat(filepath.Join(flat, name), &st); err != nil {
						t.Fatal(name, err)
					}
					if at, ok := seen[st.Ino]; ok != (name != group[0]) || ok && at != i || int(st.Nlink) != len(group) {
						t.Errorf("%s: not one file with %v (%d links)", name, group, st.Nlink)
					}
					seen[st.Ino] = i
				}
			}
			for name, want := range test.read {
				if got := mustRead(t, filepath.Join(flat, name)); got != want {
					t.Errorf("%s: %q, expected %q", name, got, want)
				}
			}
		})
	}
}

func TestSettleErrors(t *testing.T) {
	testneed.Root(t)
	root := t.TempDir()
	dirs := stack(t, root, []testtar.Entry{testtar.Dir("d")})
	err := layerDir(t, filepath.Join(root, "bad"), dirs, false, testtar.Tar(testtar.Link("x", "nothing")))
	var entry *unpack.EntryError
	if !errors.As(err, &entry) || entry.Name != "x" || !errors.Is(err, overlay.ErrLinkTarget) {
		t.Errorf("link to nothing: %v", err)
	}
	if err == nil || !strings.Contains(err.Error(), `target "nothing"`) {
		t.Errorf("the error does not name what the link is to: %v", err)
	}
	err = layerDir(t, filepath.Join(root, "bad2"), dirs, false, testtar.Tar(testtar.Link("x", "d")))
	if !errors.As(err, &entry) || !errors.Is(err, unix.EISDIR) && !errors.Is(err, overlay.ErrLinkTarget) {
		t.Errorf("link to a directory: %v", err)
	}
}

// TestSettleAcrossFileSystems has the lower layer where nothing can be linked
// to.
func TestSettleAcrossFileSystems(t *testing.T) {
	if !isolated(t) {
		return
	}
	one, two := tmpfs(t), tmpfs(t)
	dirs := stack(t, one, []testtar.Entry{testtar.File("f", "1", testtar.Mode(0o4711), testtar.Owner(5, 6), testtar.Xattr("user.k", "v"))})
	top := filepath.Join(two, "top")
	if err := layerDir(t, top, dirs, false, testtar.Tar(testtar.Link("h", "f"), testtar.Link("i", "f"))); err != nil {
		t.Fatal(err)
	}
	var st, other unix.Stat_t
	if err := unix.Lstat(filepath.Join(top, "h"), &st); err != nil || st.Mode != unix.S_IFREG|0o4711 || st.Uid != 5 || st.Mtim.Sec != 1_600_000_000 {
		t.Errorf("copy: %v %o %d", err, st.Mode, st.Uid)
	}
	if err := unix.Lstat(filepath.Join(top, "i"), &other); err != nil || other.Ino != st.Ino {
		t.Errorf("second link is another file: %v", err)
	}
	if err := unix.Lstat(filepath.Join(top, "f"), &other); err != nil || other.Ino != st.Ino {
		t.Errorf("the target is another file than its link: %v", err)
	}
}

// TestSettleManyLinks is a layer whose paths lead through a long chain of
// links; it must end soon.
func TestSettleManyLinks(t *testing.T) {
	testneed.Root(t)
	var base, top []testtar.Entry
	for i := range 300 {
		name := "l" + strings.Repeat("x", i)[:i%50] + string(rune('a'+i%26)) + time.Duration(i).String()
		next := "l" + strings.Repeat("x", i+1)[:(i+1)%50] + string(rune('a'+(i+1)%26)) + time.Duration(i+1).String()
		base = append(base, testtar.Symlink(name, next))
		top = append(top, testtar.File(name+"/f", "x"))
	}
	start := testneed.CPUTime(t)
	got := list(t, stack(t, t.TempDir(), base, top))
	if d := testneed.CPUTime(t) - start; d > 20*time.Second {
		t.Errorf("took %v", d)
	}
	if !strings.Contains(got, "/f 100644") {
		t.Errorf("no file left in\n%s", got)
	}
}

// TestSettleDeep has implicit directories four thousand deep, in two layers.
// Looking up each from the root would take half a minute of processor time.
func TestSettleDeep(t *testing.T) {
	testneed.Root(t)
	const depth = 4000
	path := strings.Repeat("a/", depth)
	start := testneed.CPUTime(t)
	got := list(t, stack(t, t.TempDir(),
		[]testtar.Entry{testtar.Dir("a", testtar.Mode(0o700)), testtar.File(path+"f", "")},
		[]testtar.Entry{testtar.File(path+"g", "")},
		[]testtar.Entry{testtar.File(path+"h", "")}))
	if d := testneed.CPUTime(t) - start; d > 30*time.Second {
		t.Errorf("took %v", d)
	}
	for _, want := range []string{"a 40700 ", path + "f ", path + "g ", path + "h "} {
		if !strings.Contains(got, want) {
			t.Errorf("no %.40q… in the tree", want)
		}
	}
}

// TestSettleLinkChain follows links to links that come later, but not a chain
// so long that it would take the square of its length.
func TestSettleLinkChain(t *testing.T) {
	testneed.Root(t)
	chain := func(n int) []byte {
		entries := []testtar.Entry{}
		for i := range n {
			entries = append(entries, testtar.Link(fmt.Sprint("l", i), fmt.Sprint("l", i+1)))
		}
		return testtar.Tar(append(entries, testtar.Link(fmt.Sprint("l", n), "f"))...)
	}
	root := t.TempDir()
	dirs := stack(t, root, []testtar.Entry{testtar.File("f", "1")})
	if err := layerDir(t, filepath.Join(root, "short"), dirs, false, chain(20)); err != nil {
		t.Error(err)
	}
	var a, b unix.Stat_t
	err := errors.Join(unix.Lstat(filepath.Join(root, "short", "l0"), &a), unix.Lstat(filepath.Join(root, "short", "l20"), &b))
	if err != nil || a.Ino != b.Ino {
		t.Errorf("the chain's ends are not one file: %v", err)
	}
	err = layerDir(t, filepath.Join(root, "long"), dirs, false, chain(5000))
	if !errors.Is(err, overlay.ErrLinkTarget) {
		t.Errorf("long chain: %v", err)
	}
}
