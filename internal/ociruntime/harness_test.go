package ociruntime_test

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/byhand/byhand/internal/testbundle"
	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testuser"
)

// runtimes are those that every behaviour is tested with: Debian's, and the
// programs that BYHAND_TEST_RUNTIMES names besides.
func runtimes() []string {
	return append([]string{"runc", "crun"}, strings.Fields(os.Getenv("BYHAND_TEST_RUNTIMES"))...)
}

// eachRuntime runs a test for every runtime, as root.
func eachRuntime(t *testing.T, test func(t *testing.T, runtime string)) {
	testneed.Root(t)
	for _, name := range runtimes() {
		t.Run(name, func(t *testing.T) {
			testneed.Tool(t, name)
			test(t, name)
		})
	}
}

// caller is a run in a process of its own.
type caller struct {
	*exec.Cmd
	spec runSpec
	out  *output // standard output and error, unless the test takes them
}

// newCaller prepares a run of bundle with an id of its own, and looks at the
// end of the test whether anything is left of it.
func newCaller(t testing.TB, spec runSpec, u *testuser.User) *caller {
	t.Helper()
	if spec.ID == "" {
		spec.ID = "test-" + randomName()
	}
	if spec.StateDir == "" {
		spec.StateDir = shortDir(t)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	c := &caller{spec: spec, out: &output{}}
	path := "/proc/self/exe"
	c.Cmd = exec.Command(path, "run", string(text))
	if u != nil {
		c.Path = testuser.Program(t)
		c.SysProcAttr = &syscall.SysProcAttr{Credential: u.Credential()}
		c.Env, c.Dir = u.Env(), u.Home
		if err := os.Chown(spec.StateDir, int(u.UID), int(u.GID)); err != nil {
			t.Fatal(err)
		}
	}
	c.Stdout, c.Stderr = c.out, c.out
	t.Cleanup(func() {
		if c.Process != nil && c.ProcessState == nil {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
		c.nothingLeft(t)
	})
	return c
}

// code runs to the end and returns the exit code, -1 if a signal ended it.
func (c *caller) code(t testing.TB) int {
	t.Helper()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c.end(t)
}

// end waits for a started run.
func (c *caller) end(t testing.TB) int {
	t.Helper()
	timer := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	err := c.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode()
}

// await waits until the run's output holds text.
func (c *caller) await(t testing.TB, text string) {
	t.Helper()
	eventually(t, func() error {
		if !strings.Contains(c.out.String(), text) {
			return fmt.Errorf("output %q lacks %q", c.out.String(), text)
		}
		return nil
	})
}

// nothingLeft fails the test unless mounts, processes, control groups and
// state of the run are gone, at once or within a moment.
func (c *caller) nothingLeft(t testing.TB) {
	t.Helper()
	eventually(t, func() error { return errors.Join(c.processes(), c.mounts(), c.cgroups(), c.state()) })
}

func (c *caller) processes() error {
	var found []string
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		text, err := os.ReadFile(path)
		if err != nil || filepath.Dir(path) == fmt.Sprintf("/proc/%d", os.Getpid()) {
			continue
		}
		if bytes.Contains(text, []byte(c.spec.ID)) || bytes.Contains(text, []byte(c.spec.Bundle)) {
			found = append(found, fmt.Sprintf("%s: %q", path, text))
		}
	}
	if found != nil {
		return fmt.Errorf("processes left: %s", strings.Join(found, ", "))
	}
	return nil
}

func (c *caller) mounts() error {
	tables, _ := filepath.Glob("/proc/[0-9]*/mountinfo")
	for _, path := range tables {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, c.spec.Bundle+"/") || strings.Contains(line, c.spec.StateDir) || strings.Contains(line, c.spec.ID) {
				return fmt.Errorf("mount left in %s: %s", path, line)
			}
		}
	}
	return nil
}

func (c *caller) cgroups() error {
	return filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.Contains(d.Name(), c.spec.ID) {
			return fmt.Errorf("control group left: %s", path)
		}
		return nil
	})
}

func (c *caller) state() error {
	entries, err := os.ReadDir(c.spec.StateDir)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, e := range entries {
		if strings.Contains(e.Name(), c.spec.ID) {
			return fmt.Errorf("state left: %s", e.Name())
		}
	}
	return nil
}

// output collects what several writers write.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// patience is how long anything may take on the busiest machine.
const patience = 3 * time.Minute

// eventually repeats check until it is content.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("after %v: %v", patience, err)
			return
		}
		time.Sleep(pause)
	}
}

func randomName() string {
	var random [6]byte
	_, _ = rand.Read(random[:])
	return hex.EncodeToString(random[:])
}

// shortDir is a temporary directory with a name short enough for a socket in it.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// shell is a bundle that runs a script.
func shell(t testing.TB, script string) string {
	t.Helper()
	return testbundle.Make(t, testbundle.Options{Args: []string{"/bin/sh", "-c", script}})
}

// userNamespace gives a bundle a user namespace with one id, u's.
func userNamespace(u *testuser.User) func(*specs.Spec) {
	return func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: u.UID, Size: 1}}
		s.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: u.GID, Size: 1}}
	}
}
