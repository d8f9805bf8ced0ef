package overlay

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestMountEnded has an overlay unmounted, and its directories deleted, after it
// was listed: it uses no layer, though its names are those of one.
func TestMountEnded(t *testing.T) {
	s, err := Open(t.Context(), t.TempDir(), Options{UserXattr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	c := ChainID(digest.FromString("layer"))
	if err := os.MkdirAll(s.layout.diff(c), 0o755); err != nil {
		t.Fatal(err)
	}
	const noDevice = 1 << 19 // the kernel gives the lowest number that is free
	ended := stacked{target: "/rootfs", minor: noDevice, lower: []string{
		"l/" + c.short(), filepath.Join(t.TempDir(), "gone", c.name(), nameDiff),
	}}
	users := map[ChainID][]string{}
	if err := s.addMounts(users, []stacked{ended}); err != nil || len(users) != 0 {
		t.Errorf("users %q, %v; want none", users, err)
	}
}
