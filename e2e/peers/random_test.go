package peers_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/teststack"
	"github.com/byhand/byhand/internal/treecmp"
)

// TestRandomStacks compares trees of random layers, in the form that tools
// write, with those of the peers: they are the same, unless a layer has one
// of the cases that TestDifferences shows to be taken otherwise.
// BYHAND_STACKS sets how many, BYHAND_SEED where to begin.
func TestRandomStacks(t *testing.T) {
	count, seed := number("BYHAND_STACKS", 60), number("BYHAND_SEED", 1)
	if testing.Short() {
		count = 10
	}
	all := peers(t)
	cases := stacks()
	same := map[string]int{}
	made := 0
	for i := 0; made < count; i++ {
		s := teststack.Random(uint64(seed + i))
		if s.Doubt() != "" {
			continue
		}
		terse := made%3 == 2
		made++
		t.Run(fmt.Sprint("seed ", seed+i), func(t *testing.T) {
			layers := ordinary(s, terse)
			for name := range compareStack(t, all, cases, layers, terse) {
				same[name]++
			}
		})
	}
	t.Logf("of %d stacks these were compared: %v", count, same)
	for _, p := range all {
		if count >= 40 && same[p.name] < count/2 {
			t.Errorf("only %d of %d stacks were compared with %s", same[p.name], count, p.name)
		}
	}
}

func number(env string, def int) int {
	if n, err := strconv.Atoi(os.Getenv(env)); err == nil {
		return n
	}
	return def
}

// compareStack expects the same tree of every peer, and returns with which it
// was compared.
func compareStack(t *testing.T, all []peer, cases map[string]stack, layers [][]teststack.Op, terse bool) map[string]bool {
	t.Helper()
	work := tmpfs(t)
	image, flat := filepath.Join(work, "image"), filepath.Join(work, "flat")
	var tars [][]byte
	var story strings.Builder
	for i, ops := range layers {
		tars = append(tars, teststack.Layer{Ops: ops}.Tar())
		fmt.Fprintf(&story, "layer %d:\n", i+1)
		for _, o := range ops {
			fmt.Fprintf(&story, "  %s\n", o)
		}
	}
	writeImage(t, image, tars)
	if err := flatten(t, image, flat); err != nil {
		t.Fatalf("%v\n%s", err, &story)
	}
	done := map[string]bool{}
	for _, p := range all {
		names := quirks(layers, p.name)
		for _, name := range names {
			if p.outcome(cases[name]).same() {
				t.Errorf("%s is the same case for %s", name, p.name)
			}
		}
		if len(names) > 0 {
			continue
		}
		// The case "implicit parent".
		o := treecmp.Options{NoDirTime: terse && p.name == "overlayfs"}
		if differ, refused := p.compare(t, image, flat, work, o); len(differ) > 0 || refused != "" {
			t.Errorf("%s differs: %q %s\n%s", p.name, differ, refused, &story)
		}
		done[p.name] = true
	}
	return done
}
