package testneed

import (
	"os"
	"testing"
)

// ShortDir returns a temporary directory, gone with the test, whose name is
// shorter than that of [testing.T.TempDir], and in lower case: a socket's name
// may have 107 bytes, and podman takes no more than 50 for a directory of its own.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
