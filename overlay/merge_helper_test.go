package overlay_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/unpack"
)

const isolatedEnv = "BYHAND_TEST_ISOLATED"

// isolated runs the calling test once more in a process with a mount
// namespace of its own, whose mounts end with it, and returns false when that
// is done. In that process it returns true.
func isolated(t *testing.T) bool {
	t.Helper()
	if os.Getenv(isolatedEnv) != "" {
		return true
	}
	testneed.Root(t)
	rerun(t, "root", &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS})
	return false
}

// isolatedUser is isolated as the ordinary user 65534, who is root in a user
// namespace that knows no other user.
func isolatedUser(t *testing.T) bool {
	t.Helper()
	switch os.Getenv(isolatedEnv) {
	case "user":
		one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		rerun(t, "userns", &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, UidMappings: one, GidMappings: one,
		})
		return false
	case "userns":
		return true
	}
	attr := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	rerun(t, "user", attr)
	return false
}

func rerun(t *testing.T, mode string, attr *syscall.SysProcAttr) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=10m", fmt.Sprintf("-test.short=%v", testing.Short()))
	cmd.Env = append(os.Environ(), isolatedEnv+"="+mode, "TMPDIR=/tmp")
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in its own process: %v\n%s", err, out)
	}
	if bytes.Contains(out, []byte("--- SKIP")) {
		t.Skipf("in its own process:\n%s", out)
	}
	t.Logf("%s", out)
}

// tmpfs mounts a file system in memory for the test, in a namespace that
// isolated made.
func tmpfs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1g,mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// layerDir unpacks one layer on top of parents, as the store does.
func layerDir(tb testing.TB, dir string, parents []string, user bool, layer []byte) error {
	tb.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	f, err := os.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var o unpack.Options
	if user {
		o = unpack.Options{Format: unpack.OverlayUser, Owners: unpack.Squash}
	}
	res, err := unpack.Apply(context.Background(), f, bytes.NewReader(layer), o)
	if err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	return overlay.Settle(context.Background(), f, parents, res.Pending, user)
}

// stack unpacks layers, base first, and returns their directories.
func stack(tb testing.TB, under string, layers ...[]testtar.Entry) []string {
	tb.Helper()
	var dirs []string
	for i, entries := range layers {
		dir := filepath.Join(under, fmt.Sprint("layer", i+1))
		if err := layerDir(tb, dir, dirs, false, testtar.Tar(entries...)); err != nil {
			tb.Fatalf("layer %d: %v", i+1, err)
		}
		dirs = append(dirs, dir)
	}
	return dirs
}

// list writes a tree as lines "name type mode owner size/target".
func list(tb testing.TB, dirs []string) string {
	tb.Helper()
	v, err := overlay.OpenView(dirs)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = v.Close() }()
	var b strings.Builder
	err = v.Walk(context.Background(), func(e *overlay.Entry) error {
		fmt.Fprintf(&b, "%s %o %d:%d %d", e.Name, e.Mode, e.UID, e.GID, e.ModTime.Unix())
		if e.Link != "" {
			fmt.Fprintf(&b, " -> %s", e.Link)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

// rerunAsUser runs the calling test once more as the user 65534.
func rerunAsUser(t *testing.T) {
	t.Helper()
	rerun(t, "ordinary", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
}
