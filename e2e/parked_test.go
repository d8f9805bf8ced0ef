package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/testregistry"
	"github.com/byhand/byhand/internal/testtar"
)

// TestKilledBeforeBase: a command that is killed while all but the base layer
// is there leaves nothing to be fetched again but that.
func TestKilledBeforeBase(t *testing.T) {
	l, ref := newLab(t), newLab(t)
	r := testregistry.New(t, testregistry.Options{})
	var layers []ocispec.Descriptor
	var ids []digest.Digest
	for i := range 4 {
		d := r.AddBlob("lab/base", testtar.Tar(testtar.File(fmt.Sprint("d/", i), strings.Repeat("x", 200_000))))
		d.MediaType = ocispec.MediaTypeImageLayer
		layers, ids = append(layers, d), append(ids, d.Digest)
	}
	r.AddImage("lab/base", "v1", layers, ids)
	image := r.Host() + "/lab/base:v1"
	r.Fault(layers[0].Digest.Encoded(), testregistry.Fault{Stall: new(int64(100_000))})
	cmd, end := l.background("unpack", image)
	l.waitFor("three layers that wait for the base", func() bool {
		names, err := filepath.Glob(l.path("store/staging/*.layer/parked"))
		return err == nil && len(names) == 3
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	end()
	r.ClearFaults()
	l.must(l.byhand("unpack", image, l.path("tree")))
	for i, d := range layers {
		want := 1
		if i == 0 {
			want = 2
		}
		if n := r.Count("/blobs/" + d.Digest.String()); n != want {
			t.Errorf("layer %d was fetched %d times, expected %d", i+1, n, want)
		}
	}
	ref.must(ref.byhand("unpack", image, ref.path("tree")))
	sameTree(t, ref.path("tree"), l.path("tree"))
	trusted(l, ref)
	onlyNames(t, l.path("store/staging"), nil)
}
