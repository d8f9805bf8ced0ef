package e2e_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/demo"
	"github.com/byhand/byhand/internal/testimages"
	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/treecmp"
)

// TestRealRegistry pulls from Debian's docker-registry, with TLS, with
// passwords, and with both.
func TestRealRegistry(t *testing.T) {
	for name, o := range map[string]testimages.RegistryOptions{
		"plain":    {},
		"tls":      {TLS: true},
		"htpasswd": {Username: "ann", Password: "s3cret:x"},
		"both":     {TLS: true, Username: "ann", Password: "s3cret"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			r := testimages.StartRegistry(t, o)
			ref := r.Push(t, shared.image, "v1", "org/demo:v1")
			var options []string
			if o.TLS {
				options = append(options, "--cert-dir", r.CADir)
				wantCode(t, l.byhand("--tls-verify=true", "pull", ref), 6, "certificate")
			}
			if o.Username != "" {
				wrong := append(append([]string{}, options...), "--creds", "ann:wrong-0815", "pull", ref)
				denied := l.byhand(wrong...)
				wantCode(t, denied, 5, r.Addr)
				if strings.Contains(denied.stderr, "0815") {
					t.Errorf("the password is in the error: %s", denied.stderr)
				}
				wantCode(t, l.byhand(append(append([]string{}, options...), "pull", ref)...), 5, r.Addr)
				options = append(options, "--creds", o.Username+":"+o.Password)
			}
			digest := l.must(l.byhand(append(append([]string{}, options...), "pull", ref)...))
			if !strings.HasPrefix(digest, "sha256:") || strings.Count(digest, "\n") != 1 {
				t.Errorf("pull said %q, expected the manifest digest", digest)
			}
			if tags := l.must(l.byhand(append(append([]string{}, options...), "tags", r.Addr+"/org/demo")...)); tags != "v1\n" {
				t.Errorf("tags %q", tags)
			}
			wantCode(t, l.byhand(append(append([]string{}, options...), "pull", r.Addr+"/org/demo:v9")...), 4, "v9")
		})
	}
}

// TestDebianTree compares what becomes of a Debian image of five layers: the
// overlay, the flat tree, and umoci's tree.
func TestDebianTree(t *testing.T) {
	layout := testimages.Get(t, testimages.Debian())
	testneed.Tool(t, "umoci", "skopeo")
	l := newLab(t)
	ref := testimages.StartRegistry(t, testimages.RegistryOptions{}).Push(t, layout, testimages.Tag, "debian:test")

	l.must(l.byhand("pull-and-unpack", ref, l.path("overlay"), "--", "/bin/sh", "-c", "id && cat /srv/app/data && ! ls /usr/bin/nano"))
	l.must(l.byhand("pull-and-unpack", "--rootfs", "flat", ref, l.path("flat")))
	command(t, "umoci", "unpack", "--image", layout+":"+testimages.Tag, l.path("umoci"))

	overlay := l.path("overlay/rootfs")
	same(t, "flat", overlay, l.path("flat/rootfs"), treecmp.Options{})
	// umoci 0.4.7 gives a directory that a layer goes through a new time, keeps
	// no time of a symbolic link better than its own, and leaves whiteouts'
	// parents touched; what matters is the rest.
	// An unmodified runc starts it, as the user that the image names.
	r := l.runtime("runc", l.path("overlay"))
	if r.code != 0 || !strings.Contains(r.stdout, "uid=1500(app) gid=2000(shared)") || !strings.Contains(r.stdout, "\ndata\n") {
		t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	same(t, "umoci", overlay, l.path("umoci/rootfs"), treecmp.Options{NoDirTime: true, TimeTruncNS: 1e9})
}

func same(t *testing.T, name, a, b string, o treecmp.Options) {
	t.Helper()
	diffs, err := treecmp.Compare(a, b, o)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range diffs {
		if i == 20 {
			t.Errorf("%s: … and %d more", name, len(diffs)-i)
			break
		}
		t.Errorf("%s: %s", name, d)
	}
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = os.Environ()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// TestIndex pulls from a real registry what an index has for each platform.
func TestIndex(t *testing.T) {
	testneed.Tool(t, "skopeo")
	l := newLab(t)
	image := l.path("image")
	programs := map[string][]byte{"amd64": []byte("one"), "arm64": []byte("two")}
	if _, err := demo.Build(image, demo.Options{Tag: "v1", Programs: programs}); err != nil {
		t.Fatal(err)
	}
	ref := testimages.StartRegistry(t, testimages.RegistryOptions{}).Push(t, image, "v1", "org/two:v1")
	digests := map[string]bool{}
	for arch, program := range programs {
		digests[l.must(l.byhand("--platform", "linux/"+arch, "pull", ref))] = true
		config := l.must(l.byhand("--platform", "linux/"+arch, "inspect", "--raw", "--config", ref))
		if !strings.Contains(config, `"architecture":"`+arch+`"`) {
			t.Errorf("%s: the config is %s", arch, config)
		}
		tree := l.path(arch)
		l.must(l.byhand("--platform", "linux/"+arch, "unpack", ref, tree))
		if got, err := os.ReadFile(tree + "/usr/bin/hello"); err != nil || string(got) != string(program) {
			t.Errorf("%s: the program is %q, %v", arch, got, err)
		}
	}
	if len(digests) != 2 {
		t.Errorf("two platforms have %d manifests", len(digests))
	}
	missing := l.byhand("--platform", "linux/s390x", "pull", ref)
	wantCode(t, missing, 4, "linux/amd64")
	wantCode(t, missing, 4, "linux/arm64")
}
