package bundle_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/testneed"
)

// Tests here start real containers. Each start has a mount namespace of its
// own, so that nothing is left mounted whatever happens.

// runtimes finds the OCI runtimes: the distribution's runc and crun, and a
// current runc.
func runtimes(t *testing.T) map[string]string {
	t.Helper()
	testneed.Tool(t, "runc", "crun", "busybox", "unshare", "setpriv")
	found := map[string]string{"runc": "runc", "crun": "crun"}
	current := os.Getenv("BYHAND_TEST_RUNC_CURRENT")
	if current == "" {
		current, _ = exec.LookPath("runc-current")
	}
	if current != "" {
		found["runc-current"] = public(t, current)
	} else if os.Getenv("CI") == "true" {
		t.Fatal("needed in CI: a current runc, as runc-current on PATH or named by BYHAND_TEST_RUNC_CURRENT")
	} else {
		t.Log("no runc-current")
	}
	return found
}

// public copies a program to where every user may start it.
func public(t *testing.T, program string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "byhand-runtime")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	data, err := os.ReadFile(program)
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	to := filepath.Join(dir, "runc-current")
	if err == nil {
		err = os.WriteFile(to, data, 0o755)
	}
	if err == nil {
		err = os.Chmod(to, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// testUID is an ordinary user that no file of this machine belongs to.
const testUID = 54321

// shape is how a runtime is started.
type shape struct {
	name  string
	wrap  []string // command before the runtime
	user  bool     // as testUID
	share string   // what /etc/subuid gives that user
}

func shapes() []shape {
	const subid = "byhand-test:200000:65536\n"
	return []shape{
		{name: "root"},
		{name: "rootless-one-id", user: true},
		{name: "rootless-subids", user: true, share: subid},
		{name: "in-userns-one-id", user: true, wrap: []string{"unshare", "--user", "--map-root-user", "--mount"}},
		{name: "in-userns-subids", user: true, share: subid, wrap: []string{"unshare", "--user", "--map-root-user", "--map-auto", "--mount"}},
	}
}

// container is a bundle in the making.
type container struct {
	dir    string
	rootfs string
}

// newContainer makes a root filesystem from busybox.
func newContainer(t *testing.T) container {
	t.Helper()
	dir, err := os.MkdirTemp("", "byhand-bundle")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := container{dir: dir, rootfs: filepath.Join(dir, "rootfs")}
	files := map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n",
		"etc/group":  "root:x:0:\napp:x:1001:\nwheel:x:10:root,app\n",
		"proc/":      "", "sys/": "", "dev/": "", "tmp/": "", "root/": "",
		"data/file": "content of the image\n",
	}
	for applet := range strings.FieldsSeq("sh id env pwd cat mount grep ls touch hostname stat head mkdir mknod sleep tty stty unshare wc ping") {
		files["bin/"+applet] = "->busybox"
	}
	makeTree(t, c.rootfs, files)
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(busybox)
	if err == nil {
		err = os.WriteFile(filepath.Join(c.rootfs, "bin/busybox"), data, 0o755)
	}
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// write computes and writes the bundle.
func (c container) write(t *testing.T, config string, o bundle.Options) bundle.Result {
	t.Helper()
	root, err := bundle.OpenRoot(c.rootfs)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	r, err := bundle.Spec([]byte(config), root, o)
	if err != nil {
		t.Fatalf("Spec: %v", err)
	}
	if _, err := bundle.PopulateVolumes(t.Context(), c.dir, r.Volumes, root); err != nil {
		t.Fatal(err)
	}
	if err := bundle.Write(c.dir, r, bundle.WriteOptions{Replace: true}); err != nil {
		t.Fatal(err)
	}
	return r
}

// give hands the bundle to the ordinary user.
func (c container) give(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(c.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, testUID, testUID)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// prepare hides the machine's hybrid cgroups, which crun 1.8 refuses, and gives
// the ordinary user a passwd entry and subordinate IDs of its own. They lie over
// /etc as a whole: a mount on a file goes when another process, such as useradd,
// renames a new one to its place.
const prepare = `
mountpoint -q /sys/fs/cgroup/unified && umount /sys/fs/cgroup/unified
if [ -n "$ETC" ]; then
	mount -t overlay overlay -o "lowerdir=$ETC:/etc" /etc || exit 99
fi
exec "$@"
`

// start runs the bundle under the runtime and returns what it printed.
func (c container) start(t *testing.T, runtime string, s shape) (stdout, stderr string, err error) {
	t.Helper()
	state, err := os.MkdirTemp("", "byhand-state")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(state) })
	args := []string{"--mount", "--propagation", "private", "sh", "-c", prepare, "sh"}
	env := append(os.Environ(), "XDG_RUNTIME_DIR="+state)
	if s.user {
		c.give(t)
		env = append(env, "ETC="+userFiles(t, state, s.share))
		if err := os.Chown(state, testUID, testUID); err != nil {
			t.Fatal(err)
		}
		args = append(args, "setpriv", fmt.Sprint("--reuid=", testUID), fmt.Sprint("--regid=", testUID), "--clear-groups")
	}
	args = append(append(args, s.wrap...), runtime, "--root", filepath.Join(state, "r"), "run", "--bundle", c.dir, filepath.Base(c.dir))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", args...)
	var out, errOut bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", env, &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

func userFiles(t *testing.T, dir, share string) string {
	t.Helper()
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	etc := filepath.Join(dir, "etc")
	makeTree(t, etc, map[string]string{
		"passwd": string(passwd) + fmt.Sprintf("byhand-test:x:%d:%d::/:/bin/sh\n", testUID, testUID),
		"subuid": share, "subgid": share,
	})
	return etc
}

// facts runs a script that prints key=value lines.
func facts(t *testing.T, stdout string) map[string]string {
	t.Helper()
	m := map[string]string{}
	for line := range strings.Lines(stdout) {
		if k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			m[k] = v
		}
	}
	return m
}

func imageConfig(t *testing.T, process map[string]any) string {
	t.Helper()
	data, err := json.Marshal(map[string]any{"os": "linux", "config": process})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
