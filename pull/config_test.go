package pull

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestCommandStrings reads the commands of early images, single strings, as
// Docker does, and refuses what neither it nor the image specification knows.
func TestCommandStrings(t *testing.T) {
	for _, c := range []struct {
		config     string
		entrypoint []string
		cmd        []string
		bad        bool
	}{
		{`{}`, nil, nil, false},
		{`{"Entrypoint":null,"Cmd":null}`, nil, nil, false},
		{`{"Entrypoint":["a","b"],"Cmd":["c"]}`, []string{"a", "b"}, []string{"c"}, false},
		{`{"Entrypoint":"a b","Cmd":"c"}`, []string{"a b"}, []string{"c"}, false},
		{`{"Entrypoint": "","Cmd":["c"]}`, nil, []string{"c"}, false},
		{`{"Cmd":[1]}`, nil, nil, true},
		{`{"Entrypoint":{}}`, nil, nil, true},
		{`{"Env":"A=1"}`, nil, nil, true},
	} {
		raw := fmt.Appendf(nil, `{"os":"linux","architecture":"arm64","config":%s,"rootfs":{"type":"layers"}}`, c.config)
		img, _, err := parseConfig("config", raw, &ocispec.Manifest{})
		if c.bad != (err != nil) {
			t.Errorf("%s: got error %v", c.config, err)
		}
		if c.bad {
			continue
		}
		if img.OS != "linux" || img.Architecture != "arm64" {
			t.Errorf("%s: platform %s/%s", c.config, img.OS, img.Architecture)
		}
		if diff := cmp.Diff([][]string{c.entrypoint, c.cmd}, [][]string{img.Config.Entrypoint, img.Config.Cmd}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.config, diff)
		}
	}
}
