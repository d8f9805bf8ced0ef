package pull_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/byhand/byhand/pull"
)

// TestManyNames: documents of the largest size that is read, full of names that
// are all different, take no time to speak of. Compared each with each, the
// names of the archive took minutes.
func TestManyNames(t *testing.T) {
	repeat := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	layout := func(manifests string) string {
		dir := t.TempDir()
		index := `{"schemaVersion":2,"manifests":[` + manifests + `]}`
		if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte(index), 0o600); err != nil {
			t.Fatal(err)
		}
		return "oci:" + dir
	}
	archive := newArchiver(t).file("manifest.json", []byte(`[{"RepoTags":[`+repeat(500_000, `"%x"`)+`]},{}]`))
	for name, ref := range map[string]string{
		"tags of a docker archive": "docker-archive:" + writeFile(t, archive.bytes()),
		"names of a layout":        layout(repeat(45_000, `{"digest":"%[1]d","annotations":{"org.opencontainers.image.ref.name":"%[1]x"}}`)),
		"platforms of an index":    layout(repeat(75_000, `{"digest":"%[1]d","platform":{"os":"%[1]x"}}`)),
	} {
		t.Run(name, func(t *testing.T) {
			r, err := pull.ParseReference(ref)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() {
				_, err := (&pull.Client{}).Resolve(context.Background(), r, pull.Platform{})
				done <- err
			}()
			select {
			case err := <-done:
				var missing *pull.NotFoundError
				var platform *pull.PlatformError
				if !errors.As(err, &missing) && !errors.As(err, &platform) || len(err.Error()) > 8<<10 {
					t.Errorf("error %.200v", err)
				}
			case <-time.After(time.Minute):
				t.Error("still at it after a minute")
			}
		})
	}
}

// TestManyLayersInArchive: the limit counts before an archive's layers are
// looked at, for each of which the whole of an entry may have to be read.
func TestManyLayersInArchive(t *testing.T) {
	l := plainLayer(nil)
	config := mustJSON(t, configFor(amd64(), l, l, l, l))
	e := dockerEntry{Config: "config", Layers: []string{"a", "b", "c", "d"}} // none is there
	name := writeFile(t, newArchiver(t).file("config", config).json("manifest.json", []dockerEntry{e}).bytes())
	r, err := pull.ParseReference("docker-archive:" + name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = (&pull.Client{Limits: pull.Limits{Layers: 3}}).Resolve(t.Context(), r, pull.Platform{})
	var limit *pull.LimitError
	if !errors.As(err, &limit) || limit.Limit != "Layers" || limit.Max != 3 || limit.Got != 4 {
		t.Errorf("error %v", err)
	}
}
