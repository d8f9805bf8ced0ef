package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testuser"
)

// ordinary is a lab of an ordinary user's.
type ordinary struct {
	lab
	user testuser.User
}

// newOrdinary gives a lab to u.
func newOrdinary(t *testing.T, u testuser.User) ordinary {
	t.Helper()
	l := newLab(t)
	l.dir = u.Home
	return ordinary{l, u}
}

// as runs a command as the user. crun refuses machines that mount both kinds
// of control groups, so the user sees the first alone.
func (o ordinary) as(args ...string) result {
	o.t.Helper()
	const hide = `if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec "$@"`
	prefix := []string{
		"--mount", "--propagation", "private", "sh", "-c", hide, "sh",
		"setpriv", fmt.Sprint("--reuid=", o.user.UID), fmt.Sprint("--regid=", o.user.GID), "--clear-groups", "--inh-caps=-all", "env", "-i",
	}
	prefix = append(append(prefix, o.user.Env()...), "BYHAND_STORE="+o.path("store"), "XDG_RUNTIME_DIR="+o.dir)
	return o.run("unshare", append(prefix, args...)...)
}

func (o ordinary) byhand(args ...string) result {
	o.t.Helper()
	return o.as(append([]string{shared.byhand, "--progress", "none"}, args...)...)
}

// TestOrdinaryUser: images run, bundles run under plain runtimes, and bundles
// are removed, also what belongs to others and what nobody may write.
func TestOrdinaryUser(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "unshare", "setpriv", "newuidmap")
	image := "oci:" + shared.image + ":v1"
	for name, u := range map[string]func(testing.TB) testuser.User{"subids": testuser.WithSubids, "one ID": testuser.WithoutSubids} {
		t.Run(name, func(t *testing.T) {
			o := newOrdinary(t, u(t))
			many := name == "subids"
			run := o.byhand("run", image, "--", "id")
			if many && (run.code != 0 || run.stdout != "uid=1000 gid=1000 groups=[1000 1001]\n" || run.stderr != "") {
				t.Errorf("exit %d: %q %q", run.code, run.stdout, run.stderr)
			}
			line := "echo " + o.user.Name + ":"
			if !many && (run.code != 125 || strings.Count(run.stderr, line) != 2 || !strings.Contains(run.stderr, ":65536 | sudo tee -a /etc/subuid /etc/subgid\n")) {
				t.Errorf("exit %d, expected 125, and a line for /etc/subuid in the warning and the error: %q", run.code, run.stderr)
			}
			if r := o.byhand("run", "--user", "0:0", image, "--", "id"); r.code != 0 || !strings.HasPrefix(r.stdout, "uid=0 gid=0 ") {
				t.Errorf("as root: exit %d: %q %q", r.code, r.stdout, r.stderr)
			}
			for _, runtime := range []string{"runc", "crun"} {
				o.plainRuntime(runtime, image, many)
			}
			if left := names(t, o.path("store/run")); len(left) > 0 {
				t.Errorf("run directories: %v", left)
			}
			if left := names(t, o.path("store/bundles")); len(left) > 0 {
				t.Errorf("records of bundles: %v", left)
			}
		})
	}
}

// plainRuntime starts a bundle without byhand, and removes it.
func (o ordinary) plainRuntime(runtime, image string, many bool) {
	o.t.Helper()
	testneed.Tool(o.t, runtime)
	user := "0:0"
	if many {
		user = "demo"
	}
	dir := o.path(runtime)
	o.must(o.byhand("-q", "bundle", "--user", user, image, dir, "--", "id"))
	r := o.as(runtime, "--root", o.path("state-"+runtime), "run", "--bundle", dir, "byhand-e2e-"+runtime)
	if want := map[string]string{"0:0": "uid=0 gid=0 ", "demo": "uid=1000 gid=1000 "}[user]; r.code != 0 || !strings.HasPrefix(r.stdout, want) {
		o.t.Errorf("%s: exit %d, expected %q: %q %q", runtime, r.code, want, r.stdout, r.stderr)
	}
	// What a container may have left: locked, and another user's.
	locked := filepath.Join(dir, "rootfs", "locked")
	if err := os.MkdirAll(filepath.Join(locked, "in"), 0o755); err != nil {
		o.t.Fatal(err)
	}
	owner, group := int(o.user.UID), int(o.user.GID)
	if st, err := os.Stat(filepath.Join(dir, "rootfs/home/demo")); err == nil && many {
		owner, group = int(st.Sys().(*syscall.Stat_t).Uid), int(st.Sys().(*syscall.Stat_t).Gid)
		if owner == int(o.user.UID) {
			o.t.Error("home/demo belongs to the caller, expected another ID")
		}
	}
	for _, path := range []string{filepath.Join(locked, "in"), locked} {
		if err := os.Chown(path, owner, group); err != nil {
			o.t.Fatal(err)
		}
		if err := os.Chmod(path, 0o555); err != nil {
			o.t.Fatal(err)
		}
	}
	if out := o.must(o.byhand("rm", dir)); out != "removed "+dir+"\n" {
		o.t.Errorf("rm says %q", out)
	}
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		o.t.Errorf("%s is still there", dir)
	}
}

// TestCallersNamespace: in a user namespace that the caller made, as a rootless
// container is one, a bundle is for a runtime in there.
func TestCallersNamespace(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "unshare", "setpriv", "runc")
	o := newOrdinary(t, testuser.WithoutSubids(t))
	const script = `cd "$2" && "$0" -q bundle --user 0:0 "$1" b -- id && runc --root state run --bundle b byhand-e2e-callers && "$0" run b`
	r := o.as("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, shared.byhand, "oci:"+shared.image+":v1", o.dir)
	if r.code != 0 || strings.Count(r.stdout, "uid=0 gid=0 ") != 2 {
		t.Errorf("exit %d, expected two containers: %q %q", r.code, r.stdout, r.stderr)
	}
}

// TestHelperRefuses: where newuidmap does not give an ordinary user the IDs of
// /etc/subuid, byhand says so, and does what one ID can do.
func TestHelperRefuses(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "unshare", "setpriv", "newuidmap")
	o := newOrdinary(t, testuser.WithSubids(t))
	bin := t.TempDir()
	for _, dir := range []string{bin, filepath.Dir(bin)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(bin, "newuidmap"), []byte("#!/bin/sh\necho not today >&2; exit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := o.as("env", "PATH="+bin+":/usr/bin:/bin", shared.byhand, "--progress", "none", "unpack", "oci:"+shared.image+":v1", o.path("tree"))
	first, _, _ := strings.Cut(r.stderr, "\n")
	want := "byhand: warning: owners other than you cannot be kept: map ids with " + bin + "/newuidmap: exit status 1: not today"
	if r.code != 0 || first != want {
		t.Errorf("exit %d, expected 0: %q, expected %q", r.code, r.stderr, want)
	}
}
