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

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/unpack"
)

// TestWriteContent reads files of each kind that has content, and refuses the
// others.
func TestWriteContent(t *testing.T) {
	sparse := testtar.File("sparse", "abc", testtar.PAX("GNU.sparse.major", "0"), testtar.PAX("GNU.sparse.minor", "1"),
		testtar.PAX("GNU.sparse.numblocks", "2"), testtar.PAX("GNU.sparse.map", "2,1,7,2"), testtar.PAX("GNU.sparse.size", "12"))
	tree := build(t,
		entries{testtar.File("first", "1"), testtar.File("a", "one"), sparse, testtar.File("empty", ""), testtar.Dir("d"), testtar.Char("null", 1, 3)},
		entries{testtar.Link("b", "a"), testtar.Symlink("l", "/d/../b"), testtar.File("big", strings.Repeat("0123456789", 100_000))},
		entries{testtar.Whiteout("a")})
	for name, want := range map[string]string{
		"a": "", "b": "one", "l": "one", "empty": "", "first": "1",
		"sparse": "\x00\x00a\x00\x00\x00\x00bc\x00\x00\x00", "big": strings.Repeat("0123456789", 100_000),
	} {
		e, err := tree.Lookup(name, true)
		if name == "a" {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
			continue
		}
		var b bytes.Buffer
		if err = errors.Join(err, tree.WriteContent(t.Context(), e, &b)); err != nil || b.String() != want {
			t.Errorf("%s: %v, %d bytes, expected %d", name, err, b.Len(), len(want))
		}
	}
	for name, want := range map[string]string{"d": unix.EISDIR.Error(), "null": "not a regular file"} {
		e, err := tree.Lookup(name, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.WriteContent(t.Context(), e, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// counted is a layer that counts how often it is opened, and how often read to
// its end.
type counted struct {
	memory
	ends int
}

func (c *counted) Open(ctx context.Context) (io.ReadCloser, error) {
	r, err := c.memory.Open(ctx)
	return &ending{r, &c.ends}, err
}

type ending struct {
	io.ReadCloser
	ends *int
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		*e.ends++
	}
	return n, err
}

// TestWriteContentVerified opens the one layer that has the file once more,
// reads it to its end, and fails if that is not a good one.
func TestWriteContentVerified(t *testing.T) {
	base := &counted{memory: memory{tar: testtar.Tar(testtar.File("f", "1"), testtar.File("g", strings.Repeat("x", 1<<20)))}}
	other := &counted{memory: memory{tar: testtar.Tar(testtar.File("h", "2"))}}
	tree, err := imagetree.Build(t.Context(), []imagetree.Source{base, other}, imagetree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := tree.Lookup("f", true)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.WriteContent(t.Context(), e, io.Discard); err != nil {
		t.Fatal(err)
	}
	if base.opens != 2 || base.ends < 2 || other.opens != 1 {
		t.Errorf("opened %d times and %d, ended %d times", base.opens, other.opens, base.ends)
	}
	base.err = errors.New("digest does not match")
	if err := tree.WriteContent(t.Context(), e, io.Discard); !errors.Is(err, base.err) || !strings.Contains(err.Error(), "layer 1: ") {
		t.Error(err)
	}
	base.err = nil
	if err := tree.WriteContent(t.Context(), e, broken{}); !errors.Is(err, unix.EPIPE) || strings.Contains(err.Error(), "layer") {
		t.Error(err)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, unix.EPIPE }

// TestWriteContentHoles has a file that is all holes and has no end.
func TestWriteContentHoles(t *testing.T) {
	tree := build(t, entries{testtar.File("s", "", testtar.PAX("GNU.sparse.major", "0"), testtar.PAX("GNU.sparse.minor", "1"),
		testtar.PAX("GNU.sparse.numblocks", "0"), testtar.PAX("GNU.sparse.map", ""), testtar.PAX("GNU.sparse.size", fmt.Sprint(int64(1)<<60)))})
	e, err := tree.Lookup("s", true)
	if err != nil {
		t.Fatal(err)
	}
	var le *unpack.LimitError
	if err := tree.WriteContent(t.Context(), e, io.Discard); !errors.As(err, &le) || le.Limit != "bytes" {
		t.Error(err)
	}
}

// TestStats has files that are hidden under one name and not another, and a
// hard link into a lower layer, which brings nothing.
func TestStats(t *testing.T) {
	tree := build(t,
		entries{testtar.File("a", "12345"), testtar.Link("b", "a"), testtar.File("d/x", "123"), testtar.File("d/y", "1")},
		entries{testtar.Whiteout("a"), testtar.Opaque("d"), testtar.Link("c", "b"), testtar.File("d/x", "12")},
		entries{testtar.Whiteout("b"), testtar.Whiteout("nothing")})
	type brief struct{ bytes, hidden int64 }
	for layers, want := range map[int][]brief{
		1: {{9, 0}},
		2: {{9, 4}, {2, 0}},
		3: {{9, 4}, {2, 0}, {0, 0}},
	} {
		stats, err := tree.Upto(layers).Stats(t.Context())
		if err != nil || len(stats) != len(want) {
			t.Fatal(stats, err)
		}
		for i, s := range stats {
			if got := (brief{s.Bytes, s.Hidden}); got != want[i] {
				t.Errorf("layer %d of %d: %v, expected %v", i+1, layers, got, want[i])
			}
		}
	}
	stats, err := tree.Stats(t.Context())
	want := unpack.Counts{Entries: 4, Files: 1, HardLinks: 1, Whiteouts: 1, Opaques: 1, Implicit: 1}
	if diff := cmp.Diff(want, stats[1].Counts); diff != "" || err != nil || stats[2].Counts.Whiteouts != 2 {
		t.Errorf("%v\n%s", err, diff)
	}
}

// TestChangesMarkers tells which marker deletes a name.
func TestChangesMarkers(t *testing.T) {
	tree := build(t,
		entries{testtar.File("a", "1"), testtar.File("d/x", "1"), testtar.File("d/y", "1")},
		entries{testtar.Whiteout("a"), testtar.Opaque("d"), testtar.File("d/x", "2")},
		entries{testtar.Opaque(""), testtar.File("n", "")})
	var got []string
	for n := 2; n <= 3; n++ {
		err := tree.Changes(t.Context(), n, func(c imagetree.Change) error {
			got = append(got, fmt.Sprintf("%d %c %s %t %t", n, c.Kind, c.Entry.Name, c.Opaque, c.Whiteout))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	want := "2 D a false true, 2 C d true false, 2 C d/x false false, 2 D d/y false false, " +
		"3 C . true false, 3 D d false false, 3 A n false false"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("%s\nexpected %s", s, want)
	}
}
