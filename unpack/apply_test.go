package unpack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/internal/treecmp"
	"github.com/byhand/byhand/unpack"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// apply unpacks into a new directory, as far as the caller's privilege goes.
func apply(t testing.TB, archive []byte, o unpack.Options) (string, unpack.Result, error) {
	t.Helper()
	dir := t.TempDir()
	res, err := applyTo(dir, archive, o)
	t.Cleanup(func() { openUp(dir) })
	return dir, res, err
}

func applyTo(dir string, archive []byte, o unpack.Options) (unpack.Result, error) {
	if os.Geteuid() != 0 {
		o.Format, o.Owners = unpack.OverlayUser, unpack.Squash
	}
	f, err := os.Open(dir)
	if err != nil {
		return unpack.Result{}, err
	}
	defer func() { _ = f.Close() }()
	return unpack.Apply(context.Background(), f, bytes.NewReader(archive), o)
}

// openUp lets an ordinary user delete the tree.
func openUp(dir string) {
	_ = filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(name, 0o755)
		}
		return nil
	})
}

// eachWay runs f with and without openat2.
func eachWay(t *testing.T, f func(t *testing.T, o unpack.Options)) {
	t.Helper()
	for _, without := range []bool{false, true} {
		name := "openat2"
		if without {
			name = "walk"
		}
		t.Run(name, func(t *testing.T) { f(t, unpack.Options{NoOpenat2: without}) })
	}
}

// tree describes a directory, a line for each name: "d/", "d/ opaque",
// "f: content", "g = f" for a hard link, "l -> target", "x whiteout",
// "c char 1:3", with the mode if it is not the usual one.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := treecmp.Read(dir, treecmp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for name, e := range entries {
		line, usual := name, uint32(0o644)
		switch e.Type {
		case "dir":
			usual = 0o755
			line += "/"
			if e.Xattrs["trusted.overlay.opaque"] == "y" || e.Xattrs["user.overlay.opaque"] == "y" {
				line += " opaque"
			}
		case "file":
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil && !errors.Is(err, os.ErrPermission) {
				t.Fatal(err)
			}
			line += ": " + string(content)
			if e.First != "" && e.First != name {
				line = name + " = " + e.First
			}
		case "symlink":
			usual = e.Mode
			line += " -> " + e.Target
			if e.First != "" && e.First != name {
				line = name + " = " + e.First
			}
		case "char":
			line += " char " + e.Dev
			if e.Dev == "0:0" {
				line, usual = name+" whiteout", 0
			}
		default:
			line += " " + e.Type + " " + e.Dev
		}
		if e.Mode != usual {
			line += fmt.Sprintf(" %04o", e.Mode)
		}
		if name != "." || strings.Contains(line, " ") {
			lines = append(lines, line)
		}
	}
	sort.Strings(lines)
	return lines
}

// pending describes what is left to the lower layers.
func pending(p unpack.Pending) []string {
	var lines []string
	for _, d := range p.ImplicitDirs {
		if d != "." {
			lines = append(lines, "implicit "+d)
		}
	}
	for _, l := range p.HardLinks {
		lines = append(lines, "link "+l.Name+" = "+l.Target)
	}
	for _, w := range p.Whiteouts {
		lines = append(lines, "whiteout "+w)
	}
	if p.OpaqueRoot {
		lines = append(lines, "opaque root")
	}
	return lines
}

type ruleTest struct {
	name    string
	entries []testtar.Entry
	want    []string
	pending []string
}

func runRules(t *testing.T, tests []ruleTest) {
	t.Helper()
	eachWay(t, func(t *testing.T, o unpack.Options) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				dir, res, err := apply(t, testtar.Tar(tt.entries...), o)
				if err != nil {
					t.Fatal(err)
				}
				want := slices.Sorted(slices.Values(tt.want))
				if d := cmp.Diff(want, tree(t, dir)); d != "" {
					t.Errorf("tree (-want +got):\n%s", d)
				}
				if d := cmp.Diff(tt.pending, pending(res.Pending)); d != "" {
					t.Errorf("pending (-want +got):\n%s", d)
				}
			})
		}
	})
}

var (
	tDir   = testtar.Dir
	tFile  = testtar.File
	tSym   = testtar.Symlink
	tLink  = testtar.Link
	tWh    = testtar.Whiteout
	tOpq   = testtar.Opaque
	tMode  = testtar.Mode
	tXattr = testtar.Xattr
)

