package main

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/testregistry"
	"github.com/byhand/byhand/internal/testtar"
)

// TestInspectRemoteNoTags has a repository without tags: its list of them is
// empty, as skopeo's, and not null, over which no jq goes.
func TestInspectRemoteNoTags(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	layer := r.AddBlob("app", testtar.Tar(testtar.File("f", "1")))
	layer.MediaType = ocispec.MediaTypeImageLayer
	d := r.AddImage("app", "", []ocispec.Descriptor{layer}, []digest.Digest{layer.Digest})
	r.Fault("/tags/list", testregistry.Fault{Status: http.StatusOK, Body: []byte(`{"name":"app","tags":[]}`)})
	out, log, code := command(t, "--store", t.TempDir(), "inspect", "--remote", r.Host()+"/app@"+d.Digest.String())
	var info map[string]json.RawMessage
	if err := json.Unmarshal([]byte(out), &info); err != nil || code != exitOK {
		t.Fatalf("exit code %d, %v: %s", code, err, log)
	}
	if got := string(info["RepoTags"]); got != "[]" {
		t.Errorf("RepoTags %s, expected []", got)
	}
}
