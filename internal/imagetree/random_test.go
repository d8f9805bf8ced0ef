package imagetree_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/teststack"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/unpack"
)

// certain calls fn with random stacks whose meaning is beyond doubt.
func certain(t *testing.T, fn func(seed uint64, s teststack.Stack, tree *imagetree.Tree)) {
	t.Helper()
	n := 0
	for seed := range uint64(1500) {
		s := teststack.Random(seed)
		if s.Doubt() != "" {
			continue
		}
		tree, err := imagetree.Build(t.Context(), sources(unique(s)...), imagetree.Options{})
		// A link to a name that is a directory of its layer only because a path
		// leads through it is refused, whatever is below.
		if errors.Is(err, unix.EISDIR) {
			continue
		}
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, s)
		}
		n++
		fn(seed, s, tree)
		if t.Failed() {
			t.Fatalf("seed %d\n%s", seed, s)
		}
	}
	if n < 250 {
		t.Fatalf("%d stacks are beyond doubt", n)
	}
}

// unique returns a stack's layers with content that tells each file from all
// others, and sizes that do not add up by chance.
func unique(s teststack.Stack) []entries {
	layers := make([]entries, len(s.Layers))
	for i, l := range s.Layers {
		for j, o := range l.Ops {
			if o.Kind == "file" {
				o.Target = content(i, j)
			}
			layers[i] = append(layers[i], o.Entry())
		}
	}
	return layers
}

func content(layer, op int) string {
	return fmt.Sprintf("%d.%d", layer, op) + strings.Repeat("x", 1<<(op%10)+layer)
}

// TestChangesRandom holds what is said of each layer against a model's trees
// without and with it.
func TestChangesRandom(t *testing.T) {
	certain(t, func(_ uint64, s teststack.Stack, tree *imagetree.Tree) {
		before := map[string]teststack.File{}
		for i, l := range s.Layers {
			if i > 0 {
				before = s.Layers[i-1].Tree
			}
			kinds := map[string]imagetree.Kind{}
			err := tree.Changes(t.Context(), i+1, func(c imagetree.Change) error {
				if _, twice := kinds[c.Entry.Name]; twice {
					t.Errorf("layer %d: %s comes twice", i+1, c.Entry.Name)
				}
				kinds[c.Entry.Name] = c.Kind
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, wrong := range misjudged(kinds, before, l.Tree) {
				t.Errorf("layer %d: %s", i+1, wrong)
			}
		}
	})
}

// misjudged compares changes with two trees.
func misjudged(kinds map[string]imagetree.Kind, before, after map[string]teststack.File) (wrong []string) {
	for name, kind := range kinds {
		_, was := before[name]
		_, is := after[name]
		if want := map[[2]bool]imagetree.Kind{{false, true}: 'A', {true, true}: 'C', {true, false}: 'D'}[[2]bool{was, is}]; kind != want && name != "." {
			wrong = append(wrong, fmt.Sprintf("%c %s, expected %c", kind, name, want))
		}
	}
	for name, f := range after {
		old, was := before[name]
		old.Group, f.Group = "", ""
		switch kind := kinds[name]; {
		case name == "." && len(before) == 0:
		case !was && kind != imagetree.Added:
			wrong = append(wrong, name+" is new, and not listed")
		case was && !cmp.Equal(old, f) && kind != imagetree.Changed:
			wrong = append(wrong, name+" is another, and not listed")
		}
	}
	for name := range before {
		if _, is := after[name]; !is && !coveredBy(kinds, after, name) {
			wrong = append(wrong, name+" is gone, and not listed")
		}
	}
	return wrong
}

// coveredBy says whether name, or a directory that it was in, is listed as
// deleted or replaced.
func coveredBy(kinds map[string]imagetree.Kind, after map[string]teststack.File, name string) bool {
	if kinds[name] == imagetree.Deleted {
		return true
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if kinds[dir] == imagetree.Deleted || kinds[dir] == imagetree.Changed && after[dir].Kind != "dir" {
			return true
		}
	}
	return false
}

// TestStatsRandom counts what layers bring and waste by other means: the
// content that an export still has.
func TestStatsRandom(t *testing.T) {
	wasted := 0
	certain(t, func(_ uint64, s teststack.Stack, tree *imagetree.Tree) {
		stats, err := tree.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		shown := contents(t, export(t, tree))
		for i, l := range s.Layers {
			var bytes, hidden int64
			for j, o := range l.Ops {
				if o.Kind != "file" {
					continue
				}
				text := content(i, j)
				if bytes += int64(len(text)); !shown[text] {
					hidden += int64(len(text))
					wasted++
				}
			}
			if stats[i].Bytes != bytes || stats[i].Hidden != hidden {
				t.Errorf("layer %d: %d bytes of %d hidden, expected %d of %d", i+1, stats[i].Hidden, stats[i].Bytes, hidden, bytes)
			}
			raw := testtar.Tar(unique(s)[i]...)
			counts := countEntries(t, raw)
			counts.Implicit = stats[i].Counts.Implicit
			if diff := cmp.Diff(counts, stats[i].Counts); diff != "" || stats[i].TarSize != int64(len(raw)) {
				t.Errorf("layer %d: %d bytes, expected %d; %s", i+1, stats[i].TarSize, len(raw), diff)
			}
		}
	})
	if wasted < 100 {
		t.Errorf("only %d files were hidden", wasted)
	}
}

// contents reads the files of an archive.
func contents(t *testing.T, raw []byte) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for r := tar.NewReader(bytes.NewReader(raw)); ; {
		_, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		found[string(text)] = true
	}
}

// countEntries counts as a person with tar and grep would.
func countEntries(t *testing.T, raw []byte) (c unpack.Counts) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(raw)); ; c.Entries++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return c
		}
		if err != nil {
			t.Fatal(err)
		}
		base := path.Base(h.Name)
		switch {
		case base == ".wh..wh..opq":
			c.Opaques++
		case strings.HasPrefix(base, ".wh."):
			c.Whiteouts++
		default:
			*map[byte]*int{
				tar.TypeReg: &c.Files, tar.TypeDir: &c.Dirs, tar.TypeSymlink: &c.Symlinks, tar.TypeLink: &c.HardLinks,
				tar.TypeChar: &c.Devices, tar.TypeFifo: &c.FIFOs,
			}[h.Typeflag]++
		}
	}
}

// TestWriteContentRandom reads every file of a tree, and by other means.
func TestWriteContentRandom(t *testing.T) {
	certain(t, func(_ uint64, _ teststack.Stack, tree *imagetree.Tree) {
		want := contents(t, export(t, tree))
		err := tree.Walk(t.Context(), func(e imagetree.Entry) error {
			if !e.IsRegular() {
				return nil
			}
			var b bytes.Buffer
			if err := tree.WriteContent(t.Context(), e, &b); err != nil {
				return err
			}
			if text := b.String(); !want[text] || int64(len(text)) != e.Size || !strings.HasPrefix(text, fmt.Sprintf("%d.", e.Content.Layer-1)) {
				t.Errorf("%s holds %q", e.Name, text)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