type entries = []testtar.Entry

func TestWhiteouts(t *testing.T) {
	runRules(t, []ruleTest{
		{"alone", entries{tDir("d"), tWh("d/x"), tWh("y")}, []string{"d/", "d/x whiteout", "y whiteout"}, []string{"whiteout y", "whiteout d/x"}},
		{"implicit parent", entries{tWh("a/b/x")}, []string{"a/", "a/b/", "a/b/x whiteout"}, []string{"implicit a", "implicit a/b", "whiteout a/b/x"}},
		{"then directory", entries{tWh("x"), tDir("x"), tFile("x/f", "1")}, []string{"x/ opaque", "x/f: 1"}, nil},
		{"after directory", entries{tDir("x"), tFile("x/f", "1"), tWh("x")}, []string{"x/ opaque", "x/f: 1"}, nil},
		{"then implicit directory", entries{tWh("x"), tFile("x/y/f", "1")}, []string{"x/ opaque", "x/y/", "x/y/f: 1"}, nil},
		{"after implicit directory", entries{tFile("x/y/f", "1"), tWh("x")}, []string{"x/ opaque", "x/y/", "x/y/f: 1"}, nil},
		{"then file", entries{tWh("x"), tFile("x", "1")}, []string{"x: 1"}, nil},
		{"after file", entries{tFile("x", "1"), tWh("x")}, []string{"x: 1"}, nil},
		{"then symlink", entries{tWh("x"), tSym("x", "y")}, []string{"x -> y"}, nil},
		{"after symlink", entries{tSym("x", "y"), tWh("x")}, []string{"x -> y"}, nil},
		{"then hard link", entries{tFile("f", "1"), tWh("x"), tLink("x", "f")}, []string{"f: 1", "x = f"}, nil},
		{"then pending link", entries{tWh("x"), tLink("x", "f")}, nil, []string{"link x = f"}},
		{"after pending link", entries{tLink("x", "f"), tWh("x")}, nil, []string{"link x = f"}},
		{"then file then directory", entries{tWh("x"), tFile("x", "1"), tDir("x")}, []string{"x/ opaque"}, nil},
		{"then directory then file", entries{tWh("x"), tDir("x"), tFile("x", "1")}, []string{"x: 1"}, nil},
		{"twice", entries{tWh("x"), tWh("x")}, []string{"x whiteout"}, []string{"whiteout x"}},
		{"of a directory entry's type", entries{testtar.Dir(".wh.x")}, []string{"x whiteout"}, []string{"whiteout x"}},
		{"through symlink", entries{tDir("d"), tSym("l", "d"), tWh("l/x")}, []string{"d/", "d/x whiteout", "l -> d"}, []string{"whiteout d/x"}},
		{"of a name like a whiteout", entries{tFile(".wh.a.wh.b", "")}, []string{"a.wh.b whiteout"}, []string{"whiteout a.wh.b"}},
		{"of dots", entries{tFile(".wh....", ""), tFile(".wh..a", "")}, []string{"... whiteout", ".a whiteout"}, []string{"whiteout ...", "whiteout .a"}},
		{"many", entries{tWh("c"), tWh("a"), tDir("b"), tWh("b/z"), tWh("b/y")}, []string{"a whiteout", "b/", "b/y whiteout", "b/z whiteout", "c whiteout"}, []string{"whiteout a", "whiteout c", "whiteout b/y", "whiteout b/z"}},
		{"in a replaced directory", entries{tDir("d"), tWh("d/x"), tFile("d", "f"), tDir("d"), tFile("d/y", "")}, []string{"d/", "d/y: "}, nil},
	})
}

