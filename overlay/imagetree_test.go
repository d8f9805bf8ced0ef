package overlay_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/internal/treecmp"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/unpack"
)

// memory is a layer for imagetree.
type memory []byte

func (m memory) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(m)), nil
}

func buildTree(layers [][]byte, limits unpack.Limits) (*imagetree.Tree, error) {
	var sources []imagetree.Source
	for _, l := range layers {
		sources = append(sources, memory(l))
	}
	return imagetree.Build(context.Background(), sources, imagetree.Options{Limits: limits})
}

// exportTree reads the tar that the layers are exported as, which must be the
// same bytes each time.
func exportTree(t *testing.T, layers [][]byte) map[string]string {
	t.Helper()
	tree, err := buildTree(layers, unpack.Limits{})
	if err != nil {
		t.Error(err)
		return nil
	}
	return readExport(t, tree)
}

func readExport(t *testing.T, tree *imagetree.Tree) map[string]string {
	t.Helper()
	var raw, again bytes.Buffer
	for _, w := range []io.Writer{&raw, &again} {
		if err := tree.Export(context.Background(), w); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(raw.Bytes(), again.Bytes()) {
		t.Error("exporting again gave other bytes")
	}
	out := map[string]desc{}
	ids := map[string]uint64{}
	groups := map[[2]uint64][]string{}
	r := tar.NewReader(&raw)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return grouped(out, groups)
		}
		if err != nil {
			t.Fatal(err)
		}
		name := path.Clean(h.Name)
		if before, twice := out[name]; twice {
			if before.kind != "dir" || before != tarDesc(t, h, r) {
				t.Errorf("%q twice", name)
			}
			continue
		}
		if h.Typeflag == tar.TypeLink {
			if _, ok := out[h.Linkname]; !ok {
				t.Errorf("%q is a link to %q, which is not there yet", name, h.Linkname)
			}
			out[name] = out[h.Linkname]
			ids[name] = ids[h.Linkname]
		} else {
			ids[name] = uint64(len(ids) + 1)
			out[name] = tarDesc(t, h, r)
		}
		if h.Typeflag != tar.TypeDir {
			id := [2]uint64{0, ids[name]}
			groups[id] = append(groups[id], name)
		}
	}
}

func tarDesc(t *testing.T, h *tar.Header, r io.Reader) desc {
	t.Helper()
	kinds := map[byte]string{
		tar.TypeReg: "file", tar.TypeDir: "dir", tar.TypeSymlink: "symlink",
		tar.TypeFifo: "fifo", tar.TypeChar: "char", tar.TypeBlock: "block",
	}
	d := desc{
		kind: kinds[h.Typeflag], mode: uint32(h.Mode), uid: uint32(h.Uid), gid: uint32(h.Gid),
		mtime: h.ModTime.UnixNano(), target: h.Linkname,
	}
	xattrs := map[string]string{}
	for k, v := range h.PAXRecords {
		if attr, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
			xattrs[attr] = v
		}
	}
	d.mark = marks(xattrs)
	if d.kind == "char" || d.kind == "block" {
		d.target = fmt.Sprintf("%d:%d", h.Devmajor, h.Devminor)
	}
	if d.kind == "file" {
		raw, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		d.content = sum(raw)
	}
	return d
}

