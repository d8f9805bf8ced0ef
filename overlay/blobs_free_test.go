package overlay_test

import (
	"bytes"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/testtar"
)

// FreeBlobs takes what nobody refers to, and nothing else.
func TestFreeBlobs(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	image := putImage(t, s, "a", ocispec.Platform{OS: "linux", Architecture: "amd64"}, source(testtar.Tar(testtar.File("f", ""))))
	blob := func(content string) ocispec.Descriptor {
		desc := descriptor([]byte(content))
		if err := s.PutBlob(t.Context(), desc, bytes.NewReader([]byte(content))); err != nil {
			t.Fatal(err)
		}
		return desc
	}
	mine, other, leased := blob("mine"), blob("other"), descriptor([]byte("leased"))
	// Another process has just found or written this one.
	s2 := open(t, dir)
	if err := s2.PutBlob(t.Context(), leased, bytes.NewReader([]byte("leased"))); err != nil {
		t.Fatal(err)
	}
	freed, err := s.FreeBlobs(t.Context(), []digest.Digest{mine.Digest, leased.Digest, image.Manifest.Digest, digest.FromString("nothing")})
	if err != nil || freed.Blobs != 1 || freed.Bytes != 4 || len(freed.Kept) != 1 {
		t.Errorf("%+v, %v", freed, err)
	}
	if s.HasBlob(mine) || !s.HasBlob(other) || !s.HasBlob(leased) || !s.HasBlob(image.Manifest) {
		t.Error("freed the wrong ones")
	}
	if err := s2.Close(); err != nil {
		t.Fatal(err)
	}
	if freed, err = s.FreeBlobs(t.Context(), []digest.Digest{leased.Digest}); err != nil || freed.Blobs != 1 {
		t.Errorf("%+v, %v", freed, err)
	}
}
