package pull

import (
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/testregistry"
)

// TestMetadataTime has small answers trickle: never a stall, and never complete.
// A layer may take as long as it likes.
func TestMetadataTime(t *testing.T) {
	manifest := []byte(`{"schemaVersion":2}` + strings.Repeat(" ", 500))
	token := []byte(`{"token":"` + strings.Repeat("x", 500) + `"}`)
	config := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}
	layer := config
	layer.MediaType = ocispec.MediaTypeImageLayerGzip
	tests := map[string]struct {
		part  string // of the path that trickles
		pause time.Duration
		ask   func(*testing.T, provider) error
		want  error
	}{
		"a manifest by tag": {part: "/manifests/", ask: func(t *testing.T, p provider) error {
			_, err := p.manifest(t.Context(), "latest")
			return err
		}, want: &UnreachableError{}},
		"a manifest by digest": {part: "/manifests/", ask: func(t *testing.T, p provider) error {
			_, err := p.manifest(t.Context(), config.Digest.String())
			return err
		}, want: &UnreachableError{}},
		"tags": {part: "/tags/", ask: func(t *testing.T, p provider) error {
			_, err := p.tags(t.Context())
			return err
		}, want: &UnreachableError{}},
		"a config": {part: "/blobs/", ask: func(t *testing.T, p provider) error {
			_, err := readBlob(t.Context(), p, config, 0)
			return err
		}, want: &UnreachableError{}},
		"a token": {part: "/token", ask: func(t *testing.T, p provider) error {
			_, err := p.manifest(t.Context(), "latest")
			return err
		}, want: &UnreachableError{}},
		"a layer": {part: "/blobs/", pause: 6 * time.Millisecond, ask: func(t *testing.T, p provider) error {
			_, err := readBlob(t.Context(), p, layer, 0)
			return err
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := testregistry.New(t, testregistry.Options{Auth: testregistry.Auth{Token: tt.part == "/token"}})
			reg.AddManifest("app", "latest", "application/json", manifest)
			reg.AddBlob("app", manifest)
			f := testregistry.Fault{Pause: tt.pause, Chunk: 1}
			if f.Pause == 0 {
				f.Pause = 200 * time.Millisecond
			}
			if tt.part == "/token" {
				f.Body = token
			}
			reg.Fault(tt.part, f)
			c := quickClient(t)
			c.Retry.MetadataTime = 2 * time.Second
			start := time.Now()
			err := tt.ask(t, mustRegistry(t, c, reg.Repo("app")))
			checkKind(t, err, tt.want)
			if tt.want == nil {
				if d := time.Since(start); d < c.Retry.MetadataTime {
					t.Errorf("it took %v: the test tests nothing", d)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), "limit MetadataTime of 2s") {
				t.Errorf("error %v does not name the limit", err)
			}
			if n := reg.Count(tt.part); n != lateAttempts {
				t.Errorf("%d requests, want %d", n, lateAttempts)
			}
		})
	}
}

// TestWrongCopyIsNamedOnce warns of a wrong copy while there is another one to
// get, and names it once. The last one's is the error.
func TestWrongCopyIsNamedOnce(t *testing.T) {
	manifest := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}`)
	wrong := new(int64(3))
	for name, times := range map[string]int{"once": 1, "always": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := testregistry.New(t, testregistry.Options{})
			desc := reg.AddManifest("app", "latest", ocispec.MediaTypeImageManifest, manifest)
			blob := reg.AddBlob("app", noise(100)) // of another digest, with chances of its own
			reg.Fault("/v2/app/manifests/", testregistry.Fault{Flip: wrong, Times: times})
			reg.Fault("/v2/app/blobs/", testregistry.Fault{Flip: wrong, Times: times})
			c := quickClient(t)
			var log eventLog
			c.Observe = log.add
			ref, err := ParseReference(reg.Repo("app"))
			if err != nil {
				t.Fatal(err)
			}
			s, err := c.newSource(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = s.manifest(t.Context(), "the manifest", desc)
			_, blobErr := s.document(t.Context(), "the config", blob)
			for _, err := range []error{err, blobErr} {
				want := error(&DigestError{})
				if times == 1 {
					want = nil
				}
				checkKind(t, err, want)
			}
			// The origin has two chances: one warning each, whatever follows.
			w := log.warnings()
			if len(w) != 2 {
				t.Fatalf("warnings %q, want two", w)
			}
			for i, object := range []string{"the manifest", "the config"} {
				if strings.Count(w[i], object) != 1 || !strings.HasSuffix(w[i], "; fetching it anew") {
					t.Errorf("warning %q", w[i])
				}
			}
		})
	}
}
