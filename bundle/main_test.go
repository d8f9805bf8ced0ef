package bundle_test

import (
	"os"
	"testing"

	"github.com/byhand/byhand/internal/testneed"
)

// TestMain gives the tests that mount a mount namespace of their own.
func TestMain(m *testing.M) {
	if code, again := testneed.PrivateMounts(); again {
		os.Exit(code)
	}
	os.Exit(m.Run())
}