func TestOpaque(t *testing.T) {
	runRules(t, []ruleTest{
		{"first", entries{tDir("d"), tOpq("d"), tFile("d/f", "1")}, []string{"d/ opaque", "d/f: 1"}, nil},
		{"last", entries{tDir("d"), tFile("d/f", "1"), tOpq("d")}, []string{"d/ opaque", "d/f: 1"}, nil},
		{"between", entries{tDir("d"), tFile("d/e", "1"), tOpq("d"), tFile("d/f", "1")}, []string{"d/ opaque", "d/e: 1", "d/f: 1"}, nil},
		{"nested", entries{tDir("d"), tOpq("d"), tDir("d/e"), tOpq("d/e"), tFile("d/e/f", "")}, []string{"d/ opaque", "d/e/ opaque", "d/e/f: "}, nil},
		{"implicit keeps its metadata below", entries{tOpq("d"), tFile("d/e/f", "")}, []string{"d/ opaque", "d/e/", "d/e/f: "}, []string{"implicit d"}},
		{"before its directory", entries{tOpq("d"), tDir("d", tMode(0o700))}, []string{"d/ opaque 0700"}, nil},
		{"whiteouts inside", entries{tDir("d"), tWh("d/x"), tOpq("d"), tDir("d/e"), tWh("d/e/y")}, []string{"d/ opaque", "d/e/"}, nil},
		{"whiteouts inside a new directory", entries{tWh("d"), tDir("d"), tWh("d/x")}, []string{"d/ opaque"}, nil},
		{"through symlink", entries{tDir("d"), tSym("l", "/d"), tOpq("l")}, []string{"d/ opaque", "l -> /d"}, nil},
		{"replaced", entries{tDir("d"), tOpq("d"), tFile("d", "1"), tDir("d")}, []string{"d/"}, nil},
		{"root", entries{tOpq(""), tFile("d/e/f", ""), tDir("g"), tWh("x")}, []string{"./ opaque", "d/ opaque", "d/e/", "d/e/f: ", "g/ opaque", "x whiteout"}, []string{"whiteout x", "opaque root"}},
		{"AUFS leftovers", entries{tFile(".wh..wh.aufs", ""), tDir(".wh..wh.orph"), tFile(".wh..wh.orph/1", ""), tDir("a"), tFile("a/.wh..wh.foo", ""), tDir("a/.wh..wh.plnk"), tFile("a/.wh..wh..opq/x", "")}, []string{"a/"}, nil},
		{"AUFS links", entries{tDir(".wh..wh.plnk"), tFile(".wh..wh.plnk/1.2", "1"), tLink("a", ".wh..wh.plnk/1.2"), tLink("b", ".wh..wh.plnk/1.2")}, []string{"a: 1", "b = a"}, nil},
	})
}

func TestReplace(t *testing.T) {
	runRules(t, []ruleTest{
		{"file by file", entries{tFile("a", "1"), tFile("a", "2", tMode(0o600))}, []string{"a: 2 0600"}, nil},
		{"file by directory", entries{tFile("a", "1"), tDir("a"), tFile("a/b", "2")}, []string{"a/", "a/b: 2"}, nil},
		{"directory by file", entries{tDir("a"), tFile("a/b/c", "2"), tFile("a", "1")}, []string{"a: 1"}, nil},
		{"directory by symlink", entries{tDir("a"), tDir("b"), tFile("a/x", "1"), tSym("a", "b"), tFile("a/y", "2")}, []string{"a -> b", "b/", "b/y: 2"}, nil},
		{"symlink by directory", entries{tDir("b"), tSym("a", "b"), tFile("a/x", "1"), tDir("a"), tFile("a/y", "2")}, []string{"a/", "a/y: 2", "b/", "b/x: 1"}, nil},
		{"symlink by symlink", entries{tSym("a", "b"), tSym("a", "c")}, []string{"a -> c"}, nil},
		{"directory by directory", entries{tDir("a"), tFile("a/x", "1"), tDir("a", tMode(0o711))}, []string{"a/ 0711", "a/x: 1"}, nil},
		{"implicit by explicit", entries{tFile("a/x", "1"), tDir("a", tMode(0o711))}, []string{"a/ 0711", "a/x: 1"}, nil},
		{"file by FIFO", entries{tFile("a", "1"), testtar.Fifo("a")}, []string{"a fifo  0600"}, nil},
		{"FIFO by file", entries{testtar.Fifo("a"), tFile("a", "1")}, []string{"a: 1"}, nil},
		{"file by hard link", entries{tFile("a", "1"), tFile("b", "2"), tLink("b", "a")}, []string{"a: 1", "b = a"}, nil},
		{"one of two hard links", entries{tFile("a", "1"), tLink("b", "a"), tFile("a", "2")}, []string{"a: 2", "b: 1"}, nil},
		{"hard link by directory", entries{tFile("a", "1"), tLink("b", "a"), tDir("b")}, []string{"a: 1", "b/"}, nil},
		{"directory by hard link", entries{tFile("a", "1"), tDir("b"), tFile("b/c", ""), tLink("b", "a")}, []string{"a: 1", "b = a"}, nil},
		{"pending link by file", entries{tLink("b", "a"), tFile("b", "1")}, []string{"b: 1"}, nil},
		{"pending link by directory", entries{tLink("b", "a"), tDir("b")}, []string{"b/"}, nil},
		{"pending link's directory by file", entries{tLink("d/b", "a"), tFile("d", "1")}, []string{"d: 1"}, nil},
		{"file by pending link", entries{tFile("b", "1"), tLink("b", "a")}, nil, []string{"link b = a"}},
		{"directory by pending link", entries{tFile("b/c", "1"), tLink("b", "a")}, nil, []string{"link b = a"}},
		{"pending link by pending link", entries{tLink("b", "a"), tLink("b", "c")}, nil, []string{"link b = c"}},
	})
}

