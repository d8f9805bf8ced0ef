package overlay

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Oracle: a name in staging belongs to one kind; what is taken for a chain's
// name is exactly the name that this chain has; and building a path of what
// was read gives the name back.
func FuzzNames(f *testing.F) {
	hex := strings.Repeat("0123456789abcdef", 4)
	for _, s := range []string{
		hex, "sha512-" + hex + hex, hex + ".lock", "0123456789abcdef.owner", "0123456789abcdef-12", "0123456789abcdef--1",
		"sha256-" + hex + ".b00t.part", hex + ".b00t.layer", "x.b00t.layer", hex + "..layer", "sha256-" + hex, ".", "..", "a/b", "", "-", ".part", ".lock", "sha256-x",
	} {
		f.Add(s)
	}
	l := layout{root: "/store"}
	f.Fuzz(func(t *testing.T, name string) {
		if c, ok := chainOfName(name); ok {
			if c.name() != name || c.Digest().Validate() != nil {
				t.Errorf("%q is read as %q, whose name is %q", name, c, c.name())
			}
			if got := l.layer(c); filepath.Dir(got) != l.layers() || filepath.Base(got) != name {
				t.Errorf("layer path of %q is %q", name, got)
			}
			if kind, _ := classify(c.name() + suffixLock); kind != stagingLock {
				t.Errorf("the lock of %q is of kind %d", name, kind)
			}
			if kind, id := classify(filepath.Base(l.parked(c, "b00t"))); kind != stagingParked || id != "b00t" {
				t.Errorf("%q, parked, is of kind %d and boot %q", name, kind, id)
			}
		}
		kind, id := classify(name)
		if (kind == stagingOwner || kind == stagingWork) && !strings.HasPrefix(name, id) {
			t.Errorf("%q belongs to %q", name, id)
		}
		if kind != stagingForeign && filepath.Base(filepath.Join(l.staging(), name)) != name {
			t.Errorf("%q is no name of one file", name)
		}
		if kind == stagingOwner && l.owner(id) != filepath.Join(l.staging(), name) {
			t.Errorf("owner %q of %q has another file", id, name)
		}
	})
}

// Oracle: any index.json is either a CorruptError or survives being read,
// written and read again, and every image in it can be found by its name.
func FuzzIndex(f *testing.F) {
	hex := strings.Repeat("0123456789abcdef", 4)
	entry := `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` + hex + `","size":3`
	for _, s := range []string{
		``, `{}`, `null`, `{"schemaVersion":2}`, `{"schemaVersion":2,"manifests":null}`,
		`{"schemaVersion":2,"manifests":[` + entry + `,"annotations":{"org.opencontainers.image.ref.name":"a"}}]}`,
		`{"schemaVersion":2,"manifests":[` + entry + `,"annotations":{"io.byhand.name":"a:1","io.byhand.added":"x"},"platform":{"os":"linux","architecture":"arm64"}}]}`,
		`{"schemaVersion":2,"manifests":[{"digest":"sha256:x"}]}`,
		`{"schemaVersion":2,"annotations":{},"manifests":[` + entry + `,"annotations":{},"urls":[],"data":"","platform":{"os":"linux","architecture":"amd64","os.features":[]}}]}`,
		`{"schemaVersion":2,"artifactType":"","subject":` + entry + `,"annotations":{}},"manifests":[]}`,
	} {
		f.Add([]byte(s))
	}
	dir := f.TempDir()
	s, err := Open(f.Context(), dir, Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(s.layout.index(), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		idx, err := s.readIndex()
		if err != nil {
			if _, ok := errors.AsType[*CorruptError](err); !ok {
				t.Errorf("error is %T: %v", err, err)
			}
			return
		}
		imgs, err := s.Images(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, img := range imgs {
			var p ocispec.Platform
			if img.Manifest.Platform != nil {
				p = *img.Manifest.Platform
			}
			if got, err := s.Find(t.Context(), img.Name, p); err != nil || got.Name == "" {
				t.Errorf("Find %q: %q, %v", img.Name, got.Name, err)
			}
		}
		again, err := json.Marshal(idx)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.layout.index(), again, 0o600); err != nil {
			t.Fatal(err)
		}
		second, err := s.readIndex()
		// Lists without members are left out when written.
		if diff := cmp.Diff(idx, second, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("read again: %v (-first +second):\n%s", err, diff)
		}
	})
}
