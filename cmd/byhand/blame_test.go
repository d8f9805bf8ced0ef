package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/testregistry"
	"github.com/byhand/byhand/internal/testtar"
)

// TestBlame has each object of an image fail in each way: the one line that says
// so names the image, and the layer by number and digest, or what else it was.
func TestBlame(t *testing.T) {
	faults := map[string]struct {
		fault testregistry.Fault
		code  int
	}{
		"gone":     {testregistry.Fault{Status: http.StatusNotFound}, exitNotFound},
		"refused":  {testregistry.Fault{Status: http.StatusTeapot}, exitUnreachable},
		"down":     {testregistry.Fault{Status: http.StatusServiceUnavailable}, exitUnreachable},
		"hung up":  {testregistry.Fault{Hangup: true}, exitUnreachable},
		"longer":   {testregistry.Fault{Extra: []byte("x")}, exitVerification},
		"shorter":  {testregistry.Fault{Drop: new(int64(9))}, exitVerification},
		"modified": {testregistry.Fault{Flip: new(int64(9))}, exitVerification},
	}
	for name, f := range faults {
		for _, object := range []string{"manifest", "config", "layer 2"} {
			if object == "manifest" && f.code == exitVerification {
				continue // a tag promises no digest
			}
			t.Run(name+" "+object, func(t *testing.T) {
				reg, image, parts := twoLayers(t)
				reg.Fault(parts[object], f.fault)
				_, log, code := command(t, "--store", t.TempDir(), "--limit", "base=1ms", "--limit", "attempts=2", "pull", reg.Repo(image))
				lines := strings.Split(strings.TrimSpace(log), "\n")
				last := lines[len(lines)-1]
				want := []string{object, " of " + reg.Repo(image)}
				switch object {
				case "manifest":
					want = []string{"manifest " + reg.Repo(image)}
				default:
					want = append(want, strings.TrimPrefix(parts[object], "/blobs/"))
				}
				for _, w := range want {
					if !strings.Contains(last, w) {
						t.Errorf("the error does not say %q: %s", w, last)
					}
				}
				if code != f.code {
					t.Errorf("exit code %d, expected %d: %s", code, f.code, log)
				}
			})
		}
	}
}

// TestOnlyTheWrongLayerAgain has one layer wrong while another one is on its way:
// that one is not fetched again, and not said to be.
func TestOnlyTheWrongLayerAgain(t *testing.T) {
	reg, image, parts := twoLayers(t)
	reg.Fault(parts["layer 1"], testregistry.Fault{Stall: new(int64(0))})
	reg.Fault(parts["layer 2"], testregistry.Fault{Flip: new(int64(9))})
	_, log, code := command(t, "--store", t.TempDir(), "pull", reg.Repo(image))
	if n := strings.Count(log, "fetching it once more"); code != exitVerification || n != 1 {
		t.Errorf("exit code %d, expected %d; said %d times that a layer is fetched again, expected 1:\n%s", code, exitVerification, n, log)
	}
}

// twoLayers is a registry with an image of two layers, and the part of the path
// of each of its objects.
func twoLayers(t *testing.T) (reg *testregistry.Registry, image string, parts map[string]string) {
	t.Helper()
	reg = testregistry.New(t, testregistry.Options{})
	parts = map[string]string{"manifest": "/manifests/"}
	var layers []ocispec.Descriptor
	var diffIDs []digest.Digest
	for i := range 2 {
		l := reg.AddBlob("app", testtar.Tar(testtar.File(fmt.Sprint("f", i), "1")))
		l.MediaType = ocispec.MediaTypeImageLayer
		layers, diffIDs = append(layers, l), append(diffIDs, l.Digest)
		parts[fmt.Sprint("layer ", i+1)] = "/blobs/" + l.Digest.String()
	}
	reg.AddImage("app", "v1", layers, diffIDs)
	out, log, code := command(t, "--store", t.TempDir(), "inspect", "--raw", reg.Repo("app:v1"))
	var m ocispec.Manifest
	if err := json.Unmarshal([]byte(out), &m); err != nil || code != exitOK {
		t.Fatalf("exit code %d, %v: %s", code, err, log)
	}
	parts["config"] = "/blobs/" + m.Config.Digest.String()
	return reg, "app:v1", parts
}