func TestHardLinks(t *testing.T) {
	runRules(t, []ruleTest{
		{"chain", entries{tFile("a", "1"), tLink("b", "a"), tLink("c", "b"), tLink("d/e", "/c")}, []string{"a: 1", "b = a", "c = a", "d/", "d/e = a"}, []string{"implicit d"}},
		{"to symlink", entries{tSym("l", "/etc/passwd"), tLink("b", "l")}, []string{"b -> /etc/passwd", "l = b"}, nil},
		{"through symlink", entries{tDir("d"), tFile("d/f", "1"), tSym("l", "d"), tLink("b", "l/f")}, []string{"b: 1", "d/", "d/f = b", "l -> d"}, nil},
		{"to lower", entries{tLink("b", "usr/bin/a"), tLink("c", "b")}, nil, []string{"link b = usr/bin/a", "link c = b"}},
		{"to lower through symlink", entries{tSym("l", "usr/lib"), tLink("b", "l/../x")}, []string{"l -> usr/lib"}, []string{"link b = x"}},
		{"to lower below symlink", entries{tSym("l", "usr/lib"), tLink("b", "l/f")}, []string{"l -> usr/lib"}, []string{"link b = usr/lib/f"}},
		{"to later", entries{tLink("b", "a"), tFile("a", "1")}, []string{"a: 1"}, []string{"link b = a"}},
		{"to whiteout", entries{tWh("a"), tLink("b", "a")}, []string{"a whiteout"}, []string{"link b = a", "whiteout a"}},
		{"to itself", entries{tFile("a", "1"), tLink("a", "./a")}, []string{"a: 1"}, nil},
		{"to itself below", entries{tLink("a", "a")}, nil, []string{"link a = a"}},
		{"to what it replaces", entries{tFile("d/f", "1"), tLink("d", "d/f")}, nil, []string{"link d = d/f"}},
		{"to FIFO", entries{testtar.Fifo("a"), tLink("b", "a")}, []string{"a fifo  0600", "b fifo  0600"}, nil},
		{"metadata is the target's", entries{tFile("a", "1", tMode(0o600)), tLink("b", "a", tMode(0o777))}, []string{"a: 1 0600", "b = a 0600"}, nil},
	})
}

