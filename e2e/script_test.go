package e2e_test

import (
	"fmt"
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

// TestScriptArchives makes scripts for one image in each form of archive.
func TestScriptArchives(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "skopeo", "tar", "gzip", "jq", "setfattr")
	l := newLab(t)
	archive, saved := l.path("oci.tar.gz"), l.path("saved.tar")
	l.must(l.run("tar", "--create", "--gzip", "--file", archive, "--directory", shared.image, "."))
	l.must(l.run("skopeo", "copy", "--insecure-policy", "--quiet", "oci:"+shared.image+":v1", "docker-archive:"+saved+":lab/demo:v1"))
	l.must(l.byhand("bundle", "--rootfs", "flat", "oci:"+shared.image+":v1", "want"))
	for i, image := range []string{"oci-archive:" + archive + ":v1", "docker-archive:" + saved, "docker-archive:" + saved + ":lab/demo:v1"} {
		box := fmt.Sprintf("box%d", i)
		file := l.path(box + ".sh")
		if err := os.WriteFile(file, []byte(l.must(l.byhand("script", "--rootfs", "flat", image, box))), 0o644); err != nil {
			t.Fatal(err)
		}
		l.must(l.run("dash", file))
		diffs, err := treecmp.Compare(l.path(box+"/rootfs"), l.path("want/rootfs"), treecmp.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range diffs {
			t.Errorf("%s: script | byhand: %s", image, d)
		}
		if l.read(box+"/config.json") != l.read("want/config.json") {
			t.Errorf("%s: another config.json", image)
		}
	}
	// Another archive in its place.
	if err := os.WriteFile(l.path("manifest.json"), []byte("[]"), 0o644); err != nil {
		t.Fatal(err)
	}
	l.must(l.run("tar", "--create", "--file", saved, "--directory", l.dir, "manifest.json"))
	l.must(l.run("rm", "-r", l.path("box1")))
	if r := l.run("dash", l.path("box1.sh")); r.code != 4 || !strings.Contains(r.stderr, "does not have the image any more") {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
}

// TestScriptTLS has a registry whose certificate the machine does not know.
func TestScriptTLS(t *testing.T) {
	testneed.Tool(t, "curl", "jq", "setfattr")
	l := newLab(t)
	registry := testimages.StartRegistry(t, testimages.RegistryOptions{TLS: true})
	image := registry.Push(t, shared.image, "v1", "lab/demo")
	for box, options := range map[string][]string{"ca": {"--cert-dir", registry.CADir}, "any": {"--tls-verify=false"}} {
		args := append(options, "script", "--rootfs", "flat", "--user", "0", image, box)
		file := l.path(box + ".sh")
		if err := os.WriteFile(file, []byte(l.must(l.byhand(args...))), 0o644); err != nil {
			t.Fatal(err)
		}
		l.must(l.run("dash", file))
		if script := l.read(box + ".sh"); strings.Contains(script, "--insecure") != (box == "any") {
			t.Errorf("%s: --insecure is wrong", box)
		}
		plain := strings.NewReplacer(` --cacert "$tmp/ca-origin"`, "", " --insecure", "").Replace(l.read(box + ".sh"))
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(plain, "dir=./"+box, "dir=./no")), 0o644); err != nil {
			t.Fatal(err)
		}
		if r := l.run("dash", file); r.code != 6 {
			t.Errorf("%s: without what the option gave: exit %d, %s", box, r.code, r.stderr)
		}
	}
}
