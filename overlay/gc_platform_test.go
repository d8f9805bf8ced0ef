package overlay_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/overlay"
)

// TestRemovePlatform removes one of two platforms of a name, the one that other
// tools find; they find the other afterwards.
func TestRemovePlatform(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	arm := ocispec.Platform{OS: "linux", Architecture: "arm64"}
	amd := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	putImage(t, s, "a:1", arm, whole("arm"))
	putImage(t, s, "a:1", amd, whole("amd"))
	_, err := s.RemovePlatform(t.Context(), ocispec.Platform{OS: "linux", Architecture: "s390x"}, "a:1")
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, as[*overlay.NotFoundError](t, err).Available); diff != "" {
		t.Errorf("available (-want +got):\n%s", diff)
	}
	if _, err := s.RemovePlatform(t.Context(), amd, "a:1"); err != nil {
		t.Fatal(err)
	}
	imgs, err := s.Images(t.Context())
	if err != nil || len(imgs) != 1 || imgs[0].Manifest.Platform.Architecture != "arm64" {
		t.Errorf("left %+v, %v", imgs, err)
	}
	var idx ocispec.Index
	if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, "index.json"))), &idx); err != nil {
		t.Fatal(err)
	}
	if name := idx.Manifests[0].Annotations[ocispec.AnnotationRefName]; name != "a:1" {
		t.Errorf("other tools find it under %q", name)
	}
}