func TestNames(t *testing.T) {
	long := strings.Repeat("n", 255)
	runRules(t, []ruleTest{
		{"empty layer", nil, nil, nil},
		{"dot slash", entries{tDir("./"), tDir("./a/"), tFile("./a/./b", "1"), tFile(".//c", "2")}, []string{"a/", "a/b: 1", "c: 2"}, nil},
		{"absolute", entries{tDir("/a"), tFile("//a//b", "1"), tFile("/../c", "2")}, []string{"a/", "a/b: 1", "c: 2"}, nil},
		{"dots inside", entries{tFile("a/../b", "1"), tFile("c/d/../../e", "2")}, []string{"b: 1", "e: 2"}, nil},
		{"any bytes", entries{tFile("\xff\xfe\n\t\\ \"", "1"), tFile("\u00e4", "2"), tFile(" ", "3"), tFile("-rf", "4")}, []string{"\xff\xfe\n\t\\ \": 1", "\u00e4: 2", " : 3", "-rf: 4"}, nil},
		{"255 bytes", entries{tFile(long+"/"+long, "1")}, []string{long + "/", long + "/" + long + ": 1"}, []string{"implicit " + long}},
		{"trailing slash on a file", entries{tFile("f", "1"), testtar.Raw(testtar.Header(testtar.Fields{Type: '0', Name: "g/", Mode: "0000644"}, []byte("x")))}, []string{"f: 1", "g: x"}, nil},
		{"trailing slash in v7", entries{testtar.Raw(testtar.Header(testtar.Fields{Name: "g/", Mode: "0000755", Magic: "\x00"}, nil))}, []string{"g/"}, nil},
		{"symlink inside to the root", entries{tSym("l", "/"), tFile("l/f", "1")}, []string{"f: 1", "l -> /"}, nil},
		{"symlink above the root", entries{tSym("l", "../../.."), tFile("l/f", "1")}, []string{"f: 1", "l -> ../../.."}, nil},
		{"chain of symlinks", entries{tSym("a", "b/x"), tSym("b", "c/."), tFile("a/f", "1")}, []string{"a -> b/x", "b -> c/.", "c/", "c/x/", "c/x/f: 1"}, []string{"implicit c", "implicit c/x"}},
		{"stargz index", entries{tFile("stargz.index.json", "{}"), tFile(".prefetch.landmark", "\xf0")}, []string{"stargz.index.json: {}", ".prefetch.landmark: \xf0"}, nil},
		{"no trailer", entries{testtar.Raw(testtar.Cut(tFile("a", "1")))}, []string{"a: 1"}, nil},
		{"garbage after the end", entries{tFile("a", "1"), testtar.Raw(make([]byte, 1024)), testtar.Raw([]byte("garbage"))}, []string{"a: 1"}, nil},
		{"global header", entries{testtar.Raw(testtar.Header(testtar.Fields{Type: 'g', Name: "pax_global_header"}, []byte("13 path=evil\n"))), tFile("a", "1")}, []string{"a: 1"}, nil},
		{"GNU types", entries{
			testtar.Raw(testtar.Header(testtar.Fields{Type: 'V', Name: "label"}, nil)),
			testtar.Raw(testtar.Header(testtar.Fields{Type: 'N', Name: "names"}, []byte("Rename a to b\n"))),
			testtar.Raw(testtar.Header(testtar.Fields{Type: 'D', Name: "d/", Mode: "0000755"}, []byte("Nf\x00\x00"))),
			tFile("d/f", "1"),
		}, []string{"d/", "d/f: 1"}, nil},
		{"contiguous file", entries{testtar.Raw(testtar.Header(testtar.Fields{Type: '7', Name: "a", Mode: "644"}, []byte("x")))}, []string{"a: x"}, nil},
		{"modes", entries{
			tFile("s", "", tMode(0o4755), testtar.Owner(os.Geteuid(), os.Getegid())), tFile("g", "", tMode(0o2711), testtar.Owner(os.Geteuid(), os.Getegid())), tFile("n", "", tMode(0)), tFile("w", "", tMode(0o666)),
			tDir("t", tMode(0o1777)), tDir("sg", tMode(0o2775)), tFile("sg/f", ""), tDir("sg/d"), tDir("ro", tMode(0o555)), tFile("ro/f", ""), tFile("i/d", "1"),
		}, []string{"s:  4755", "g:  2711", "n:  0000", "w:  0666", "t/ 1777", "sg/ 2775", "sg/f: ", "sg/d/", "ro/ 0555", "ro/f: ", "i/", "i/d: 1"}, []string{"implicit i"}},
	})
}

func TestRootEntry(t *testing.T) {
	_, res, err := apply(t, testtar.Tar(tDir("./")), unpack.Options{})
	if err != nil || !res.Pending.Empty() {
		t.Errorf("layer with a root entry: pending %v, error %v", res.Pending, err)
	}
	dir, res, err := apply(t, testtar.Tar(), unpack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"."}, res.Pending.ImplicitDirs); d != "" {
		t.Errorf("empty layer: implicit directories (-want +got):\n%s", d)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode&0o7777 != 0o755 || st.Mtim.Nano() != 0 {
		t.Errorf("implicit root: mode %o time %d, want 755 at 0", st.Mode&0o7777, st.Mtim.Nano())
	}
}
