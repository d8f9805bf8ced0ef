package peers_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/byhand/byhand/internal/treecmp"
)

// TestDifferences compares flat trees of images that are made for it with
// those of the peers.
func TestDifferences(t *testing.T) {
	all := peers(t)
	cases := stacks()
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		t.Run(name, func(t *testing.T) {
			test := cases[name]
			work := tmpfs(t)
			image, flat := filepath.Join(work, "image"), filepath.Join(work, "flat")
			writeImage(t, image, plain(test.layers))
			if err := flatten(t, image, flat); err != nil {
				t.Fatal(err)
			}
			for _, p := range all {
				want := p.outcome(test)
				if test.whole {
					p.noRoot, p.noDirTime = false, false
				}
				differ, refused := p.compare(t, image, flat, work, treecmp.Options{})
				if refused != "" || want.refuses != "" {
					if refused == "" || want.refuses == "" || !strings.Contains(refused, want.refuses) {
						t.Errorf("%s, expected to refuse it with %q: %s", p.name, want.refuses, refused)
					}
					continue
				}
				if diff := cmp.Diff(want.differ, differ); diff != "" {
					t.Errorf("differences from %s, expected (-) and found (+):\n%s", p.name, diff)
				}
			}
		})
	}
}

// compare lists how the peer's tree of the image differs from flat.
func (p peer) compare(t *testing.T, image, flat, work string, o treecmp.Options) (differ []string, refused string) {
	t.Helper()
	tree, done, refused := p.unpack(t, image, work)
	if refused != "" {
		return nil, refused
	}
	defer done()
	o.NoDirTime = o.NoDirTime || p.noDirTime
	diffs, err := treecmp.Compare(flat, tree, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range diffs {
		if p.noRoot && d.Path == "." {
			continue
		}
		t.Log(p.name, d)
		differ = append(differ, d.Path+": "+d.What)
	}
	slices.Sort(differ)
	return differ, ""
}
