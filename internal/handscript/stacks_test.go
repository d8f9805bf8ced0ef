package handscript_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/teststack"
	"github.com/byhand/byhand/internal/testtar"
)

type entries = []testtar.Entry

// stack is a named image of odd layers.
type stack struct {
	name   string
	layers []entries
}

func stacks() []stack {
	dir, file, link, symlink := testtar.Dir, testtar.File, testtar.Link, testtar.Symlink
	mode, owner, xattr, at := testtar.Mode, testtar.Owner, testtar.Xattr, func(sec, nsec int64) testtar.Option { return testtar.ModTime(time.Unix(sec, nsec)) }
	const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	return []stack{
		{"kinds", []entries{{
			dir("d", mode(0o1770), owner(70000, 80000), at(1e9, 123456789)), file("d/suid", "x", mode(0o6755), owner(5, 6)),
			file("ping", "p", xattr("security.capability", capability), xattr("user.a", "nul\x00\n'\"")), symlink("abs", "/d/suid", owner(3, 4), at(5, 6)),
			symlink("dangling", "../../nowhere"), testtar.Fifo("fifo"), testtar.Char("null", 1, 3, mode(0o666)), testtar.Block("sda", 8, 0),
			testtar.Char("zero", 0, 0), link("d/hard", "d/suid"), file("old", "1", at(-5, 500000000)), file("empty", ""),
			file("markers", "m", xattr("trusted.overlay.opaque", "y"), xattr("user.overlay.x", "y")), symlink("marked", "x", xattr("trusted.t", "v")),
		}}},
		{"whiteouts in any order", []entries{
			{dir("a"), file("a/1", "1"), file("a/2", "2"), dir("b"), file("b/1", "1"), file("c", "c"), dir("e"), file("e/f", "f")},
			{file("a/1", "new"), testtar.Whiteout("a/1"), testtar.Whiteout("a/2"), file("b/2", "2"), testtar.Opaque("b"), testtar.Whiteout("c"), dir("c"), file("c/x", "x"), testtar.Whiteout("e"), testtar.Whiteout("nothing/here")},
			{dir("e", mode(0o700)), testtar.Whiteout("c/x"), testtar.Opaque("")},
			{file("root", "r")},
		}},
		{"implicit parents", []entries{
			{dir("etc", mode(0o711), owner(7, 8), at(77, 0), xattr("user.keep", "me")), dir("usr", at(1, 0)), dir("usr/lib", mode(0o750), at(2, 0)), file("usr/lib/old", "o"), symlink("lib", "usr/lib"), symlink("abs", "/usr/new"), symlink("loop", "loop"), file("plain", "p")},
			{file("etc/new", "n"), file("lib/x", "x", owner(9, 9), xattr("user.x", "1")), dir("lib/sub", mode(0o700), at(9, 9)), file("lib/sub/y", "y"), link("lib/z", "lib/x"), file("abs/made", "m"), file("loop/in", "i"), file("plain/in", "i"), testtar.Whiteout("lib/old")},
			{file("lib/sub/again", "a"), testtar.Opaque("lib/sub")},
		}},
		{"hard links to lower files", []entries{
			{file("a", "a", owner(1, 1), mode(0o4755)), symlink("s", "a"), dir("d"), file("d/b", "b")},
			{link("x/a", "a"), link("sl", "s"), testtar.Whiteout("d/b"), link("d/c", "d/b"), link("later", "z"), file("z", "z")},
			{link("y", "x/a"), link("w", "y"), testtar.Whiteout("a")},
		}},
		{"names that come twice", []entries{
			{file("f", "one"), file("f", "two"), dir("d", mode(0o700)), file("d/x", "x"), dir("d", mode(0o711), xattr("user.d", "d")), file("g", "g"), symlink("g", "f"), dir("h"), file("h/i", "i"), file("h", "now a file"), link("l", "f"), file("f", "three")},
			{dir("f"), file("f/in", "x"), file("d", "file")},
		}},
		{"odd names", []entries{{
			file("./dot", "1"), file("/abs", "2"), file("a/../b", "3"), file("x//y", "4"), dir("new\nline"), file("new\nline/f", "5"), file("-dash", "6"), file("sp ace ", "7"),
			file("quote'\"`$(touch pwned)", "8"), file("back\\slash\\n", "9"), file("star*?[a]", "10"), file("\x01\x1b[31m\x7f\xff\xfe", "11"), file("ü", "12"), link("hard\n", "new\nline/f"),
			symlink("sym", "-target\n"),
		}, {testtar.Whiteout("-dash"), testtar.Whiteout("quote'\"`$(touch pwned)"), testtar.Whiteout("\x01\x1b[31m\x7f\xff\xfe"), testtar.Whiteout("sp ace "), file("new\nline/g", "6"), testtar.Opaque("new\nline"), link("trail\n\n", "ü")}}},
		{"children first", []entries{
			{file("p/q/f", "f"), dir("p/q", mode(0o700), xattr("user.q", "q")), dir("p", mode(0o755), at(5, 5)), symlink("p/q/s", "/x")},
		}},
		{"through a link of the same layer", []entries{
			{dir("real"), symlink("l", "real"), file("l/x", "x"), symlink("m", "/real"), file("m/y", "y"), testtar.Whiteout("l/z")},
		}},
		{"default access control list", []entries{
			{dir("d", xattr("system.posix_acl_default", "\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x04\x00\x05\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff")), file("d/a", "a"), file("d/b", "b"), file("d/b", "c")},
			{file("d/sub/c", "c")},
		}},
		{"leftovers of AUFS", []entries{
			{file(".wh..wh.aufs", ""), dir(".wh..wh.plnk"), file(".wh..wh.plnk/12.34", "linked"), link("a", ".wh..wh.plnk/12.34"), link("b", ".wh..wh.plnk/12.34"), file("dir/.wh..wh.x", "")},
		}},
		{"a directory replaced", []entries{
			{dir("d", xattr("user.gone", "1")), file("d/x", "x"), symlink("t", "d"), file("f", "f")},
			{dir("d", mode(0o700), xattr("user.new", "2")), symlink("f", "d"), dir("t")},
			{file("d", "f"), dir("f"), file("f/x", "x")},
		}},
	}
}

