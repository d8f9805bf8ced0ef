package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/testdaemon"
	"github.com/byhand/byhand/internal/testimages"
	"github.com/byhand/byhand/internal/testneed"
)

// TestMirror pulls an image of a registry that does not exist through nginx,
// which hosts.toml names as its mirror.
func TestMirror(t *testing.T) {
	l := newLab(t)
	r := testimages.StartRegistry(t, testimages.RegistryOptions{})
	r.Push(t, shared.image, "v1", "org/demo:v1")
	address, log := l.nginx(r.Addr)

	hosts := l.path("hosts")
	dir := filepath.Join(hosts, "registry.invalid")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	toml := fmt.Sprintf("[host.\"http://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", address)
	if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	out := l.must(l.byhand("--hosts-dir", hosts, "pull", "registry.invalid/org/demo:v1"))
	if !strings.HasPrefix(out, "sha256:") {
		t.Errorf("pull said %q", out)
	}
	for _, want := range []string{"GET /v2/org/demo/manifests/v1", "/blobs/sha256:", "ns=registry.invalid"} {
		l.waitFor("the mirror's line of "+want, func() bool { // it answers first and writes then
			requests, err := os.ReadFile(log)
			return err == nil && strings.Contains(string(requests), want)
		})
	}
	wantCode(t, l.byhand("--hosts-dir", "", "pull", "registry.invalid/org/demo:v1"), 6, "registry.invalid")
}

// nginx starts one that passes all on to upstream; it gives its address and
// the log of its requests.
func (l lab) nginx(upstream string) (address, log string) {
	l.t.Helper()
	testneed.Tool(l.t, "nginx")
	dir := l.path("nginx")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	log = filepath.Join(dir, "access.log")
	name := filepath.Join(dir, "nginx.conf")
	d := testdaemon.Start(l.t, func(addr string) *exec.Cmd {
		config := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events {}
http {
	access_log %[1]s/access.log;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	server { listen %[2]s; location / { proxy_pass http://%[3]s; proxy_set_header Host $http_host; } }
}
`, dir, addr, upstream)
		if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
			l.t.Fatal(err)
		}
		return exec.Command("nginx", "-e", filepath.Join(dir, "error.log"), "-p", dir, "-c", name)
	})
	return d.Addr, log
}
