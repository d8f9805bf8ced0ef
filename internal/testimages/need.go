package testimages

import (
	"testing"

	"github.com/byhand/byhand/internal/testneed"
)

// Get is Build for tests: it skips where the machine cannot make images.
func Get(t testing.TB, r Recipe) string {
	t.Helper()
	testneed.Root(t)
	testneed.Tool(t, "mmdebstrap", "unshare", "tar")
	dir, err := Build(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
