package overlay_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testtar"
)

// TestForeignLocks: flock(2) asks for no permission but that to open a file. So
// whatever others can open of a store may be locked for ever, and byhand must
// not wait for that.
func TestForeignLocks(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	first := source(testtar.Tar(testtar.File("a", "a")))
	putImage(t, s, "first", ocispec.Platform{}, first)
	addAll(t, s, first)
	locked := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if path != dir && info.Mode().Perm()&0o004 == 0 {
			if d.IsDir() {
				return fs.SkipDir // nor can they open anything below
			}
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = f.Close() })
		locked++
		return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	})
	if err != nil || locked < 3 { // the root, index.json, oci-layout
		t.Fatalf("%d locked, error %v", locked, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	second := source(testtar.Tar(testtar.File("b", "b")))
	if _, err := tryPutImage(ctx, s, "second", ocispec.Platform{}, second); err != nil {
		t.Errorf("put image: %v", err)
	}
	addAll(t, s, first, second)
	if _, err := s.Remove(ctx, "first"); err != nil {
		t.Errorf("remove image: %v", err)
	}
	if _, err := s.Prune(ctx); err != nil {
		t.Errorf("prune: %v", err)
	}
}

// TestPrivate: nobody but the store's owner gets at what images hold.
func TestPrivate(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	src := source(testtar.Tar(testtar.File("a", "a")))
	putImage(t, s, "private", ocispec.Platform{}, src)
	addAll(t, s, src)
	for _, name := range []string{"blobs", "layers", "l", "staging", "bundles"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: mode %v, error %v; want 0700", name, info.Mode(), err)
		}
	}
}
