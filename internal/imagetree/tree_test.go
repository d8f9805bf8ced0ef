package imagetree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/unpack"
)

// memory is a layer in memory. err is what its streams end in, if not io.EOF.
type memory struct {
	tar   []byte
	err   error
	opens int
}

func (m *memory) Open(context.Context) (io.ReadCloser, error) {
	m.opens++
	r := io.Reader(bytes.NewReader(m.tar))
	if m.err != nil {
		r = io.MultiReader(r, &failing{m.err})
	}
	return io.NopCloser(r), nil
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

type entries = []testtar.Entry

func sources(layers ...entries) []imagetree.Source {
	var out []imagetree.Source
	for _, l := range layers {
		out = append(out, &memory{tar: testtar.Tar(l...)})
	}
	return out
}

func build(t testing.TB, layers ...entries) *imagetree.Tree {
	t.Helper()
	tree, err := imagetree.Build(t.Context(), sources(layers...), imagetree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// list writes a tree as lines "name mode owner size layer content".
func list(t testing.TB, tree *imagetree.Tree) []string {
	t.Helper()
	var lines []string
	err := tree.Walk(t.Context(), func(e imagetree.Entry) error {
		lines = append(lines, fmt.Sprintf("%s %o %d:%d %d %d %d.%d", e.Name, e.Mode, e.UID, e.GID, e.Size, e.Layer, e.Content.Layer, e.Content.Ordinal))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func three() []entries {
	return []entries{
		{testtar.Dir("d", testtar.Mode(0o700), testtar.Owner(1, 2)), testtar.File("d/a", "one"), testtar.File("d/b", "two22"), testtar.Symlink("l", "d")},
		{testtar.File("l/c", "three"), testtar.Whiteout("d/a"), testtar.Link("h", "d/b"), testtar.Char("z", 1, 3)},
		{testtar.Opaque("d"), testtar.File("d/b", "new"), testtar.Whiteout("l")},
	}
}

func TestWalk(t *testing.T) {
	tree := build(t, three()...)
	want := [][]string{
		{". 40755 0:0 0 1 1.0", "d 40700 1:2 0 1 1.0", "d/a 100644 0:0 3 1 1.1", "d/b 100644 0:0 5 1 1.2", "l 120777 0:0 0 1 1.3"},
		{". 40755 0:0 0 2 2.0", "d 40700 1:2 0 2 2.0", "d/b 100644 0:0 5 1 1.2", "d/c 100644 0:0 5 2 2.0", "h 100644 0:0 5 2 1.2", "l 120777 0:0 0 1 1.3", "z 20600 0:0 0 2 2.3"},
		{". 40755 0:0 0 3 3.0", "d 40700 1:2 0 3 3.0", "d/b 100644 0:0 3 3 3.1", "h 100644 0:0 5 2 1.2", "z 20600 0:0 0 2 2.3"},
	}
	for i, w := range want {
		if diff := cmp.Diff(w, list(t, tree.Upto(i+1))); diff != "" {
			t.Errorf("%d layers:\n%s", i+1, diff)
		}
	}
	if diff := cmp.Diff(want[2], list(t, tree)); diff != "" {
		t.Error(diff)
	}
	if tree.Layers() != 3 || tree.Upto(2).Layers() != 2 {
		t.Error("wrong number of layers")
	}
	stop := errors.New("stop")
	if err := tree.Walk(t.Context(), func(imagetree.Entry) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestLookup(t *testing.T) {
	tree := build(t, three()...).Upto(2)
	for _, test := range []struct {
		name   string
		follow bool
		real   string
		err    error
	}{
		{"l/c", false, "d/c", nil},
		{"/l/../l/b", false, "d/b", nil},
		{"l", false, "l", nil},
		{"l", true, "d", nil},
		{"/", false, ".", nil},
		{"../..", true, ".", nil},
		{"d/a", true, "", unix.ENOENT},
		{"d/b/x", true, "", unix.ENOTDIR},
		{"d/b/", true, "", unix.ENOTDIR},
		{"", true, "", fs.ErrNotExist},
		{strings.Repeat("x", 256), true, "", unix.ENAMETOOLONG},
	} {
		e, err := tree.Lookup(test.name, test.follow)
		if e.Name != test.real || !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
			t.Errorf("%q: %q, %v; expected %q, %v", test.name, e.Name, err, test.real, test.err)
		}
	}
	h, herr := tree.Lookup("h", false)
	b, berr := tree.Lookup("l/b", false)
	c, cerr := tree.Lookup("l/c", false)
	if err := errors.Join(herr, berr, cerr); err != nil || h.Key() != b.Key() || b.Key() == c.Key() {
		t.Errorf("h and d/b are one file, d/c another: %v", err)
	}
	z, err := tree.Lookup("z", false)
	if err != nil || z.Major != 1 || z.Minor != 3 || z.IsRegular() {
		t.Errorf("%+v, %v", z, err)
	}
	names := func(dir string) (out []string) {
		kids, err := tree.ReadDir(dir)
		if err != nil {
			return []string{err.Error()}
		}
		for k := range kids {
			out = append(out, k.Name)
		}
		return out
	}
	for dir, want := range map[string]string{
		".": "d h l z", "/l/": "d/b d/c", "h": "read directory h: not a directory", "no": "find no: no such file or directory",
	} {
		if got := strings.Join(names(dir), " "); got != want {
			t.Errorf("%s: %s; expected %s", dir, got, want)
		}
	}
}

// TestLookupLoop has links that lead round in circles.
func TestLookupLoop(t *testing.T) {
	tree := build(t, entries{testtar.Symlink("a", "b"), testtar.Symlink("b", "a")})
	if _, err := tree.Lookup("a", true); !errors.Is(err, unix.ELOOP) {
		t.Error(err)
	}
}

func TestNoLayers(t *testing.T) {
	tree := build(t)
	if got := list(t, tree); len(got) != 1 || got[0] != ". 40755 0:0 0 1 1.0" {
		t.Error(got)
	}
	if e, err := tree.Lookup("/", true); err != nil || !e.IsDir() {
		t.Error(e, err)
	}
	if _, err := tree.Lookup("x", true); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := tree.Export(t.Context(), io.Discard); err != nil {
		t.Error(err)
	}
}

func TestChanges(t *testing.T) {
	layers := append(three(), entries{
		testtar.Dir("./"), testtar.File("d", "a file now"), testtar.File("z", ""), testtar.Dir("n"), testtar.File("n/x", "1"), testtar.Whiteout("nothing"),
	})
	tree := build(t, layers...)
	want := [][]string{
		{"A d 0 0", "A d/a 3 0", "A d/b 5 0", "A l 0 0"},
		{"D d/a 0 3", "A d/c 5 0", "A h 0 0", "A z 0 0"},
		{"C d 0 0 opaque", "C d/b 3 5", "D d/c 0 5", "D l 0 0"},
		{"C . 0 0", "C d 10 3", "A n 0 0", "A n/x 1 0", "C z 0 0"},
	}
	for i, w := range want {
		var got []string
		err := tree.Changes(t.Context(), i+1, func(c imagetree.Change) error {
			line := fmt.Sprintf("%c %s %d %d", c.Kind, c.Entry.Name, c.Added(i+1), c.Hidden)
			if c.Opaque {
				line += " opaque"
			}
			got = append(got, line)
			return nil
		})
		if diff := cmp.Diff(w, got); diff != "" || err != nil {
			t.Errorf("layer %d: %v\n%s", i+1, err, diff)
		}
	}
}

func TestSkipped(t *testing.T) {
	tree := build(t, entries{}, entries{
		testtar.Char("a", 0, 0), testtar.Char("b", 0, 0), testtar.File("c", "", testtar.Xattr("trusted.overlay.x", "")),
		testtar.File("d", "", testtar.Xattr("com.apple.provenance", "")),
	})
	want := []unpack.Skip{
		{Kind: unpack.SkipXattr, Count: 1, Name: "d", What: "com.apple.provenance", Err: unix.ENOTSUP},
		{Kind: unpack.SkipOverlayXattr, Count: 1, Name: "c", What: "trusted.overlay.x"},
		{Kind: unpack.SkipZeroDevice, Count: 2, Name: "a", What: "0:0"},
	}
	if diff := cmp.Diff(want, tree.Skipped(2), cmp.Comparer(func(a, b error) bool { return errors.Is(a, b) })); diff != "" {
		t.Error(diff)
	}
	if s := tree.Skipped(1); len(s) != 0 {
		t.Error(s)
	}
}

func TestLimits(t *testing.T) {
	long := testtar.PAX("comment", strings.Repeat("x", 2000))
	for limit, test := range map[string]struct {
		limits unpack.Limits
		layers []entries
	}{
		"entries":     {unpack.Limits{Entries: 3}, []entries{{testtar.File("a/b/c/d", "")}}},
		"bytes":       {unpack.Limits{Bytes: 9}, []entries{{testtar.File("a", "12345"), testtar.File("b", "12345")}}},
		"header-size": {unpack.Limits{HeaderSize: 1000}, []entries{{testtar.File("a", "", long)}}},
		"path-depth":  {unpack.Limits{PathDepth: 3}, []entries{{testtar.Symlink("a", "b/c/d/e")}, {testtar.File("a/f", "")}}},
		"memory":      {unpack.Limits{Memory: 150}, []entries{{testtar.File("a", "", testtar.Xattr("user.a", strings.Repeat("v", 100))), testtar.Symlink("b", strings.Repeat("t", 100))}}},
		"xattr-size":  {unpack.Limits{XattrSize: 100}, []entries{{testtar.File("a", "", testtar.Xattr("user.a", strings.Repeat("v", 100)))}}},
	} {
		_, err := imagetree.Build(t.Context(), sources(test.layers...), imagetree.Options{Limits: test.limits})
		var le *unpack.LimitError
		if !errors.As(err, &le) || le.Limit != limit || le.Got <= le.Max {
			t.Errorf("%s: %v", limit, err)
		}
		if !strings.Contains(fmt.Sprint(err), fmt.Sprintf("layer %d: ", len(test.layers))) {
			t.Errorf("%s: no layer in %v", limit, err)
		}
	}
}

// TestVerdict has streams that end badly: after all entries, and behind an
// archive that is malformed, where the stream's own verdict explains more.
func TestVerdict(t *testing.T) {
	verdict := errors.New("digest does not match")
	for _, e := range []testtar.Entry{testtar.File("f", ""), testtar.File("../f", ""), testtar.Raw([]byte(strings.Repeat("x", 512)))} {
		bad := &memory{tar: testtar.Tar(e), err: verdict}
		if _, err := imagetree.Build(t.Context(), []imagetree.Source{bad}, imagetree.Options{}); !errors.Is(err, verdict) {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := imagetree.Build(ctx, sources(entries{testtar.File("f", "")}), imagetree.Options{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestDeepLinks is a layer whose paths lead through a long chain of links;
// it must end soon.
func TestDeepLinks(t *testing.T) {
	var base, top entries
	for i := range 300 {
		base = append(base, testtar.Symlink(fmt.Sprint("l", i), fmt.Sprint("l", i+1)))
		top = append(top, testtar.File(fmt.Sprintf("l%d/f", i), "x"))
	}
	start := testneed.CPUTime(t)
	got := strings.Join(list(t, build(t, base, top)), "\n")
	if d := testneed.CPUTime(t) - start; d > 10*time.Second {
		t.Errorf("took %v", d)
	}
	if !strings.Contains(got, "l300/f 100644") {
		t.Errorf("no file left in\n%s", got)
	}
}

// TestMemory: one entry can name a great many directories, and a link a
// long target; both stop at the limit instead of filling memory.
func TestMemory(t *testing.T) {
	deep := strings.Repeat(strings.Repeat("a", 250)+"/", 1000)
	links := make([]testtar.Entry, 0, 100)
	for i := range 100 {
		links = append(links, testtar.Link(fmt.Sprintf("link%d", i), deep+"x"))
	}
	for name, entries := range map[string][]testtar.Entry{
		"directories": {testtar.File(deep+"file", "")},
		"links":       links,
		"whiteouts":   {testtar.Dir("d"), testtar.Whiteout(deep + "gone")},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := imagetree.Build(t.Context(), sources(entries), imagetree.Options{
				Limits: unpack.Limits{Memory: 8 << 20},
			})
			var limit *unpack.LimitError
			if !errors.As(err, &limit) || limit.Limit != "memory" {
				t.Errorf("got %v, want the limit memory", err)
			}
		})
	}
}