func tars(layers []entries) [][]byte {
	var out [][]byte
	for _, l := range layers {
		out = append(out, testtar.Tar(l...))
	}
	return out
}

// TestStacks compares what scripts make of odd layers with what byhand makes.
func TestStacks(t *testing.T) {
	needTools(t)
	for n, s := range stacks() {
		t.Run(s.name, func(t *testing.T) {
			img := newImage(t, ocispec.ImageConfig{}, tars(s.layers)...)
			lower, tree := img.reference()
			script := img.script(nil)
			img.checkOverlay(shells()[n%3], script, lower, tree)
			img.checkFlat(shells()[(n+1)%3], tree)
			if n%3 == 0 {
				shellcheck(t, script)
			}
		})
	}
}

// random is how many random stacks a run compares; BYHAND_SCRIPT_SEEDS=FROM-TO
// names others.
const random = 16

// TestRandomStacks does the same for random layers, as far as byhand does not
// refuse them.
func TestRandomStacks(t *testing.T) {
	needTools(t)
	from, to, done := uint64(1), uint64(10*random), 0
	many := random
	if v := os.Getenv("BYHAND_SCRIPT_SEEDS"); v != "" {
		if _, err := fmt.Sscanf(v, "%d-%d", &from, &to); err != nil {
			t.Fatalf("BYHAND_SCRIPT_SEEDS=%s: expected FROM-TO", v)
		}
		many = int(to - from)
	}
	for seed := from; seed <= to && done < many; seed++ {
		s := teststack.Random(seed)
		var layers [][]byte
		for _, l := range s.Layers {
			layers = append(layers, l.Tar())
		}
		if refused(t, layers) {
			continue
		}
		done++
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			img := newImage(t, ocispec.ImageConfig{}, layers...)
			lower, tree := img.reference()
			img.checkOverlay(shells()[seed%3], img.script(nil), lower, tree)
			if seed%3 == 0 {
				img.checkFlat(shells()[seed/3%3], tree)
			}
			if t.Failed() {
				t.Log(s)
			}
		})
	}
	if done < many/2 {
		t.Errorf("compared %d stacks, expected %d: too many are refused", done, many)
	}
}

type memory []byte

func (m memory) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(m)), nil
}

// refused tells whether byhand takes the layers for hostile or malformed.
func refused(t *testing.T, layers [][]byte) bool {
	t.Helper()
	var sources []imagetree.Source
	for _, l := range layers {
		sources = append(sources, memory(l))
	}
	_, err := imagetree.Build(t.Context(), sources, imagetree.Options{})
	return err != nil
}
