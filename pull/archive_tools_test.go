package pull_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/pull"
)

// Archives as a tool of the field writes them.
func TestSkopeoArchives(t *testing.T) {
	testneed.Tool(t, "skopeo")
	b := newBlobs(t)
	base, top := gzipLayer(t, tarOf(t, "a", "one", "b", string(words(300_000, 1)))), gzipLayer(t, tarOf(t, "c", "two"))
	b.index(named(b.image(amd64(), base, top), "1.0"))
	for kind, suffix := range map[string]string{"docker-archive": ":example.com/app:1.0", "oci-archive": ":1.0", "oci": ":1.0"} {
		t.Run(kind, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "image")
			cmd := exec.CommandContext(t.Context(), "skopeo", "--insecure-policy", "copy", "oci:"+b.dir+":1.0", kind+":"+name+suffix)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			checkImage(t, &pull.Client{}, kind+":"+name+suffix, base, top)
			checkImage(t, &pull.Client{}, kind+":"+name, base, top)
		})
	}
}
