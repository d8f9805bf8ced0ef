package overlay_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
)

// TestFIFO has a FIFO in the place of each of the store's documents in turn:
// nothing waits for somebody to write to it.
func TestFIFO(t *testing.T) {
	for _, pattern := range []string{"oci-layout", "index.json", "store.json", "blobs/sha256/*", "layers/*/layer.json", "bundles/*.json"} {
		t.Run(pattern, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			s := open(t, dir)
			src := source(testtar.Tar(testtar.File("f", "1")))
			layers := addAll(t, s, src)
			img := putImage(t, s, "example.org/a:1", ocispec.Platform{OS: "linux", Architecture: "amd64"}, src)
			if err := s.Use(t.Context(), filepath.Join(t.TempDir(), "b"), []overlay.ChainID{layers[0].ChainID}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			names, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil || len(names) == 0 {
				t.Fatalf("no %s: %v", pattern, err)
			}
			for _, name := range names {
				if err := os.Remove(name); err != nil {
					t.Fatal(err)
				}
				if err := unix.Mkfifo(name, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				s, err := overlay.Open(t.Context(), dir, options())
				if err != nil {
					return
				}
				// Whether these fail is another matter: they must return.
				_, _ = s.Images(t.Context())
				_, _ = s.Find(t.Context(), img.Name, *img.Manifest.Platform)
				_, _ = s.ReadBlob(t.Context(), img.Manifest.Digest)
				_, _ = s.AddAll(t.Context(), sources(src), overlay.AddOptions{})
				_, _ = s.Prune(t.Context())
				_ = s.Close()
			}()
			select {
			case <-done:
			case <-time.After(time.Minute):
				t.Fatal("it waits for a FIFO")
			}
		})
	}
}
