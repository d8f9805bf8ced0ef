package imagetree_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/tarstream"
	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/unpack"
)

func export(t testing.TB, tree *imagetree.Tree) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tree.Export(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestExportOrder is the promise of the package's comment.
func TestExportOrder(t *testing.T) {
	tree := build(t,
		entries{testtar.File("z", "1"), testtar.File("b/y", "gone"), testtar.File("b/x", "2"), testtar.Link("a", "b/x"), testtar.Link("b/w", "z"), testtar.Symlink("s", "t"), testtar.Fifo("e/p")},
		entries{testtar.File("c/m", "3"), testtar.File("c/l", ""), testtar.Whiteout("b/y"), testtar.Link("c/k", "z"), testtar.Dir("b/dd")})
	want := []string{
		"5 ./", "0 a", "5 b/", "5 b/dd/", "0 b/w", "1 b/x a",
		"5 c/", "1 c/k b/w", "0 c/l", "0 c/m", "5 e/", "6 e/p", "2 s t", "1 z b/w",
	}
	var got []string
	r := tar.NewReader(bytes.NewReader(export(t, tree)))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimSpace(fmt.Sprintf("%c %s %s", h.Typeflag, h.Name, h.Linkname)))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestExportBytes pins the bytes: a change of them is a change of what users
// compare by digest.
func TestExportBytes(t *testing.T) {
	tree := build(t, three()...)
	const want = "sha256:7199394e24c2b274a19b4f25f5163151ebcbf39d7bca55a36030b0279a793a4b"
	if got := digest.FromBytes(export(t, tree)); got != want {
		t.Errorf("%s, expected %s", got, want)
	}
}

// TestExportEarly has layers whose content is in another order than the tar's,
// more of them than are read at once.
func TestExportEarly(t *testing.T) {
	sparse := testtar.File("b", "abc", testtar.PAX("GNU.sparse.major", "0"), testtar.PAX("GNU.sparse.minor", "1"),
		testtar.PAX("GNU.sparse.numblocks", "2"), testtar.PAX("GNU.sparse.map", "2,1,7,2"), testtar.PAX("GNU.sparse.size", "12"))
	layers := sources(
		entries{testtar.File("z", "last"), sparse, testtar.File("hidden", "x"), testtar.File("a", strings.Repeat("long", 100_000))},
		entries{testtar.Whiteout("hidden"), testtar.File("y/2", "two"), testtar.File("y/1", "one"), testtar.Link("x", "y/2")},
		entries{testtar.File("n", "small"), testtar.File("m", "smaller")},
	)
	want := map[string]string{
		"z": "last", "b": "\x00\x00a\x00\x00\x00\x00bc\x00\x00\x00", "a": strings.Repeat("long", 100_000),
		"y/2": "", "y/1": "one", "x": "two", "n": "small", "m": "smaller",
	}
	for _, jobs := range []int{1, 2, 8} {
		tree, err := imagetree.Build(t.Context(), layers, imagetree.Options{Jobs: jobs})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for r := tar.NewReader(bytes.NewReader(export(t, tree))); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			content, rerr := io.ReadAll(r)
			if err := errors.Join(err, rerr); err != nil {
				t.Fatal(err)
			}
			if h.Typeflag != tar.TypeDir {
				got[h.Name] = string(content)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d at once: %s", jobs, diff)
		}
	}
	tree, err := imagetree.Build(t.Context(), layers, imagetree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", "/proc/nosuch")
	if err := tree.Export(t.Context(), io.Discard); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "until its place comes") {
		t.Error(err)
	}
}

// TestExportOnce opens each layer that holds content once for the tree and
// once for an export, and the others once.
func TestExportOnce(t *testing.T) {
	full, none := &memory{tar: testtar.Tar(testtar.File("f", "1"))}, &memory{tar: testtar.Tar(testtar.File("g", ""), testtar.Symlink("s", "g"))}
	tree, err := imagetree.Build(t.Context(), []imagetree.Source{full, none}, imagetree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	export(t, tree)
	if full.opens != 2 || none.opens != 1 {
		t.Errorf("opened %d and %d times", full.opens, none.opens)
	}
}

// TestExportChanged has sources that do not give the same stream again.
func TestExportChanged(t *testing.T) {
	first := testtar.Tar(testtar.File("e", "1"), testtar.File("f", "12345"))
	verdict := errors.New("digest does not match")
	for name, again := range map[string]memory{
		"another size": {tar: testtar.Tar(testtar.File("e", "1"), testtar.File("f", "1234"))},
		"another type": {tar: testtar.Tar(testtar.File("e", "1"), testtar.Fifo("f"))},
		"too few":      {tar: testtar.Tar(testtar.File("e", "1"))},
		"bad end":      {tar: first, err: verdict},
	} {
		m := &memory{tar: first}
		tree, err := imagetree.Build(t.Context(), []imagetree.Source{m}, imagetree.Options{})
		if err != nil {
			t.Fatal(err)
		}
		*m = again
		err = tree.Export(t.Context(), io.Discard)
		if err == nil || again.err != nil && !errors.Is(err, again.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestExportHoles has a file that is small in its layer and would fill every
// disk: its holes count.
func TestExportHoles(t *testing.T) {
	sparse := func(size int64) testtar.Entry {
		return testtar.File("s", "", testtar.PAX("GNU.sparse.major", "0"), testtar.PAX("GNU.sparse.minor", "1"),
			testtar.PAX("GNU.sparse.numblocks", "0"), testtar.PAX("GNU.sparse.map", ""), testtar.PAX("GNU.sparse.size", fmt.Sprint(size)))
	}
	err := build(t, entries{sparse(1 << 60)}).Export(t.Context(), io.Discard)
	var le *unpack.LimitError
	if !errors.As(err, &le) || le.Limit != "bytes" {
		t.Error(err)
	}
	if got := len(export(t, build(t, entries{sparse(100_000)}))); got < 100_000 {
		t.Errorf("%d bytes", got)
	}
}

// TestExportFields reads odd headers back with another reader of tar.
func TestExportFields(t *testing.T) {
	long := strings.Repeat("n", 255)
	files := map[string]testtar.Entry{
		"plain": testtar.File("plain", "x", testtar.Mode(0o6755)), "dir/" + long: testtar.File("dir/"+long, ""),
		strings.Repeat("p", 150) + "/" + strings.Repeat("q", 100): testtar.File(strings.Repeat("p", 150)+"/"+strings.Repeat("q", 100), ""),
		"ü": testtar.File("ü", ""), "\xff\xfe": testtar.File("\xff\xfe", ""), "a\nb": testtar.File("a\nb", ""),
		"owner": testtar.File("owner", "", testtar.Owner(2097152, 4294967294)), "last": testtar.File("last", "", testtar.Owner(2097151, 2097151)),
		"old": testtar.File("old", "", testtar.ModTime(time.Unix(-2, 500_000_000))), "older": testtar.File("older", "", testtar.ModTime(time.Unix(-62135596800, 0))),
		"just": testtar.File("just", "", testtar.ModTime(time.Unix(-1, 999_999_999))), "far": testtar.File("far", "", testtar.ModTime(time.Unix(1<<40, 1))),
		"edge": testtar.File("edge", "", testtar.ModTime(time.Unix(1<<33-1, 0))), "past": testtar.File("past", "", testtar.ModTime(time.Unix(1<<33, 0))),
	}
	var layer entries
	for _, e := range files {
		layer = append(layer, e)
	}
	layer = append(layer, testtar.Symlink("s", strings.Repeat("t", 101)), testtar.Symlink("u", "ü"), testtar.Block("b", 0xfff, 0xfffff),
		testtar.File("x", "", testtar.Xattr("user.b", "2\x00\n="), testtar.Xattr("user.a", ""), testtar.Xattr("user.c", "3")))
	tree := build(t, layer)
	r := tarstream.NewReader(bytes.NewReader(export(t, tree)), tarstream.Options{})
	seen := 0
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		e, err := tree.Lookup(h.Name, false)
		if err != nil {
			t.Error(err)
			continue
		}
		seen++
		same := h.Mode == int64(e.Mode&0o7777) && h.UID == int64(e.UID) && h.GID == int64(e.GID) && h.Size == e.Size && h.Linkname == e.Link &&
			h.ModTime.Sec == e.ModTime.Unix() && h.ModTime.Nsec == int64(e.ModTime.Nanosecond()) && h.Major == int64(e.Major) && h.Minor == int64(e.Minor)
		if !same {
			t.Errorf("%q: %+v, expected %+v", h.Name, h, e)
		}
		if h.Name == "x" {
			if got := fmt.Sprintf("%q", h.Xattrs); got != `[{"user.a" ""} {"user.b" "2\x00\n="} {"user.c" "3"}]` {
				t.Error(got)
			}
		}
	}
	if seen < len(files)+4 {
		t.Errorf("%d entries", seen)
	}
}

const exportAs = "BYHAND_TEST_EXPORT_AS"

// TestExportAsUser builds and exports as the user 65534, who could unpack
// none of it, and compares with what root gets.
func TestExportAsUser(t *testing.T) {
	layer := entries{
		testtar.Dir("d", testtar.Mode(0), testtar.Owner(5, 6)), testtar.File("d/f", "1", testtar.Mode(0o4000), testtar.Owner(70000, 1)),
		testtar.Char("null", 1, 3), testtar.File("cap", "2", testtar.Xattr("security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")),
		testtar.File("t", "3", testtar.Xattr("trusted.x", "y")),
	}
	raw := export(t, build(t, layer))
	if os.Getenv(exportAs) != "" {
		if os.Geteuid() != 65534 {
			t.Fatalf("runs as %d", os.Geteuid())
		}
		if _, err := os.NewFile(3, "result").Write(raw); err != nil {
			t.Fatal(err)
		}
		return
	}
	testneed.Root(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestExportAsUser$")
	cmd.Env = append(os.Environ(), exportAs+"=user")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.ExtraFiles = []*os.File{w}
	out := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(r)
		out <- b
	}()
	text, err := cmd.CombinedOutput()
	if cerr := w.Close(); err != nil || cerr != nil {
		t.Fatalf("%v, %v\n%s", err, cerr, text)
	}
	if got := <-out; !bytes.Equal(got, raw) {
		t.Errorf("%d bytes, root's are %d", len(got), len(raw))
	}
}

// failingWriter fails after n bytes.
type failingWriter struct{ n int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.n -= len(p); w.n < 0 {
		return 0, syscall.ENOSPC
	}
	return len(p), nil
}

func TestExportErrors(t *testing.T) {
	tree := build(t, entries{testtar.File("f", strings.Repeat("x", 1<<20))})
	for _, n := range []int{0, 1000, 1 << 19, 1 << 20} {
		if err := tree.Export(t.Context(), &failingWriter{n}); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tree.Export(ctx, io.Discard); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
