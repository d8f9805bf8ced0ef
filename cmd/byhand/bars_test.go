package main

import (
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/pull"
)

// TestBarsSay: a bar says what is done with a layer, and nothing else.
func TestBarsSay(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	layer := &pull.Layer{Descriptor: ocispec.Descriptor{Digest: digest.FromString("layer"), Size: 1000}}
	d := layer.Descriptor.Digest
	for w, want := range map[work][2]string{
		workPull:   {"fetching", "checking"},
		workUnpack: {"fetching", "unpacking"},
		workRead:   {"fetching", "reading"},
		workVerify: {"checking", "checking"},
	} {
		b := newBars(null)
		b.plan(&pull.Image{Layers: []*pull.Layer{layer}}, w)
		for i, bytes := range []int64{0, layer.Descriptor.Size} { // at once: there is no rate yet
			b.fetched(d, bytes)
			if got := b.layers[d].text(); got != want[i] {
				t.Errorf("%d, layer with %d bytes: %q, want %q", w, bytes, got, want[i])
			}
			if got := b.meter.text(w); got != want[i] {
				t.Errorf("%d, all with %d bytes: %q, want %q", w, bytes, got, want[i])
			}
		}
		b.close()
	}
}
