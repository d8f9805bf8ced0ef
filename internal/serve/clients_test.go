package serve_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/demo"
	"github.com/byhand/byhand/internal/serve"
	"github.com/byhand/byhand/internal/testneed"
)

// lab serves a demo image of two platforms to whoever shows lab:s3cret, and
// gives host:port.
func lab(t *testing.T) (image, string) {
	t.Helper()
	i := newImage(t, demo.Options{Tag: "v1", Programs: map[string][]byte{"amd64": []byte("a"), "arm64": []byte("b")}})
	auth := serve.NewTokenAuth(serve.TokenOptions{Username: "lab", Password: "s3cret"})
	server := start(t, serve.Options{Auth: auth}, "lab/demo="+i.dir)
	return i, strings.TrimPrefix(server.URL, "http://")
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := tryCommand(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// tryCommand runs a program that keeps what it keeps in a directory of the
// test's own.
func tryCommand(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "auth.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_RUNTIME_DIR="+home, "DOCKER_CONFIG="+home,
		"REGISTRY_AUTH_FILE="+filepath.Join(home, "auth.json"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		return stderr.String(), err
	}
	return stdout.String(), nil
}

func TestSkopeoPulls(t *testing.T) {
	testneed.Tool(t, "skopeo")
	i, host := lab(t)
	to := filepath.Join(t.TempDir(), "copy")
	command(t, "skopeo", "copy", "--all", "--src-tls-verify=false", "--src-creds", "lab:s3cret",
		"docker://"+host+"/lab/demo:v1", "oci:"+to+":v1")
	want, err := os.ReadDir(filepath.Join(i.dir, "blobs", "sha256"))
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range want {
		data, err := os.ReadFile(filepath.Join(to, "blobs", "sha256", blob.Name()))
		if err != nil || digest.FromBytes(data).Encoded() != blob.Name() {
			t.Errorf("copied blob %s: %v", blob.Name(), err)
		}
	}
	out := command(t, "skopeo", "list-tags", "--tls-verify=false", "--creds", "lab:s3cret", "docker://"+host+"/lab/demo")
	if !strings.Contains(out, `"v1"`) {
		t.Errorf("tags: %s", out)
	}
	if out, err := tryCommand(t, "skopeo", "inspect", "--tls-verify=false", "--creds", "lab:wrong",
		"docker://"+host+"/lab/demo:v1"); err == nil {
		t.Errorf("skopeo with a wrong password: %s", out)
	}
}

func TestCranePulls(t *testing.T) {
	testneed.Tool(t, "crane")
	i, host := lab(t)
	home := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "crane", args...)
		cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+home)
		cmd.Stdin = strings.NewReader("s3cret")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("crane %v: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	run("auth", "login", host, "-u", "lab", "--password-stdin")
	if got := run("digest", host+"/lab/demo:v1"); got != i.root.Digest.String() {
		t.Errorf("digest %s, expected %s", got, i.root.Digest)
	}
	to := filepath.Join(t.TempDir(), "copy")
	run("pull", "--format=oci", host+"/lab/demo:v1", to)
	run("validate", "--remote", host+"/lab/demo:v1")
	if _, err := os.Stat(filepath.Join(to, "blobs", "sha256", i.root.Digest.Encoded())); err != nil {
		t.Error(err)
	}
	if got := run("ls", host+"/lab/demo"); got != "v1" {
		t.Errorf("tags %q", got)
	}
	if got := run("catalog", host); got != "lab/demo" {
		t.Errorf("catalog %q", got)
	}
}

func TestPodmanPulls(t *testing.T) {
	testneed.Tool(t, "podman")
	testneed.Root(t)
	_, host := lab(t)
	dir := testneed.ShortDir(t)
	policy := filepath.Join(dir, "policy.json")
	if err := os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	store := []string{
		"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"),
		"--storage-driver", "vfs", "--events-backend", "none", "--cgroup-manager", "cgroupfs",
	}
	command(t, "podman", append(store, "pull", "--tls-verify=false", "--creds", "lab:s3cret",
		"--signature-policy", policy, host+"/lab/demo:v1")...)
	out := command(t, "podman", append(store, "image", "inspect", "--format", "{{.User}} {{len .RootFS.Layers}}",
		host+"/lab/demo:v1")...)
	if strings.TrimSpace(out) != "demo 5" {
		t.Errorf("podman has %q", out)
	}
}

func TestContainerdPulls(t *testing.T) {
	testneed.Tool(t, "containerd", "ctr")
	testneed.Root(t)
	i, host := lab(t)
	dir := testneed.ShortDir(t)
	config := filepath.Join(dir, "config.toml")
	socket := filepath.Join(dir, "s")
	if err := os.WriteFile(config, fmt.Appendf(nil, "version = 2\nroot = %q\nstate = %q\n"+
		"disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n[ttrpc]\naddress = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket, socket+".ttrpc"), 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command("containerd", "--config", config)
	daemon.Stderr = t.Output()
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		_ = daemon.Wait() // ended by the signal
	})
	ctr := func(args ...string) (string, error) {
		return tryCommand(t, "ctr", append([]string{"--address", socket}, args...)...)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if _, err := ctr("version"); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("containerd does not answer")
		}
	}
	if out, err := ctr("images", "pull", "--plain-http", "--user", "lab:s3cret", "--snapshotter", "native",
		host+"/lab/demo:v1"); err != nil {
		t.Fatalf("pull: %v: %s", err, out)
	}
	out, err := ctr("images", "ls")
	if err != nil || !strings.Contains(out, i.root.Digest.String()) {
		t.Errorf("images: %v: %s", err, out)
	}
}