// handMade are stacks of layers that each show one rule, or that are refused.
func handMade() map[string][][]testtar.Entry {
	at := func(sec, nsec int64) testtar.Option { return testtar.ModTime(time.Unix(sec, nsec)) }
	long := strings.Repeat("n", 255)
	d := testtar.Dir("d", testtar.Mode(0o2750), testtar.Owner(3, 4), at(7, 8), testtar.Xattr("user.k", "v"))
	old := testtar.File("d/old", "old")
	one := func(e ...testtar.Entry) [][]testtar.Entry { return [][]testtar.Entry{e} }
	on := func(lower []testtar.Entry, e ...testtar.Entry) [][]testtar.Entry { return [][]testtar.Entry{lower, e} }
	type list = []testtar.Entry
	return map[string][][]testtar.Entry{
		"odd entries":                      one(oddLayer()...),
		"names":                            one(testtar.File("./a//b/./c", "1"), testtar.File("/abs", "2"), testtar.Dir("t/"), testtar.File("x/../y", "3")),
		"name out":                         one(testtar.File("../x", "")),
		"link target out":                  one(testtar.File("a", ""), testtar.Link("b", "../a")),
		"absolute name out":                one(testtar.File("/../x", "1")),
		"255 bytes":                        one(testtar.File(long+"/"+long, "")),
		"256 bytes":                        one(testtar.File(long+"n", "")),
		"256 bytes on the way":             one(testtar.File(long+"n/f", "")),
		"256 bytes hidden":                 one(testtar.File(".wh."+long+"n", "")),
		"256 bytes linked to":              one(testtar.Link("a", long+"n")),
		"empty symbolic link":              one(testtar.Symlink("a", "")),
		"symbolic link too long":           one(testtar.Symlink("a", strings.Repeat("t", 4096))),
		"root is a file":                   one(testtar.File(".", "")),
		"whiteout of nothing":              one(testtar.File(".wh.", "")),
		"whiteout of the parent":           one(testtar.File("a/.wh...", "")),
		"device 0:0":                       one(testtar.Char("w", 0, 0), testtar.Char("no/w", 0, 0), testtar.Block("b", 0, 0)),
		"device too large":                 one(testtar.Char("c", 0x1000, 0)),
		"owner too large":                  one(testtar.File("f", "", testtar.Owner(1<<32-1, 0))),
		"owner below 0":                    one(testtar.File("f", "", testtar.PAX("uid", "-1"))),
		"largest owner":                    one(testtar.File("f", "", testtar.Owner(1<<32-2, 1<<32-2))),
		"unknown type":                     one(testtar.File("f", "", testtar.Type('Z'))),
		"labels":                           one(testtar.File("f", "", testtar.Type('V')), testtar.Dir("g", testtar.Type('D'))),
		"overlay attributes":               one(testtar.File("f", "", testtar.Xattr("trusted.overlay.opaque", "y")), testtar.Dir("g", testtar.Xattr("user.overlay.opaque", "y"))),
		"attribute with no name":           one(testtar.File("f", "", testtar.PAX("SCHILY.xattr.", "v"))),
		"attribute name too long":          one(testtar.File("f", "", testtar.Xattr("user."+long, "v"))),
		"attribute too large":              one(testtar.File("f", "", testtar.Xattr("trusted.x", strings.Repeat("v", 65537)))),
		"attributes of foreign systems":    one(testtar.File("f", "", testtar.Xattr("com.apple.provenance", "v"), testtar.Xattr("user.", "v"))),
		"user attribute of a link":         one(testtar.Symlink("s", "x", testtar.Xattr("user.k", "v"), testtar.Xattr("trusted.k", "v"))),
		"attributes of a directory, twice": one(testtar.Dir("d", testtar.Xattr("user.a", "1"), testtar.Xattr("user.b", "2")), testtar.Dir("d", testtar.Xattr("user.b", "3"))),
		"last wins":                        one(testtar.File("a", "1"), testtar.Symlink("a", "x"), testtar.Dir("a"), testtar.File("a/f", ""), testtar.File("a", "2")),
		"directory twice":                  one(testtar.Dir("a", testtar.Mode(0o700)), testtar.File("a/f", ""), testtar.Dir("a", at(5, 0))),
		"file on the way":                  one(testtar.File("a", ""), testtar.File("a/f", "")),
		"own link on the way":              one(testtar.Symlink("a", "/../b/c"), testtar.File("a/f", "1"), testtar.File("b/c/f", "2")),
		"own links in circles":             one(testtar.Symlink("a", "b"), testtar.Symlink("b", "a"), testtar.File("a/f", "")),
		"hard links":                       one(testtar.File("b", "1"), testtar.Link("c", "b"), testtar.Link("a", "c"), testtar.Symlink("s", "b"), testtar.Link("t", "s"), testtar.Fifo("p"), testtar.Link("q", "p")),
		"hard link to itself":              one(testtar.File("a", "1"), testtar.Link("a", "a")),
		"hard link to a directory":         one(testtar.Dir("a"), testtar.Link("b", "a")),
		"hard link to the root":            one(testtar.Link("b", "/")),
		"hard link to nothing":             one(testtar.Link("b", "a")),
		"hard link to a later name":        one(testtar.Link("b", "a"), testtar.File("a", "1")),
		"hard link to a later hard link":   one(testtar.Link("b", "a"), testtar.Link("a", "c"), testtar.File("c", "1")),
		"hard link over what holds it":     one(testtar.File("a/f", "1"), testtar.Link("a", "a/f")),
		"hard link's target replaced":      one(testtar.File("a", "1"), testtar.Link("b", "a"), testtar.File("a", "2")),
		"hard link replaced":               on(list{testtar.File("a", "1")}, testtar.Link("b", "a"), testtar.File("b", "2")),
		"path through a hard link to come": on(list{testtar.File("a", "1")}, testtar.Link("b", "a"), testtar.File("b/f", "")),
		"hard link to a lower file":        on(list{old, testtar.Link("h", "d/old")}, testtar.Link("i", "d/old"), testtar.Link("j", "i")),
		"hard link to what is deleted":     on(list{old}, testtar.Whiteout("d/old"), testtar.Link("i", "d/old")),
		"hard link to a replaced file":     on(list{testtar.File("f", "old")}, testtar.Link("h", "f"), testtar.File("f", "new")),
		"AUFS": one(testtar.File(".wh..wh.aufs", ""), testtar.Dir(".wh..wh.plnk"), testtar.File(".wh..wh.plnk/1.2", "x"),
			testtar.Link("f", ".wh..wh.plnk/1.2"), testtar.Dir(".wh..wh.orph"), testtar.File(".wh..wh.orph/x", "")),
		"implicit directory":               on(list{d}, testtar.File("d/f", "")),
		"explicit directory":               on(list{d, old}, testtar.Dir("d", at(9, 0)), testtar.File("d/f", "")),
		"implicit root":                    on(list{testtar.Dir("./", testtar.Mode(0o711), at(5, 0))}, testtar.File("f", "")),
		"whiteout before":                  on(list{d, old}, testtar.Whiteout("d"), testtar.File("d/f", "")),
		"whiteout after":                   on(list{d, old}, testtar.File("d/f", ""), testtar.Whiteout("d")),
		"whiteout of a file made anew":     on(list{testtar.File("f", "1")}, testtar.File("f", "2"), testtar.Whiteout("f")),
		"whiteout in a new directory":      on(list{}, testtar.Dir("x"), testtar.Whiteout("x/y")),
		"whiteout in nothing, all named":   on(list{}, testtar.Dir("./"), testtar.Dir("x"), testtar.Whiteout("x/y")),
		"whiteout in an opaque directory":  on(list{d, old}, testtar.Whiteout("d/old"), testtar.Opaque("d")),
		"opaque":                           on(list{d, old}, testtar.File("d/f", ""), testtar.Opaque("d"), testtar.File("d/g", "")),
		"opaque of nothing":                on(list{}, testtar.Opaque("x/y")),
		"opaque root":                      on(list{d, old, testtar.File("g", "")}, testtar.File("d/f", ""), testtar.Opaque("")),
		"three layers":                     {{d, old, testtar.File("x", "1")}, {testtar.Whiteout("d"), testtar.Whiteout("x")}, {testtar.File("d/f", ""), testtar.Dir("x")}},
		"types replaced":                   on(list{testtar.File("a", "1"), testtar.Dir("b"), testtar.File("b/x", ""), testtar.Symlink("c", "b")}, testtar.Dir("a"), testtar.File("b", "2"), testtar.Fifo("c")),
		"through a link":                   on(list{testtar.Symlink("lib", "usr/lib"), testtar.Dir("usr/lib", testtar.Mode(0o700))}, testtar.File("lib/f", "")),
		"through a link that leads out":    on(list{testtar.Symlink("d/l", "/../../x")}, testtar.File("d/l/f", "")),
		"through a chain to nothing":       on(list{testtar.Symlink("a", "b/c"), testtar.Symlink("b", "/e")}, testtar.File("a/sub/f", "")),
		"through a circle":                 on(list{testtar.Symlink("a", "b"), testtar.Symlink("b", "a")}, testtar.File("a/f", "")),
		"through a link to a file":         on(list{testtar.Symlink("a", "f"), testtar.File("f", "")}, testtar.File("a/g", "")),
		"a file in the way":                on(list{testtar.File("a", "x")}, testtar.File("a/g", "")),
		"a long name through a link":       on(list{testtar.Symlink("a", "no/"+long+"n")}, testtar.File("a/g", "")),
		"whiteout through a link":          on(list{testtar.Symlink("lib", "usr/lib"), testtar.File("usr/lib/f", "")}, testtar.Whiteout("lib/f")),
		"opaque through a link":            on(list{testtar.Symlink("lib", "usr/lib"), testtar.File("usr/lib/f", "")}, testtar.Opaque("lib"), testtar.File("lib/g", "")),
		"hard link through links":          on(list{testtar.Symlink("lib", "usr/lib"), testtar.File("usr/lib/f", "old")}, testtar.File("usr/lib/f", "new"), testtar.Link("lib/g", "lib/f")),
		"two ways to one place":            on(list{testtar.Symlink("lib", "usr/lib"), testtar.Dir("usr/lib")}, testtar.File("lib/d/f", ""), testtar.Dir("usr/lib/d", testtar.Mode(0o700)), testtar.File("usr/lib/d/g", "")),
		"empty layers":                     {{}, {}, {}},
		"bytes after the end":              one(testtar.File("f", "1"), testtar.Raw(make([]byte, 4096)), testtar.Raw([]byte("rest"))),
		"cut off":                          one(testtar.Raw(testtar.Tar(testtar.File("f", "content"))[:514])),
		"checksum":                         one(testtar.Raw([]byte(strings.Repeat("x", 512)))),
		"times before 1970 and far ahead":  one(testtar.File("a", "", at(-5, 500_000_000)), testtar.File("b", "", at(-1, 999_999_999)), testtar.File("c", "", at(1<<33, 1))),
		"metadata only":                    on(list{testtar.File("f", "1"), d}, testtar.File("f", "1", testtar.Mode(0o4711), testtar.Owner(5, 6)), testtar.Dir("d", testtar.Mode(0o1777))),
		"deleted directory made a link":    {{d, old}, {testtar.Symlink("d", "e"), testtar.Dir("e")}, {testtar.File("d/f", "")}},
		"many names, one file over layers": {{testtar.File("z", "1")}, {testtar.Link("a", "z")}, {testtar.Link("m", "a"), testtar.Whiteout("z")}},
		"PAX sizes and sparse files":       one(testtar.File("s", "12345", testtar.PAX("GNU.sparse.major", "0"), testtar.PAX("GNU.sparse.minor", "1"), testtar.PAX("GNU.sparse.numblocks", "2"), testtar.PAX("GNU.sparse.map", "100,2,70000,3"), testtar.PAX("GNU.sparse.size", "80000"))),
	}
}

