package peers_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/byhand/byhand/internal/testimages"
	"github.com/byhand/byhand/internal/treecmp"
)

// TestRealImages expects the same tree of every peer, but for what TestDifferences
// shows too. BYHAND_TEST_IMAGES may
// name a directory of root filesystems (*.tar.gz), each to be the only layer
// of one more image.
func TestRealImages(t *testing.T) {
	all := peers(t)
	dir := os.Getenv("BYHAND_TEST_IMAGES")
	t.Run("debian", func(t *testing.T) {
		compareReal(t, all, testimages.Get(t, testimages.Debian()), map[string]map[string]string{
			"overlayfs": {"srv/kinds/before-1970: mtime": "time before 1970"},
			"native": {
				"srv/kinds/before-1970: mtime":     "time before 1970",
				"srv/kinds/hardsoft: hard link to": "lower hard links that are no regular files",
				"srv/kinds/soft: hard link to":     "lower hard links that are no regular files",
			},
		})
	})
	archives, err := filepath.Glob(filepath.Join(dir, "*.tar.gz"))
	if err != nil || dir == "" {
		return
	}
	for _, name := range archives {
		t.Run(filepath.Base(name), func(t *testing.T) {
			raw, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			image := filepath.Join(t.TempDir(), "image")
			writeImage(t, image, [][]byte{raw})
			compareReal(t, all, image, nil)
		})
	}
}

// compareReal expects the same trees but for the differences that known gives
// for each peer, each with its case in TestDifferences.
func compareReal(t *testing.T, all []peer, image string, known map[string]map[string]string) {
	t.Helper()
	work, cases := tmpfs(t), stacks()
	flat := filepath.Join(work, "flat")
	if err := flatten(t, image, flat); err != nil {
		t.Fatal(err)
	}
	tree, err := treecmp.Read(flat, treecmp.Options{})
	if err != nil || len(tree) < 100 {
		t.Fatalf("a tree of %d names: %v", len(tree), err)
	}
	for _, p := range all {
		differ, refused := p.compare(t, image, flat, work, treecmp.Options{})
		if refused != "" {
			t.Errorf("%s refuses it: %s", p.name, refused)
		}
		for what, name := range known[p.name] {
			if p.outcome(cases[name]).same() {
				t.Errorf("%s: %q is the same for %s", what, name, p.name)
			}
		}
		if diff := cmp.Diff(slices.Sorted(maps.Keys(known[p.name])), differ); diff != "" {
			t.Errorf("differences from %s, expected (-) and found (+):\n%s", p.name, diff)
		}
	}
}
