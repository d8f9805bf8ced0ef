package e2e_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

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
	requests, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"GET /v2/org/demo/manifests/v1", "/blobs/sha256:", "ns=registry.invalid"} {
		if !strings.Contains(string(requests), want) {
			t.Errorf("the mirror was not asked for %q: %s", want, requests)
		}
	}
	wantCode(t, l.byhand("--hosts-dir", l.path("none"), "pull", "registry.invalid/org/demo:v1"), 6, "registry.invalid")
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
	address = freeAddr(l.t)
	log = filepath.Join(dir, "access.log")
	config := fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log %[1]s/error.log; worker_processes 1;
events {}
http {
	access_log %[1]s/access.log;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	server { listen %[2]s; location / { proxy_pass http://%[3]s; proxy_set_header Host $http_host; } }
}
`, dir, address, upstream)
	name := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command("nginx", "-e", filepath.Join(dir, "error.log"), "-p", dir, "-c", name)
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // ended by the signal
	})
	awaitListener(l.t, address)
	return address, log
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

func awaitListener(t *testing.T, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", address)
		if err == nil {
			_ = conn.Close()
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("nothing listens on %s: %v", address, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
