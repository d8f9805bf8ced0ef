// Package peers compares byhand's flat trees with those of other tools that
// unpack images, on layers made by hand, on random ones and on real images, and
// its containers with those of other engines.
// docs/differences.md and docs/bundle.md have the reason for every difference.
package peers_test

import (
	"os"
	"testing"

	"github.com/byhand/byhand/internal/testneed"
)

// TestMain gives the tests a mount namespace of their own: containerd mounts
// overlays while it unpacks, and its images are looked at as mounts.
func TestMain(m *testing.M) {
	if code, again := testneed.PrivateMounts(); again {
		os.Exit(code)
	}
	os.Exit(m.Run())
}