// TestImageTreeRules compares the tree in memory with the layers unpacked,
// settled and flattened: the same tree, or refused by both.
func TestImageTreeRules(t *testing.T) {
	testneed.Root(t)
	refused := 0
	for name, layers := range handMade() {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			var dirs []string
			var raw [][]byte
			for i, entries := range layers {
				raw = append(raw, testtar.Tar(entries...))
				dir := filepath.Join(root, fmt.Sprint("layer", i+1))
				diskErr := layerDir(t, dir, dirs, false, raw[i])
				tree, err := buildTree(raw, unpack.Limits{})
				if (err != nil) != (diskErr != nil) {
					t.Fatalf("layer %d: on disk %v, in memory %v", i+1, diskErr, err)
				}
				if err != nil {
					refused++
					sameKind(t, diskErr, err)
					return
				}
				dirs = append(dirs, dir)
				want := flatTree(t, dirs, filepath.Join(root, fmt.Sprint("flat", i+1)), false)
				if diff := cmp.Diff(want, readExport(t, tree)); diff != "" {
					t.Errorf("layer %d: in memory (+) differs from on disk (-):\n%s", i+1, diff)
				}
			}
		})
	}
	if refused < 10 {
		t.Errorf("only %d stacks were refused", refused)
	}
}

// sameKind demands that both errors are about the same entry, for the same
// cause.
func sameKind(t *testing.T, a, b error) {
	t.Helper()
	var ea, eb *unpack.EntryError
	if errors.As(a, &ea) != errors.As(b, &eb) || ea != nil && ea.Name != eb.Name {
		t.Errorf("on disk %v, in memory %v", a, b)
	}
	for _, cause := range []error{unpack.ErrEscape, unpack.ErrHostile, unix.ENAMETOOLONG, unix.EISDIR, unix.ENOTDIR, unix.ELOOP, unix.EINVAL, unix.ERANGE, unix.E2BIG, unix.ENOENT} {
		if errors.Is(a, cause) != errors.Is(b, cause) {
			t.Errorf("on disk %v, in memory %v", a, b)
		}
	}
}

