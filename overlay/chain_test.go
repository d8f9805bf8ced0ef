package overlay_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
)

// The expected values were made with sha256sum and base32.
func TestChainIDs(t *testing.T) {
	a, b, c := digest.FromString("a"), digest.FromString("b"), digest.FromString("c")
	tests := []struct {
		name string
		in   []digest.Digest
		want []overlay.ChainID
	}{
		{"none", nil, []overlay.ChainID{}},
		{"one is its diff ID", []digest.Digest{a}, []overlay.ChainID{overlay.ChainID(a)}},
		{"three", []digest.Digest{a, b, c}, []overlay.ChainID{
			"sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
			"sha256:51c0c8ace48498d6f5fee6b0592cc06f2da0f3cbe09c5a34a97dce85c3889676",
			"sha256:2fce7f8ce91bcf0a1428b36e1024639fdbd9469eea762dba98aa749631885106",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, overlay.ChainIDs(tt.in)); diff != "" {
				t.Errorf("ChainIDs (-want +got):\n%s", diff)
			}
		})
	}
}

// A base layer of another algorithm than SHA-256 says so in its name; what is
// on top of it is SHA-256 again.
func TestLayerNames(t *testing.T) {
	s := open(t, t.TempDir())
	base := source(testtar.Tar(testtar.Dir("./"), testtar.File("f", "x")))
	base.diffID = digest.SHA512.FromBytes(base.tar)
	top := source(testtar.Tar(testtar.Dir("./"), testtar.File("g", "y")))
	layers := addAll(t, s, base, top)
	for i, want := range []string{"sha512-" + base.diffID.Encoded(), layers[1].ChainID.Digest().Encoded()} {
		if got := filepath.Base(filepath.Dir(layers[i].Dir)); got != want {
			t.Errorf("layer %d is in %s, want %s", i+1, got, want)
		}
		target, err := os.Readlink(layers[i].Link)
		if err != nil || target != "../layers/"+want+"/diff" {
			t.Errorf("link of layer %d leads to %q (%v)", i+1, target, err)
		}
		if n := len(filepath.Base(layers[i].Link)); n != 26 {
			t.Errorf("short name %s has %d characters, want 26", layers[i].Link, n)
		}
	}
}
