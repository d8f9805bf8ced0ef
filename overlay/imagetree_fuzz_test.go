package overlay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/unpack"
)

var fuzzLimits = unpack.Limits{Entries: 1000, Bytes: 1 << 20, PathDepth: 60, HeaderSize: 64 << 10, XattrSize: 8 << 10}

// FuzzImageTree makes a stack of layers of the bytes, four for an entry, and
// demands that the tree in memory is the one on disk, or that both are
// refused.
func FuzzImageTree(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3})
	f.Add([]byte{2, 1, 0x70, 0, 0, 0x11, 1, 1, 31, 0, 0, 0, 4, 0x21, 0x11, 2, 5, 1, 0, 0})
	f.Add([]byte{3, 0x10, 1, 0, 31, 0, 0, 0, 1, 0x20, 3, 0x40, 6, 0x12, 0, 0x40, 31, 0, 0, 0, 5, 0x21, 0x02, 0})
	f.Add([]byte("the quick brown fox jumps over the lazy dog, and back again, twice"))
	f.Fuzz(func(t *testing.T, program []byte) {
		comps := [16]string{"a", "b", "c", "d", ".", "..", "", ".wh.a", ".wh.b", ".wh..wh..opq", ".wh..wh.plnk", "a", "b", "c", ".wh.", "e"}
		name := func(b, more byte) string {
			return strings.Join([]string{comps[b&15], comps[b>>4], comps[more&15]}[:1+more>>6%3], "/")
		}
		layers := [][]testtar.Entry{nil}
		for ; len(program) >= 4 && len(layers) < 6; program = program[4:] {
			kind, last := program[0]&31, &layers[len(layers)-1]
			n, l := name(program[1], program[3]), name(program[2], program[3]<<2)
			meta := []testtar.Option{testtar.Mode(int64(program[0]>>5) * 0o111), testtar.ModTime(time.Unix(int64(program[3]), 5))}
			switch kind {
			case 0, 1, 2:
				*last = append(*last, testtar.Dir(n, meta...))
			case 3, 4, 5, 6:
				*last = append(*last, testtar.Symlink(n, l, meta...))
			case 7, 8, 9:
				*last = append(*last, testtar.Link(n, l, meta...))
			case 10, 11:
				*last = append(*last, testtar.Whiteout(n))
			case 12:
				*last = append(*last, testtar.Opaque(n))
			case 13:
				*last = append(*last, testtar.Char(n, int64(program[2]&1), 0))
			case 14:
				*last = append(*last, testtar.Dir(n, testtar.Xattr("user."+string('a'+rune(program[2]&3)), l)))
			case 28, 29, 30, 31:
				layers = append(layers, nil)
			default:
				*last = append(*last, testtar.File(n, l, meta...))
			}
		}
		var raw [][]byte
		for _, entries := range layers {
			raw = append(raw, testtar.Tar(entries...))
		}
		fuzzTree(t, raw)
	})
}

// FuzzImageTreeBytes takes the layers as they are, with a byte between them.
func FuzzImageTreeBytes(f *testing.F) {
	for _, layers := range handMade() {
		var seed [][]byte
		for _, entries := range layers {
			if raw := testtar.Tar(entries...); len(raw) < 32<<10 {
				seed = append(seed, raw)
			}
		}
		f.Add(bytes.Join(seed, []byte(cut)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		raw := bytes.Split(data, []byte(cut))
		fuzzTree(t, raw[:min(len(raw), 6)])
	})
}

const cut = "\x00next layer\x00"

func fuzzTree(t *testing.T, raw [][]byte) {
	t.Helper()
	size := 0
	for _, l := range raw {
		size += len(l)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	tree, err := buildTree(raw, fuzzLimits)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20+64*uint64(size) {
		t.Errorf("%d bytes allocated for layers of %d", used, size)
	}
	var entry *unpack.EntryError
	var format *unpack.FormatError
	var limit *unpack.LimitError
	if err != nil && !errors.As(err, &entry) && !errors.As(err, &format) && !errors.As(err, &limit) {
		t.Errorf("error of type %T: %v", err, err)
	}
	if os.Geteuid() != 0 {
		return // what is on disk cannot be as the layers say
	}
	// A file system in memory, if there is one: others keep less of times and
	// attributes.
	root, terr := os.MkdirTemp("/dev/shm", "byhand-fuzz-")
	if terr != nil {
		root = t.TempDir()
	}
	defer func() { _ = os.RemoveAll(root) }() // nothing is mounted in it
	var dirs []string
	for i, l := range raw {
		dir := filepath.Join(root, fmt.Sprint("layer", i+1))
		if derr := fuzzLayer(t, dir, dirs, l); derr != nil {
			if err == nil && !local(derr) {
				t.Fatalf("layer %d: on disk %v, in memory none", i+1, derr)
			}
			return
		}
		dirs = append(dirs, dir)
	}
	if err != nil {
		if errors.As(err, &limit) {
			return // settling is bounded in memory
		}
		t.Fatalf("on disk no error, in memory %v", err)
	}
	sameTree(t, dirs, tree, filepath.Join(root, "flat"))
}

// errIncomparable is a layer of which this file system or kernel refuses
// something that is in the tree in memory all the same.
var errIncomparable = errors.New("not on disk as the layer says")

// local says whether the machine, not the layer, is at fault.
func local(err error) bool {
	return slices.ContainsFunc([]error{
		errIncomparable, unix.ENOSPC, unix.EMLINK, unix.EFBIG, unix.ENOMEM, unix.EMFILE,
	}, func(e error) bool { return errors.Is(err, e) })
}

func fuzzLayer(t *testing.T, dir string, parents []string, layer []byte) error {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	res, err := unpack.Apply(t.Context(), f, bytes.NewReader(layer), unpack.Options{Limits: fuzzLimits})
	if err != nil {
		return err
	}
	for _, s := range res.Skipped {
		if s.Kind == unpack.SkipTime || s.Kind == unpack.SkipXattr || s.Kind == unpack.SkipDevice {
			return errIncomparable
		}
	}
	return overlay.Settle(context.Background(), f, parents, res.Pending, false)
}

// sameTree compares names, types, metadata and hard links. Lists of access
// rights change modes, and attributes of name spaces that a kernel module
// owns change by themselves.
func sameTree(t *testing.T, dirs []string, tree *imagetree.Tree, flat string) {
	t.Helper()
	odd := false
	var size int64
	err := tree.Walk(t.Context(), func(e imagetree.Entry) error {
		size += e.Size
		for _, x := range e.Xattrs {
			odd = odd || !strings.HasPrefix(x.Name, "user.") && !strings.HasPrefix(x.Name, "trusted.")
		}
		odd = odd || e.ModTime.Unix() < -1<<31 || e.ModTime.Unix() > 1<<33
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if size > 8<<20 {
		return // holes too large to compare
	}
	if err := tree.Export(t.Context(), io.Discard); err != nil {
		t.Fatal(err)
	}
	if odd {
		return
	}
	want, got := flatTree(t, dirs, flat, false), readExport(t, tree)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in memory (+) differs from on disk (-):\n%s", diff)
	}
}
