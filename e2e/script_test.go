package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/testimages"
	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/treecmp"
)

// TestScriptDebian compares what a script makes of a real image, from a real
// registry and with nothing of byhand's on the machine, with what byhand makes.
func TestScriptDebian(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "curl", "jq", "setfattr", "zstd", "dash", "runc", "shellcheck")
	layout := testimages.Get(t, testimages.Debian())
	l := newLab(t)
	registry := testimages.StartRegistry(t, testimages.RegistryOptions{Username: "ann", Password: `s3"cr\et`})
	image := registry.Push(t, layout, testimages.Tag, "lab/debian")
	login := []string{"--creds", registry.Username + ":" + registry.Password}

	script := l.must(l.byhand(append(login, "script", image, "box")...))
	file := l.path("script.sh")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	l.must(l.run("shellcheck", "--shell", "sh", file))
	env := []string{"-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + l.dir}
	if r := l.run("env", append(env, "dash", file)...); r.code != 5 || !strings.Contains(r.stderr, "wants another login") {
		t.Errorf("without a login: exit %d, %s", r.code, r.stderr)
	}
	env = append(env, "REGISTRY_USER="+registry.Username, "REGISTRY_PASSWORD="+registry.Password)
	r := l.run("env", append(env, "dash", file)...)
	l.must(r)
	if strings.Contains(r.stderr+r.stdout+script, registry.Password) || strings.Contains(r.stderr+script, `cr\et`) {
		t.Errorf("the password shows:\n%s", r.stderr)
	}
	l.must(l.byhand(append(login, "pull-and-unpack", image, "want")...))

	for _, name := range []string{"config.json", "image.json"} {
		if got, want := l.read("box/"+name), l.read("want/"+name); got != want {
			t.Errorf("%s is\n%s\nexpected\n%s", name, got, want)
		}
	}
	diffs, err := treecmp.Compare(l.path("box/rootfs"), l.path("want/rootfs"), treecmp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range diffs {
		t.Errorf("script | byhand: %s", d)
	}
	out := l.must(l.run("runc", "run", "--bundle", l.path("box"), "script-"+filepath.Base(l.dir)))
	if out != "" {
		t.Errorf("the shell says %q", out)
	}
}

func (l lab) read(name string) string {
	l.t.Helper()
	data, err := os.ReadFile(l.path(name))
	if err != nil {
		l.t.Fatal(err)
	}
	return string(data)
}