func oddLayer() []testtar.Entry {
	return []testtar.Entry{
		testtar.Dir("./", testtar.Mode(0o711), testtar.ModTime(time.Unix(9, 8))),
		testtar.File("a", "1", testtar.Owner(3_000_000, 70000), testtar.Mode(0o4755), testtar.ModTime(time.Unix(-5, 0))),
		testtar.Link("b", "a"),
		testtar.File(strings.Repeat("long/", 50)+strings.Repeat("n", 255), "2", testtar.ModTime(time.Unix(1<<33, 999_999_999))),
		testtar.Symlink("s", strings.Repeat("t", 300)),
		testtar.Link("s2", "s"),
		testtar.Char("null", 1, 3), testtar.Block("sda", 8, 0), testtar.Fifo("p"),
		testtar.File("caf\xe9\nline", "3"), testtar.File("é", "4", testtar.Xattr("user.bin", "a\x00b\n")),
		testtar.File("cap", "", testtar.Xattr("security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")),
		testtar.File("d1/"+strings.Repeat("x", 90)+"/"+strings.Repeat("y", 90), "5"), testtar.Dir("d2/" + strings.Repeat("z", 97)),
		testtar.File("sparse", "12345", testtar.PAX("GNU.sparse.major", "0"), testtar.PAX("GNU.sparse.minor", "1"),
			testtar.PAX("GNU.sparse.numblocks", "2"), testtar.PAX("GNU.sparse.map", "100,2,70000,3"), testtar.PAX("GNU.sparse.size", "80000")),
	}
}

// TestExportTar gives the tar to GNU tar, whose tree must be the flat copy.
func TestExportTar(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "tar")
	root := t.TempDir()
	layers := [][]testtar.Entry{oddLayer(), {testtar.Link("again", "a"), testtar.File("d/f", "6"), testtar.Whiteout("s")}}
	dirs := stack(t, root, layers...)
	flat, gnu := filepath.Join(root, "flat"), filepath.Join(root, "gnu")
	if err := overlay.Flatten(t.Context(), dirs, flat, overlay.FlattenOptions{}); err != nil {
		t.Fatal(err)
	}
	tree, err := buildTree([][]byte{testtar.Tar(layers[0]...), testtar.Tar(layers[1]...)}, unpack.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "out.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(tree.Export(t.Context(), f), f.Close(), os.Mkdir(gnu, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "tar", "-xpf", file, "-C", gnu, "--same-owner", "--numeric-owner", "--xattrs", "--xattrs-include=*")
	if out, err := cmd.CombinedOutput(); err != nil && !strings.Contains(string(out), "implausibly old") {
		t.Fatalf("tar: %v: %s", err, out)
	}
	diffs, err := treecmp.Compare(flat, gnu, treecmp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range diffs {
		t.Error(d)
	}
}
