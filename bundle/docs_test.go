package bundle_test

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/testneed"
)

// edits are the commands of docs/bundle.md.
func edits(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/bundle.md")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, m := range regexp.MustCompile(`(?m)^    edit '(.*)'$`).FindAllStringSubmatch(string(text), -1) {
		list = append(list, m[1])
	}
	if len(list) < 10 {
		t.Fatalf("docs/bundle.md has %d edits", len(list))
	}
	return list
}

func jq(t *testing.T, filter string, in []byte) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "jq", filter)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("jq %s: %v\n%s", filter, err, stderr.String())
	}
	return out
}

// TestDocumentedEdits shows that each does something, and that what it makes
// is a valid config.json.
func TestDocumentedEdits(t *testing.T) {
	testneed.Tool(t, "jq")
	schema := runtimeSchema(t)
	before := written(t, spec(t, `{"config":{"Cmd":["a"]}}`, bundle.Options{}))
	same := jq(t, ".", before)
	for _, edit := range edits(t) {
		after := jq(t, edit, before)
		if bytes.Equal(after, same) {
			t.Errorf("%s: changes nothing", edit)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(after))
		if err == nil {
			err = schema.Validate(doc)
		}
		if err != nil {
			t.Errorf("%s: %v", edit, err)
		}
	}
}

// TestStartEdited starts a container with all the edits whose effect it can
// see without anything set up on the machine.
func TestStartEdited(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "jq")
	const script = `echo "files=$(ulimit -n)"; echo "umask=$(umask)"; set -- $(grep ' /tmp ' /proc/mounts); echo "tmp=$3"
set -- $(grep ' /dev/shm ' /proc/mounts); echo "shm=$4"; echo "somaxconn=$(cat /proc/sys/net/core/somaxconn)"
set -- $(grep ' /mnt ' /proc/mounts); echo "mnt=$4"; set -- $(grep ^Seccomp: /proc/self/status); echo "seccomp=$2"`
	for name, runtime := range runtimes(t) {
		t.Run(name, func(t *testing.T) {
			c := newContainer(t)
			c.write(t, imageConfig(t, map[string]any{"Cmd": []string{"/bin/sh", "-c", script}}), bundle.Options{})
			data, err := os.ReadFile(c.dir + "/config.json")
			if err != nil {
				t.Fatal(err)
			}
			for _, edit := range edits(t) {
				if regexp.MustCompile(`rlimits|umask|"/tmp"|"/mnt"|shm|somaxconn|keyctl|fuse`).MatchString(edit) {
					data = jq(t, edit, data)
				}
			}
			if err := os.WriteFile(c.dir+"/config.json", data, 0o600); err != nil {
				t.Fatal(err)
			}
			out, errOut, err := c.start(t, runtime, shapes()[0])
			if err != nil {
				t.Fatalf("start: %v\n%s", err, errOut)
			}
			got := facts(t, out)
			for k, want := range map[string]string{
				"files": "512", "umask": "0027", "tmp": "tmpfs", "shm": "size=1048576k", "somaxconn": "1024", "seccomp": "2", "mnt": "ro,",
			} {
				if !strings.Contains(got[k], want) {
					t.Errorf("%s: expected %q, found %q", k, want, got[k])
				}
			}
		})
	}
}
