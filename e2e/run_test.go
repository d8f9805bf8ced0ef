package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testneed"
)

// findings is how many lines the demo program prints of a right container.
const findings = 9

// TestRuntimes: an image from a registry with tokens, unpacked, runs under
// each runtime, started by hand and by byhand.
func TestRuntimes(t *testing.T) {
	testneed.Root(t)
	for _, runtime := range []string{"runc", "runc-current", "crun"} {
		t.Run(runtime, func(t *testing.T) {
			testneed.Tool(t, runtime)
			l := newLab(t)
			image := l.serve("--token-auth", "lab/demo:v1=oci:"+shared.image) + "/lab/demo:v1"
			bundle := l.path("bundle")
			if out := l.must(l.byhand("pull-and-unpack", image, bundle)); out != bundle+"\n" {
				t.Errorf("output %q, expected the bundle", out)
			}
			checkLook(t, l.runtime(runtime, bundle))
			l.must(l.byhand("overlay", "umount", bundle))
			checkLook(t, l.byhand("run", "--runtime", runtime, bundle))
			checkLook(t, l.byhand("run", "--runtime", runtime, image))
			if r := l.byhand("run", "--runtime", runtime, image, "--", "exit", "42"); r.code != 42 {
				t.Errorf("exit %d, expected the container's 42: %s", r.code, r.stderr)
			}
			if left := l.mounts(); len(left) > 0 {
				t.Errorf("still mounted: %v", left)
			}
		})
	}
}

// runtime starts a bundle as a person would. crun refuses machines that mount
// both kinds of cgroups, so there it does not see the second kind.
func (l lab) runtime(name, bundle string) result {
	l.t.Helper()
	id := fmt.Sprintf("byhand-e2e-%d-%s", os.Getpid(), name)
	args := []string{name, "--root", l.path("runtime-" + name), "run", "--bundle", bundle, id}
	var st unix.Statfs_t
	const unified = "/sys/fs/cgroup/unified"
	if name == "crun" && unix.Statfs(unified, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		args = append([]string{
			"unshare", "--mount", "--propagation", "private",
			"sh", "-c", "umount " + unified + ` && exec "$@"`, "sh",
		}, args...)
	}
	return l.run(args[0], args[1:]...)
}

// copyScripts puts scripts where every user may read them, which a work tree
// need not be, and gives the first one's path.
func (l lab) copyScripts(names ...string) string {
	l.t.Helper()
	dir := l.path("scripts")
	if err := os.Mkdir(dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join("../scripts", name))
		if err != nil {
			l.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o755); err != nil {
			l.t.Fatal(err)
		}
	}
	return filepath.Join(dir, names[0])
}

func checkLook(t *testing.T, r result) {
	t.Helper()
	if ok := strings.Count(r.stdout, "\n  ok  "); r.code != 0 || ok != findings {
		t.Errorf("exit %d, %d findings of %d: %s%s", r.code, ok, findings, r.stdout, r.stderr)
	}
}

// TestDemoScript runs what the README promises, as root and as an ordinary
// user, who is told what was left out.
func TestDemoScript(t *testing.T) {
	l := newLab(t)
	for _, dir := range []string{l.dir, filepath.Dir(l.dir)} {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	script := l.copyScripts("demo", "lib.sh")
	env := []string{"BYHAND=" + shared.byhand, "IMAGE=" + shared.image, "TMPDIR=" + l.dir, "XDG_RUNTIME_DIR=" + l.dir}
	users := map[string][]string{"this user": {"env"}}
	if os.Geteuid() == 0 {
		testneed.Tool(t, "setpriv")
		users["nobody"] = []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=" + l.dir}
	}
	for name, prefix := range users {
		t.Run(name, func(t *testing.T) {
			l.t = t
			args := append(append(append([]string{}, prefix[1:]...), env...), script)
			r := l.run(prefix[0], args...)
			if r.code != 0 || !strings.Contains(r.stdout, "WWW-") && !strings.Contains(r.stdout, "Www-Authenticate: Bearer") {
				t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
			}
			checkLook(t, r)
			ordinary := name != "this user" || os.Geteuid() != 0
			if got := strings.Contains(r.stdout, "Left out"); got != ordinary {
				t.Errorf("something left out: %v, ordinary user: %v: %s", got, ordinary, r.stdout)
			}
			left, err := os.ReadDir(l.dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range left {
				if strings.HasPrefix(e.Name(), "byhand-demo.") {
					t.Errorf("left behind: %s", e.Name())
				}
			}
		})
	}
}
