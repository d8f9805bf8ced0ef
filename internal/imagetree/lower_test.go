package imagetree_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/testtar"
)

// TestLower lists each layer's own lower dir.
func TestLower(t *testing.T) {
	tree := build(t, append(three(), entries{testtar.File("d/sub/x", ""), testtar.Whiteout("h")})...)
	want := [][]string{
		{". implicit 1.0", "d 1.0", "d/a 1.1", "d/b 1.2", "l 1.3"},
		{". implicit 2.0", "d implicit 2.0", "d/a whiteout 2.0", "d/c 2.0", "h 1.2", "z 2.3"},
		{". implicit 3.0", "d opaque implicit 3.0", "d/b 3.1", "l whiteout 3.0"},
		{". implicit 4.0", "d implicit 4.0", "d/sub implicit 4.0", "d/sub/x 4.0", "h whiteout 4.0"},
	}
	for i := range want {
		var got []string
		err := tree.WalkLower(t.Context(), i+1, func(e imagetree.LowerFile) error {
			var line strings.Builder
			line.WriteString(e.Name)
			for word, is := range map[string]bool{" whiteout": e.Whiteout, " opaque": e.Opaque} {
				if is {
					line.WriteString(word)
				}
			}
			if e.Implicit {
				line.WriteString(" implicit")
			}
			got = append(got, fmt.Sprintf("%s %d.%d", line.String(), e.Content.Layer, e.Content.Ordinal))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[i], got); diff != "" {
			t.Errorf("layer %d:\n%s", i+1, diff)
		}
	}
	stop := errors.New("stop")
	if err := tree.WalkLower(t.Context(), 1, func(imagetree.LowerFile) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}
