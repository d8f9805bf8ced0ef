package report

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/teststack"
	"github.com/byhand/byhand/internal/testtar"
)

// memory is a layer in memory.
type memory []byte

func (m memory) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(m)), nil
}

func tree(t testing.TB, layers ...[]byte) *imagetree.Tree {
	t.Helper()
	sources := make([]imagetree.Source, len(layers))
	for i, l := range layers {
		sources[i] = memory(l)
	}
	out, err := imagetree.Build(t.Context(), sources, imagetree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// showing lists what the union says that the merged tree has: files with
// the layer of their content. The topmost layer that has a name may be another
// one: no change tells of paths that only pass through a directory, nor of a
// hard link in place of itself.
func showing(x *node, prefix string, into map[string]string) {
	for name, k := range x.kids {
		if k.layer != 0 {
			into[prefix+name] = "dir"
			switch {
			case k.dir:
			case k.key.layer != 0:
				into[prefix+name] = fmt.Sprint("content of layer ", k.key.layer)
			default:
				into[prefix+name] = "other"
			}
		}
		showing(k, prefix+name+"/", into)
	}
}

// check compares the union of a tree's layers with the tree, and its sums
// with each other and with sums made another way.
func checkUnion(t *testing.T, tree *imagetree.Tree) {
	t.Helper()
	u, err := newUnion(t.Context(), tree)
	if err != nil {
		t.Fatal(err)
	}
	want, files := map[string]string{}, map[imagetree.Content]int64{}
	err = tree.Walk(t.Context(), func(e imagetree.Entry) error {
		if e.IsRegular() {
			files[e.Content] = e.Size
		}
		switch {
		case e.Name == ".":
		case e.IsDir():
			want[e.Name] = "dir"
		case e.IsRegular():
			want[e.Name] = fmt.Sprint("content of layer ", e.Content.Layer)
		default:
			want[e.Name] = "other"
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	showing(u.root, "", got)
	if !maps.Equal(got, want) {
		t.Errorf("the union shows another tree:\n%s", cmp.Diff(want, got))
	}
	stats, err := tree.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var shows, brought, wasted, hides int64
	for _, n := range files {
		shows += n
	}
	for i, st := range stats {
		brought += st.Bytes
		wasted += st.Hidden
		hides += u.layers[i].Hides
	}
	s := sum(u.root)
	if s.bytes != shows || brought-wasted != shows || hides != wasted {
		t.Errorf("%d bytes show, the union says %d; brought %d, wasted %d, hidden %d", shows, s.bytes, brought, wasted, hides)
	}
}

func TestUnion(t *testing.T) {
	for name, layers := range map[string][][]byte{
		"a directory made anew in an opaque one": {
			testtar.Tar(testtar.Dir("d"), testtar.Dir("d/x"), testtar.File("d/x/f", "one"), testtar.File("d/x/sub/g", "two")),
			testtar.Tar(testtar.Dir("d"), testtar.Opaque("d"), testtar.Dir("d/x"), testtar.File("d/x/h", "three")),
		},
		"an implied one in an opaque one": {
			testtar.Tar(testtar.File("d/x/f", "one"), testtar.File("d/y/f", "four")),
			testtar.Tar(testtar.Opaque("d"), testtar.File("d/x/h", "three")),
		},
		"hard links": {
			testtar.Tar(testtar.File("a", "0123456789"), testtar.Link("b", "a"), testtar.Link("c", "a")),
			testtar.Tar(testtar.Whiteout("a"), testtar.Link("d", "b")),
			testtar.Tar(testtar.Whiteout("b"), testtar.Whiteout("c")),
		},
		"a file for a directory and back": {
			testtar.Tar(testtar.File("d/x", "one"), testtar.File("d/y", "two")),
			testtar.Tar(testtar.File("d", "file")),
			testtar.Tar(testtar.File("d/z", "again")),
		},
		"a directory deleted": {
			testtar.Tar(testtar.File("d/x/y/z", "one")),
			testtar.Tar(testtar.Whiteout("d")),
			testtar.Tar(testtar.Dir("d")),
		},
		"all deleted": {
			testtar.Tar(testtar.File("d/x", "one"), testtar.File("e", "two")),
			testtar.Tar(testtar.Opaque(""), testtar.File("f", "three")),
		},
		"no layers": nil,
	} {
		t.Run(name, func(t *testing.T) { checkUnion(t, tree(t, layers...)) })
	}
}

func TestUnionOfRandomStacks(t *testing.T) {
	for seed := range uint64(1000) {
		stack := teststack.Random(seed)
		var sources []imagetree.Source
		for _, l := range stack.Layers {
			sources = append(sources, memory(l.Tar()))
		}
		tree, err := imagetree.Build(t.Context(), sources, imagetree.Options{Jobs: 1})
		if err != nil {
			continue // a stack that no unpacker takes
		}
		if checkUnion(t, tree); t.Failed() {
			t.Fatalf("seed %d: %s", seed, stack)
		}
	}
}

func TestEffects(t *testing.T) {
	u, err := newUnion(t.Context(), tree(t,
		testtar.Tar(testtar.Dir("etc"), testtar.File("etc/a", "12345"), testtar.File("etc/b", "123"), testtar.File("etc/c", "1"), testtar.Symlink("l", "etc")),
		testtar.Tar(testtar.File("etc/a", "12"), testtar.Whiteout("etc/b"), testtar.Link("z", "etc/c"), testtar.Fifo("p")),
		testtar.Tar(testtar.Dir("etc"), testtar.Opaque("etc"), testtar.File("etc/new", "1234")),
	))
	if err != nil {
		t.Fatal(err)
	}
	want := []effect{
		{Added: 5},
		{Added: 2, Changed: 1, Deleted: 1, Hides: 8},
		{Added: 1, Changed: 1, Deleted: 2, Hides: 2},
	}
	if diff := cmp.Diff(want, u.layers); diff != "" {
		t.Error(diff)
	}
}

func TestCut(t *testing.T) {
	var big []testtar.Entry
	for i := range 50 {
		big = append(big, testtar.File(fmt.Sprintf("d%d/e/f%d", i%5, i), strings.Repeat("x", i)))
	}
	for _, most := range []int64{0, 1, 7, 30, 59, 60, 1000} {
		u, err := newUnion(t.Context(), tree(t, testtar.Tar(big...)))
		if err != nil {
			t.Fatal(err)
		}
		s := sum(u.root)
		bytes, files, names := s.bytes, s.files, u.names
		left := cut(s, most, names)
		gotBytes, gotFiles, kept, rest := totalsOf(s)
		if gotBytes != bytes || gotFiles != files || kept+rest != names || rest != left || kept > most {
			t.Errorf("at most %d: %d of %d bytes, %d of %d files, %d kept and %d left of %d names",
				most, gotBytes, bytes, gotFiles, files, kept, rest, names)
		}
	}
}

// totalsOf counts what the tree still holds, with what is left out.
func totalsOf(s *shown) (bytes, files, kept, rest int64) {
	bytes, files, rest = s.rest.bytes, s.rest.files, s.rest.names
	for _, k := range s.kids {
		b, f, n, r := totalsOf(k)
		if !k.dir {
			b, f = b+k.size, f+1
		}
		bytes, files, kept, rest = bytes+b, files+f, kept+n+1, rest+r
	}
	return bytes, files, kept, rest
}

func TestEncode(t *testing.T) {
	u, err := newUnion(t.Context(), tree(t,
		testtar.Tar(testtar.File("a<\u2029!--", "12345"), testtar.File("b\u2028", "1"), testtar.File("c\xff\n", "1"), testtar.Symlink("l", "</script>&"), testtar.Dir("gone")),
		testtar.Tar(testtar.Whiteout("gone"), testtar.File("b\u2028", "123")),
	))
	if err != nil {
		t.Fatal(err)
	}
	raw := encode(sum(u.root))
	if bytes.ContainsAny(raw, "<>&\u2028\u2029") {
		t.Errorf("characters that can end a script: %s", raw)
	}
	var got, want any
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(`["",1,[
		["a<\\u2029!--",1,5],["b\\u2028",2,3,[1,0,1,0,2,1,3,1]],["c\\xff\\n",1,1],
		["gone",0,[],[1,0,0,0,2,2,0,0]],["l",1,"→ </script>&"]],[]]`), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain é 字":          "plain é 字",
		"a\x00b\x1b[31m":     `a\x00b\x1b[31m`,
		"line\nline\t":       `line\nline\t`,
		"bad \xff\xfe":       `bad \xff\xfe`,
		"true \uFFFD":        "true \uFFFD",
		"turned \u202egnp":   `turned \u202egnp`,
		"zero\u200bwidth":    `zero\u200bwidth`,
		"\u2028 \U000e0041x": `\u2028 \U000e0041x`,
	} {
		if got := printable(in, 100); got != want {
			t.Errorf("%q: %q, expected %q", in, got, want)
		}
	}
	if got := printable(strings.Repeat("ä", 10_000), 5); got != "äääää… (10,000 characters in all)" {
		t.Error(got)
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x00\xff\u202e\n")
	f.Fuzz(func(t *testing.T, s string) {
		got := printable(s, 50)
		if !utf8.ValidString(got) || strings.IndexFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
			t.Errorf("%q gives %q", s, got)
		}
		if n := utf8.RuneCountInString(got); n > 600 {
			t.Errorf("%d characters", n)
		}
	})
}

// FuzzImageFields reads configs that are anything at all.
func FuzzImageFields(f *testing.F) {
	f.Add([]byte(`{"config":{"Env":["A=B",1,null],"Labels":{"a\n":"b"},"Odd":[[[{}]]],"Volumes":null},"os":[],"created":{}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, field := range imageFields(raw) {
			if len(field.Values) == 0 || len(field.Values) > maxLines {
				t.Errorf("%s has %d lines", field.Name, len(field.Values))
			}
			for _, v := range append(field.Values, field.Name) {
				if !utf8.ValidString(v) || strings.ContainsAny(v, "\n\x00\x1b") {
					t.Errorf("%q", v)
				}
			}
		}
	})
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %q, expected %q", n, got, want)
		}
	}
	for _, c := range []struct {
		part, whole int64
		want        string
	}{{0, 0, "–"}, {1, 3, "33.3 %"}, {1, 1_000_000, "< 0.1 %"}, {999_999, 1_000_000, "> 99.9 %"}, {5, 5, "100.0 %"}, {0, 5, "0.0 %"}} {
		if got := percent(c.part, c.whole); got != c.want {
			t.Errorf("%d of %d: %q, expected %q", c.part, c.whole, got, c.want)
		}
	}
}

func TestSquarify(t *testing.T) {
	area := box{10, 20, 300, 200}
	sizes := []float64{600, 600, 400, 300, 200, 200, 100, 1, 0.001}
	var all float64
	for _, s := range sizes {
		all += s
	}
	var sum float64
	for i, b := range squarify(sizes, area) {
		sum += b.w * b.h
		if want := sizes[i] / all * area.w * area.h; b.w*b.h < want*0.999 || b.w*b.h > want*1.001 {
			t.Errorf("%d has %g, expected %g", i, b.w*b.h, want)
		}
		if b.x < area.x-1e-6 || b.y < area.y-1e-6 || b.x+b.w > area.x+area.w+1e-6 || b.y+b.h > area.y+area.h+1e-6 {
			t.Errorf("%d sticks out: %+v", i, b)
		}
	}
	if sum < 59_999 || sum > 60_001 {
		t.Errorf("all have %g", sum)
	}
}
