package bundle_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/bundle"
)

// TestRemoveSwapped exchanges, while Remove runs, the directory above the bundle
// for one with another program's bundle in it: what is deleted has to be what
// was looked at.
func TestRemoveSwapped(t *testing.T) {
	root := t.TempDir()
	mine, theirs, link := filepath.Join(root, "mine"), filepath.Join(root, "theirs"), filepath.Join(root, "link")
	makeTree(t, theirs, map[string]string{"b/config.json": "{}", "b/rootfs/precious": ""})
	d := digest.FromString("x")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Symlink([]string{mine, theirs}[n%2], link+".new")
			_ = os.Rename(link+".new", link)
		}
	}()
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		if err := os.MkdirAll(filepath.Join(mine, "b"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := bundle.WriteImage(filepath.Join(mine, "b"), bundle.Image{Manifest: d, Config: d}); err != nil {
			t.Fatal(err)
		}
		_ = bundle.Remove(filepath.Join(link, "b"))
		if _, err := os.Stat(filepath.Join(theirs, "b/rootfs/precious")); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	<-stopped
}
