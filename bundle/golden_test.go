package bundle_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/testneed"
)

var update = flag.Bool("update", false, "write testdata/*/config.json anew")

// goldenOptions says with which options testdata/NAME is made.
func goldenOptions() map[string]bundle.Options {
	subids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65536}}
	return map[string]bundle.Options{
		"minimal":    {},
		"everything": {},
		"docker":     {},
		"case":       {},
		"overridden": {
			Args: []string{"-c", "exit 3"}, Entrypoint: &[]string{"/bin/sh"}, Env: []string{"A=2", "PATH=/bin", "GONE", "NEW=1"},
			User: "app:staff", Workdir: "/tmp", Hostname: "h", Domainname: "d.example", Terminal: true,
			ConsoleSize: &specs.Box{Width: 80, Height: 25}, ReadOnly: true, NoNewPrivileges: true,
			CapAdd: []string{"net_admin"}, CapDrop: []string{"CAP_CHOWN", "mknod"},
		},
		"volumes":    {Volumes: []string{"/:/var/lib:ro", "/:/dev/shm"}},
		"host":       {Network: bundle.NetworkHost},
		"privileged": {Privileged: true},
		"rootless":   {Rootless: true},
		"rootless-subids": {
			Rootless: true, UIDMappings: subids, GIDMappings: subids, Network: bundle.NetworkHost,
		},
		"in-userns": {InUserNamespace: true, UIDMappings: subids, GIDMappings: subids},
	}
}

func TestGolden(t *testing.T) {
	schema := runtimeSchema(t)
	for name, o := range goldenOptions() {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join("testdata", name)
			config, err := os.ReadFile(filepath.Join(dir, "image.json"))
			if err != nil {
				t.Fatal(err)
			}
			o.Host = testHost()
			r, err := bundle.Spec(config, testRoot(), o)
			if err != nil {
				t.Fatalf("Spec: %v", err)
			}
			validate(t, schema, r)
			if (r.Spec.Linux.Seccomp == nil) != o.Privileged {
				t.Errorf("seccomp filter: %v", r.Spec.Linux.Seccomp)
			}
			r.Spec.Linux.Seccomp = nil // depends on architecture and kernel
			got := written(t, r)
			golden := filepath.Join(dir, "config.json")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("config.json (-want +got), or run with -update:\n%s", diff)
			}
		})
	}
}

// TestGoldenComplete keeps a directory without options from going unnoticed.
func TestGoldenComplete(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*/image.json")
	if err != nil || len(dirs) != len(goldenOptions()) {
		t.Errorf("testdata has %d images, the table %d options: %v", len(dirs), len(goldenOptions()), err)
	}
}

func written(t testing.TB, r bundle.Result) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := bundle.Write(dir, r, bundle.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func validate(t testing.TB, schema *jsonschema.Schema, r bundle.Result) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(written(t, r)))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(doc); err != nil {
		t.Errorf("runtime-spec schema: %v", err)
	}
}

// runtimeSchema compiles the schema that comes with the runtime-spec module.
func runtimeSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/opencontainers/runtime-spec").Output()
	if err != nil {
		t.Fatalf("find runtime-spec module: %v", err)
	}
	dir := strings.TrimSpace(string(out))
	if dir == "" {
		testneed.Missing(t, "this user's module cache does not have runtime-spec")
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft4) // some of the files do not say which draft they are
	c.UseLoader(schemaLoader{})
	s, err := c.Compile(filepath.Join(dir, "schema", "config-schema.json"))
	if err != nil {
		t.Fatalf("compile schema: %v", err)
	}
	return s
}

// schemaLoader mends references that lack the slash of a JSON pointer.
type schemaLoader struct{}

func (schemaLoader) Load(url string) (any, error) {
	data, err := os.ReadFile(strings.TrimPrefix(url, "file://"))
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(bytes.ReplaceAll(data, []byte("#definitions/"), []byte("#/definitions/"))))
}

// TestSchemaRefuses shows that the schema check can fail.
func TestSchemaRefuses(t *testing.T) {
	r := spec(t, `{"config":{"Cmd":["a"]}}`, bundle.Options{})
	r.Spec.Linux.Namespaces[0].Type = "nonsense"
	var doc any
	if err := json.Unmarshal(written(t, r), &doc); err != nil {
		t.Fatal(err)
	}
	if err := runtimeSchema(t).Validate(doc); err == nil {
		t.Error("the schema takes a namespace that does not exist")
	}
}
