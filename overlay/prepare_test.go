package overlay_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
)

// TestBundleForeignLinks: in a bundle that somebody else can change, no link of
// theirs leads root's mount elsewhere. Links of one's own may.
func TestBundleForeignLinks(t *testing.T) {
	testneed.Root(t) // for links of others
	const other = 65534
	layers := addAll(t, open(t, t.TempDir()), source(testtar.Tar(testtar.File("a", "a"))))
	for _, name := range []string{"rootfs", "upper", "work", "lower", "lower/1"} {
		t.Run(name, func(t *testing.T) {
			dir, elsewhere := t.TempDir(), t.TempDir()
			if err := overlay.Prepare(dir, layers); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, name)
			if name == "lower" {
				elsewhere = path + ".moved"
			}
			if err := errors.Join(os.Rename(path, path+".moved"), os.Symlink(elsewhere, path)); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(name, "lower/") {
				if err := os.Remove(path + ".moved"); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := overlay.BundleMount(dir); err != nil {
				t.Errorf("a link of one's own: %v", err)
			}
			if err := os.Lchown(path, other, other); err != nil {
				t.Fatal(err)
			}
			_, err := overlay.BundleMount(dir)
			if e := as[*overlay.BundleError](t, err); !strings.Contains(e.Error(), name+" is a symbolic link that belongs to user 65534") {
				t.Errorf("error %v", e)
			}
		})
	}
}
