package e2e_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/demo"
	"github.com/byhand/byhand/internal/testneed"
)

// TestByHand runs the lines of docs/by-hand.md.
func TestByHand(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "runc", "jq", "awk", "bash")
	text, err := os.ReadFile("../docs/by-hand.md")
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	for line := range strings.Lines(string(text)) {
		if code, ok := strings.CutPrefix(line, "    "); ok {
			script.WriteString(code)
		}
	}
	l := newLab(t)
	// The mount by relative names counts for every store with these layers, so
	// no other test may have them.
	image := l.path("image")
	program, err := demo.Compile(t.Context(), runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := demo.Build(image, demo.Options{
		Tag: "v1", Programs: map[string][]byte{runtime.GOARCH: program}, Hostname: "by-hand",
	}); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"script": script.String(),
		"byhand": "#!/bin/sh\nexec " + shared.byhand + " --quiet --store " + l.path("store") + ` "$@"` + "\n",
	} {
		if err := os.WriteFile(l.path(name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r := l.run("env", "PATH="+l.dir+string(filepath.ListSeparator)+os.Getenv("PATH"),
		"IMAGE=oci:"+image+":v1", "BYHAND_STORE="+l.path("store"), "bash", "-euo", "pipefail", l.path("script"))
	if r.code != 0 || !strings.Contains(r.stdout, "Hello from a container") || !strings.Contains(r.stdout, "noNewPrivileges") {
		t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if left := l.mounts(); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
}
