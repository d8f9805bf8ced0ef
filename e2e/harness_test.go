// Package e2e tests byhand as its users have it: the built program, real
// registries, real runtimes, real images.
package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/demo"
	"github.com/byhand/byhand/internal/testneed"
)

// built is what TestMain makes once for all tests, readable by every user.
type built struct{ byhand, image string }

// shared is set by TestMain before any test; tests only read it.
var shared built

func TestMain(m *testing.M) {
	if code, again := testneed.PrivateMounts(); again {
		os.Exit(code)
	}
	testneed.HeedSignals()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "byhand-e2e-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return m.Run()
}

func build(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	shared = built{byhand: filepath.Join(dir, "byhand"), image: filepath.Join(dir, "image")}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", shared.byhand, "github.com/byhand/byhand/cmd/byhand")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build byhand: %w: %s", err, out)
	}
	program, err := demo.Compile(ctx, runtime.GOARCH)
	if err != nil {
		return err
	}
	if _, err := demo.Build(shared.image, demo.Options{
		Tag: "v1", Programs: map[string][]byte{runtime.GOARCH: program}, Hostname: "e2e",
	}); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

// lab is one user with a store and a place for bundles.
type lab struct {
	t   *testing.T
	dir string
}

// newLab gives a fresh one; whatever stays mounted below it when the test
// ends is unmounted before anything is deleted, and counts as a failure of
// the test only where a test says so.
func newLab(t *testing.T) lab {
	t.Helper()
	l := lab{t: t, dir: t.TempDir()}
	t.Cleanup(l.unmountAll)
	return l
}

func (l lab) unmountAll() {
	l.t.Helper()
	for _, m := range l.mounts() {
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil {
			l.t.Errorf("unmount %s: %v", m, err)
		}
	}
}

// unmount unmounts one thing, at once.
func (l lab) unmount(name string) {
	l.t.Helper()
	if err := unix.Unmount(name, 0); err != nil {
		l.t.Fatalf("unmount %s: %v", name, err)
	}
}

func (l lab) path(name string) string { return filepath.Join(l.dir, name) }

// mounts lists what is mounted below the lab, deepest first.
func (l lab) mounts() []string {
	l.t.Helper()
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(l.dir))
	if err != nil {
		l.t.Fatal(err)
	}
	var points []string
	for i := len(infos) - 1; i >= 0; i-- {
		points = append(points, infos[i].Mountpoint)
	}
	return points
}

// result is how a command ended.
type result struct {
	code           int
	stdout, stderr string
}

// run starts a program with the lab's own home and waits for it.
func (l lab) run(name string, args ...string) result {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir = l.dir
	cmd.Env = append(os.Environ(), "HOME="+l.dir, "DOCKER_CONFIG="+l.dir, "XDG_RUNTIME_DIR="+l.dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		l.t.Fatalf("%s: %v", name, err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// byhand runs the program on the lab's store.
func (l lab) byhand(args ...string) result {
	l.t.Helper()
	return l.run(shared.byhand, append([]string{"--store", l.path("store"), "--progress", "none"}, args...)...)
}

// must fails the test unless the command succeeded, and gives its output.
func (l lab) must(r result) string {
	l.t.Helper()
	if r.code != 0 {
		l.t.Fatalf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// serve starts `byhand serve` and gives host:port.
func (l lab) serve(args ...string) string {
	l.t.Helper()
	cmd := exec.Command(shared.byhand, append([]string{"serve"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil && cmd.ProcessState.ExitCode() > 0 {
			l.t.Logf("serve: %v: %s", err, stderr.String())
		}
	})
	line := make([]byte, 256)
	n, err := out.Read(line)
	if err != nil {
		l.t.Fatalf("serve said no address: %v: %s", err, stderr.String())
	}
	return strings.TrimPrefix(strings.TrimSpace(string(line[:n])), "http://")
}

func wantCode(t *testing.T, r result, code int, said string) {
	t.Helper()
	if r.code != code || !strings.Contains(r.stderr, said) {
		t.Errorf("exit %d, expected %d; %q should be in %q", r.code, code, said, r.stderr)
	}
	if strings.Count(r.stderr, "\n") > 1 && code != 2 {
		t.Errorf("an error of more than one line: %s", r.stderr)
	}
}
