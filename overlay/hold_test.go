package overlay_test

import (
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/overlay"
)

// What one process has looked at after holding it, another does not remove.
func TestHold(t *testing.T) {
	dir := t.TempDir()
	a, _ := twoImages(t, dir)
	top := descriptor(leaning("a").tar)
	s := open(t, dir)
	if err := s.Hold(t.Context(), []overlay.ChainID{a[1].ChainID}, []digest.Digest{top.Digest}); err != nil {
		t.Fatal(err)
	}
	other := open(t, dir)
	_, _ = other.Remove(t.Context(), "a:1") // it may say that something is in use
	if _, err := other.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !s.Has(a[1].ChainID) || !s.HasBlob(top) {
		t.Error("what was held is gone")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, _ = other.Remove(t.Context(), "a:1")
	if _, err := other.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if other.Has(a[1].ChainID) || other.HasBlob(top) {
		t.Error("what nobody holds is there")
	}
	if err := other.Hold(t.Context(), nil, []digest.Digest{"../x"}); err == nil {
		t.Error("no error for a digest that is none")
	}
}
