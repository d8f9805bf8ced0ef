package overlay_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/testneed"
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

// TestRemoveByDigest removes the name that is given, and where there is none such
// all that the digest means.
func TestRemoveByDigest(t *testing.T) {
	for name, want := range map[string][]string{
		"host/a:1":       {"host/a:2", "host/a:1@", "host/a@", "host/b@"},
		"host/a:1@":      {"host/a:1", "host/a:2", "host/a@", "host/b@"},
		"host/a@":        {"host/a:1", "host/a:2", "host/a:1@", "host/b@"},
		"host/a:nosuch@": {"host/b@"},
		"host/b:nosuch@": {"host/a:1", "host/a:2", "host/a:1@", "host/a@"},
	} {
		s := open(t, t.TempDir())
		img := putImage(t, s, "host/a:1", linuxAMD64, whole("base"))
		full := func(name string) string {
			if strings.HasSuffix(name, "@") {
				name += img.Manifest.Digest.String()
			}
			return name
		}
		for _, other := range []string{"host/a:2", "host/a:1@", "host/a@", "host/b@"} {
			img.Name = full(other)
			if err := s.Tag(t.Context(), img); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Remove(t.Context(), full(name)); err != nil {
			t.Fatal(err)
		}
		imgs, err := s.Images(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var left []string
		for _, img := range imgs {
			left = append(left, img.Name)
		}
		for i := range want {
			want[i] = full(want[i])
		}
		if diff := cmp.Diff(sorted(want), sorted(left)); diff != "" {
			t.Errorf("without %s (-want +got):\n%s", name, diff)
		}
	}
}

// TestRemoveManyNames removes names by the hundreds, as rm $(images) does, in a
// time that is not their number's third power.
func TestRemoveManyNames(t *testing.T) {
	const many = 1500
	dir := t.TempDir()
	s := open(t, dir)
	img := putImage(t, s, "host/kept:1", linuxAMD64, whole("base"))
	var idx ocispec.Index
	if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, "index.json"))), &idx); err != nil {
		t.Fatal(err)
	}
	names := make([]string, many)
	for i := range names {
		names[i] = fmt.Sprintf("host/a:%d", i)
		d := idx.Manifests[0]
		d.Annotations = maps.Clone(d.Annotations)
		for k, v := range d.Annotations {
			if v == img.Name {
				d.Annotations[k] = names[i]
			}
		}
		idx.Manifests = append(idx.Manifests, d)
	}
	raw, err := json.Marshal(idx)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	start := testneed.CPUTime(t)
	freed, err := s.Remove(t.Context(), names...)
	if err != nil || len(freed.Images) != many {
		t.Fatalf("removed %d names, %v", len(freed.Images), err)
	}
	if took := testneed.CPUTime(t) - start; took > 10*time.Second {
		t.Errorf("%d names took %v of processor time", many, took)
	}
	if imgs, err := s.Images(t.Context()); err != nil || len(imgs) != 1 || imgs[0].Name != img.Name {
		t.Errorf("left %+v, %v", imgs, err)
	}
}
