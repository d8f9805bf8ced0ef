package peers_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testneed"
)

// dockerVersion is the one that the table in docs/bundle.md is about.
const dockerVersion = "20.10."

// docker is a Docker engine of the test's own.
type docker struct{ dir, address string }

// dockerScript is the engine as the first process of its namespaces. The
// containerd that it starts, the shims, what they mount and what they write to
// /run are there only, and end with it.
const dockerScript = `mount -t proc proc /proc && mount -t tmpfs -o mode=755 tmpfs /run && exec "$0" "$@"`

// startDocker runs Debian's dockerd until the test ends.
func startDocker(t *testing.T) docker {
	t.Helper()
	testneed.Tool(t, "debian-dockerd", "debian-docker", "containerd", "runc")
	version(t, dockerVersion, "debian-dockerd", "--version")
	dir := daemonDir(t)
	d := docker{dir: dir, address: "unix://" + filepath.Join(dir, "s")}
	config, group := filepath.Join(dir, "daemon.json"), filepath.Base(dir)
	// The key would be written to /etc/docker.
	if err := os.WriteFile(config, fmt.Appendf(nil, `{"deprecated-key-path": "%s/key.json"}`, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeGroup(t, group) })
	startDaemon(t, dir, func() error { return d.command(t, "version").Run() }, unix.CLONE_NEWNS|unix.CLONE_NEWPID|unix.CLONE_NEWNET,
		"sh", "-c", dockerScript, "debian-dockerd", "--config-file", config, "--host", d.address, "--log-level", "warn",
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"),
		"--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", "/"+group,
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false")
	return d
}

// removeGroup removes what is left of the containers' common control group,
// once they are gone: that of one, too, which the runtime gave up to remove on a
// busy machine.
func removeGroup(t *testing.T, name string) {
	t.Helper()
	found, err := filepath.Glob("/sys/fs/cgroup/*/" + name)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range append(found, filepath.Join("/sys/fs/cgroup", name)) {
		err := rmdirs(dir)
		for end := time.Now().Add(startTimeout); err != nil && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			err = rmdirs(dir)
		}
		if err != nil {
			t.Errorf("remove %s: %v", dir, err)
		}
	}
}

// rmdirs removes a control group and those in it, which have files that cannot
// be removed.
func rmdirs(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, rmdirs(filepath.Join(dir, e.Name())))
		}
	}
	if err = errors.Join(err, unix.Rmdir(dir)); errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// command is one of the engine's client, which reads nothing of the user's.
func (d docker) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), "debian-docker", append([]string{"--config", d.dir, "--host", d.address}, args...)...)
}

// load gives the engine the image in a layout, with what makes it also the
// output of `docker save`, and returns the image's ID.
func (d docker) load(t *testing.T, image string) string {
	t.Helper()
	img := resolve(t, image)
	blob := func(of digest.Digest) string { return "blobs/sha256/" + of.Encoded() }
	config := img.Config.Descriptor.Digest
	var layers []string
	for _, l := range img.Layers {
		layers = append(layers, blob(l.Descriptor.Digest))
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": blob(config), "Layers": layers}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(image, "manifest.json"), manifest, 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(d.dir, "saved.tar")
	pack(t, image, file)
	if out, err := d.command(t, "load", "--input", file).CombinedOutput(); err != nil {
		t.Fatalf("docker load: %v: %s", err, out)
	}
	return string(config)
}
