// Package testbundle makes small OCI runtime bundles for tests, with a static
// busybox as their whole root file system.
package testbundle

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/byhand/byhand/internal/testneed"
)

// Options for [Make]; the zero value runs /bin/true.
type Options struct {
	Args     []string
	Terminal bool
	UID, GID uint32
	// Empty leaves rootfs an empty directory; the tree is in lower instead.
	Empty bool
	// HostPIDs shares the machine's pid namespace.
	HostPIDs bool
	// HostNetwork shares the machine's network namespace.
	HostNetwork bool
	// Change, if not nil, has the last word.
	Change func(*specs.Spec)
}

// Make writes a bundle and returns its directory, which ends with the test
// and which every user may read.
func Make(t testing.TB, o Options) string {
	t.Helper()
	testneed.Tool(t, "busybox")
	dir := t.TempDir()
	Open(t, dir)
	tree := filepath.Join(dir, "rootfs")
	if o.Empty {
		tree = filepath.Join(dir, "lower")
		must(t, os.Mkdir(filepath.Join(dir, "rootfs"), 0o755))
	}
	Tree(t, tree)
	spec := Spec(o)
	if o.Change != nil {
		o.Change(spec)
	}
	text, err := json.MarshalIndent(spec, "", "\t")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644))
	return dir
}

// Open lets every user search the directories that lead to dir inside the
// test's temporary directory.
func Open(t testing.TB, dir string) {
	t.Helper()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		must(t, os.Chmod(d, 0o755))
	}
}

// Tree makes a root file system in dir.
func Tree(t testing.TB, dir string) {
	t.Helper()
	for _, d := range []string{"bin", "proc", "sys", "dev", "tmp", "etc", "home"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	must(t, os.Chmod(filepath.Join(dir, "tmp"), 0o1777))
	path, err := exec.LookPath("busybox")
	must(t, err)
	must(t, copyFile(path, filepath.Join(dir, "bin", "busybox")))
	for _, applet := range []string{
		"cat", "chmod", "echo", "env", "false", "head", "hostname", "id", "kill", "ls", "mkdir", "mount", "ps", "pwd", "sh", "sleep", "stty",
		"test", "touch", "true", "tty", "wc", "yes",
	} {
		must(t, os.Symlink("busybox", filepath.Join(dir, "bin", applet)))
	}
	must(t, os.WriteFile(filepath.Join(dir, "etc", "plain"), []byte("no program\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "bin", "malformed"), []byte("\x7fELF is all of it"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "bin", "rootonly"), []byte("#!/bin/sh\n"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "bin", "orphan"), []byte("#!/bin/no-such-interpreter\n"), 0o755))
}

// Spec is the configuration that Make writes, before Change.
func Spec(o Options) *specs.Spec {
	if o.Args == nil {
		o.Args = []string{"/bin/true"}
	}
	caps := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETUID"}
	namespaces := []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}}
	if !o.HostPIDs {
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	if !o.HostNetwork {
		namespaces = append(namespaces, specs.LinuxNamespace{Type: specs.NetworkNamespace})
	}
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=64k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
	}
	if o.HostPIDs {
		mounts[0] = specs.Mount{Destination: "/proc", Type: "bind", Source: "/proc", Options: []string{"rbind"}}
	}
	return &specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: "rootfs"},
		Process: &specs.Process{
			Terminal: o.Terminal, Args: o.Args, Cwd: "/",
			Env:  []string{"PATH=/bin", "TERM=xterm"},
			User: specs.User{UID: o.UID, GID: o.GID},
			Capabilities: &specs.LinuxCapabilities{
				Bounding: caps, Effective: caps, Permitted: caps,
			},
		},
		Mounts: mounts,
		Linux:  &specs.Linux{Namespaces: namespaces},
	}
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
