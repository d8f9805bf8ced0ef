package testneed

import (
	"os"
	"testing"
	"time"
)

// ShortDir returns a temporary directory, gone with the test, whose name is
// shorter than that of [testing.T.TempDir], and in lower case: a socket's name
// may have 107 bytes, and podman takes no more than 50 for a directory of its own.
// A program's helpers may write their last files while it is being removed.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, dir) })
	return dir
}

func remove(t testing.TB, dir string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		err := os.RemoveAll(dir)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Error(err)
			return
		}
	}
}
