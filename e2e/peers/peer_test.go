package peers_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testneed"
)

// peer is a tool that unpacks images.
type peer struct {
	name string
	// unpack shows the tree of the image in the layout, which is there until
	// done is called. What the tool said is told if it refused the image.
	unpack func(t *testing.T, image, work string) (tree string, done func(), refused string)
	// What it treats its own way in every image, as docs/differences.md
	// tells, and what the case "root directory" shows.
	noRoot, noDirTime bool
}

// outcome is what is expected of the peer.
func (p peer) outcome(s stack) outcome {
	return map[string]outcome{"umoci": s.umoci, "overlayfs": s.overlayfs, "native": s.native}[p.name]
}

// The versions of the tools that the tables here and in docs/differences.md
// are about.
const (
	umociVersion      = "0.4."
	containerdVersion = "1.6."
)

// peers starts what has to be started, for as long as the test runs.
func peers(t *testing.T) []peer {
	t.Helper()
	testneed.Root(t)
	testneed.Tool(t, "umoci", "containerd", "ctr")
	version(t, umociVersion, "umoci", "--version")
	version(t, containerdVersion, "containerd", "--version")
	d := startContainerd(t)
	return []peer{
		{name: "umoci", unpack: umoci},
		{name: "overlayfs", unpack: d.unpacker("overlayfs"), noRoot: true},
		{name: "native", unpack: d.unpacker("native"), noRoot: true, noDirTime: true},
	}
}

func version(t *testing.T, want, name string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
	if !strings.Contains(string(out), " "+want) {
		testneed.Missing(t, name+" is of another version than "+want+"x: "+string(out))
	}
}

func umoci(t *testing.T, image, work string) (tree string, done func(), refused string) {
	t.Helper()
	bundle := filepath.Join(work, "umoci")
	out, err := exec.CommandContext(t.Context(), "umoci", "unpack", "--image", image+":"+tag, bundle).CombinedOutput()
	if err != nil {
		return "", nil, string(out)
	}
	return filepath.Join(bundle, "rootfs"), func() {}, ""
}

// tmpfs mounts a file system in memory, gone with the test: unpacking is
// fast there, and overlayfs takes it as an upper directory on any machine.
func tmpfs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// daemon is a containerd of the test's own.
type daemon struct{ dir, address string }

// containerdConfig leaves out what unpacking has no use for, and whatever
// works outside the daemon's own directory. Nothing may be collected, since
// ctr holds on to nothing.
const containerdConfig = `version = 2
root = "DIR/root"
state = "DIR/state"
disabled_plugins = [
	"io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.runtime.v1.linux",
	"io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
	"io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "DIR/s"
[ttrpc]
  address = "DIR/t"
[plugins."io.containerd.gc.v1.scheduler"]
  startup_delay = "24h"
  deletion_threshold = 0
  mutation_threshold = 1000000000
`

// startTimeout is a thousand times what the start takes on an idle machine.
const startTimeout = 3 * time.Minute

// startContainerd runs containerd until the test ends.
func startContainerd(t *testing.T) daemon {
	t.Helper()
	dir := daemonDir(t)
	d := daemon{dir: dir, address: filepath.Join(dir, "s")}
	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(containerdConfig, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	startDaemon(t, dir, func() error {
		_, err := d.ctr(t, "version")
		return err
	}, 0, "containerd", "--config", config, "--log-level", "warn")
	return d
}

// daemonDir is a file system in memory for all that a daemon writes.
func daemonDir(t *testing.T) string {
	t.Helper()
	// A socket's path may have no more than 107 bytes.
	dir, err := os.MkdirTemp("", "byhand-peers-")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// startDaemon runs a program in new namespaces until the test ends, and waits
// until it answers.
func startDaemon(t *testing.T, dir string, answers func() error, namespaces uintptr, name string, args ...string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context())) // t's ends before its cleanups
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = startTimeout
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Cloneflags: namespaces}
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		stop()
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // stopped in the end, or seen not to answer
		close(ended)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-ended:
			t.Fatalf("%s ended: %s", name, log.String())
		default:
		}
		if answers() == nil {
			return
		}
	}
	t.Fatalf("%s does not answer", name)
}

// ctr runs containerd's client and gives what it said.
func (d daemon) ctr(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ctr", append([]string{"--address", d.address, "--namespace", "byhand"}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+d.dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must is ctr that cannot fail.
func (d daemon) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := d.ctr(t, args...)
	if err != nil {
		t.Fatalf("ctr %q: %v: %s", args, err, out)
	}
	return out
}

// unpacker imports an image and shows a read-only mount of it.
func (d daemon) unpacker(snapshotter string) func(t *testing.T, image, work string) (string, func(), string) {
	return func(t *testing.T, image, work string) (string, func(), string) {
		t.Helper()
		name, file := "test.invalid/"+snapshotter, filepath.Join(work, snapshotter+".tar")
		pack(t, image, file)
		said, err := d.ctr(t, "images", "import", "--snapshotter", snapshotter, "--base-name", name, file)
		forget := func() { d.must(t, "images", "rm", name+":"+tag) }
		if err != nil {
			forget()
			return "", nil, said
		}
		target := filepath.Join(work, snapshotter)
		if err := os.Mkdir(target, 0o755); err != nil {
			t.Fatal(err)
		}
		// `ctr images mount` takes the default snapshotter, whatever it is told.
		mount := d.must(t, "snapshots", "--snapshotter", snapshotter, "view", "--target", target, "view", topSnapshot(t, image))
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", mount).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", mount, err, out)
		}
		return target, func() {
			if err := unix.Unmount(target, 0); err != nil {
				t.Error(err)
			}
			d.must(t, "snapshots", "--snapshotter", snapshotter, "rm", "view")
			forget()
		}, ""
	}
}
