package ociruntime_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/byhand/byhand/internal/testneed"
)

// supervisor returns the process id of the run's supervisor.
func (c *caller) supervisor() (int, error) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		text, err := os.ReadFile(path)
		if err == nil && bytes.Contains(text, []byte("\x00__oci-supervisor\x00"+c.spec.ID+"\x00")) {
			return strconv.Atoi(filepath.Base(filepath.Dir(path)))
		}
	}
	return 0, errors.New("no supervisor")
}

func (c *caller) supervised() error {
	_, err := c.supervisor()
	return err
}

// TestKill kills the caller with SIGKILL at a random moment of a run; then
// nothing is left within a moment (see newCaller's cleanup).
func TestKill(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) {
		for i := range 25 {
			after := time.Duration(rand.Int64N(int64(120 * time.Millisecond)))
			t.Run(fmt.Sprintf("%d after %v", i, after), func(t *testing.T) {
				bundle, request := overlay(t, "sleep 1000 & exec sleep 1000")
				run := newCaller(t, runSpec{Runtime: runtime, Bundle: bundle, Prepare: request}, nil)
				if err := run.Start(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(after)
				_ = run.Process.Kill()
				_ = run.Wait()
				run.nothingLeft(t)
			})
		}
	})
}

// TestKillSupervisor kills the supervisor: the run fails with 125 and leaves
// nothing.
func TestKillSupervisor(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) {
		bundle, request := overlay(t, "echo up; exec sleep 1000")
		run := newCaller(t, runSpec{Runtime: runtime, Bundle: bundle, Prepare: request}, nil)
		if err := run.Start(); err != nil {
			t.Fatal(err)
		}
		run.await(t, "up\n")
		pid, err := run.supervisor()
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if code := run.end(t); code != 125 {
			t.Errorf("exit code %d, want 125: %s", code, run.out)
		}
	})
}

// TestKillBoth kills caller and supervisor at once, as a SIGKILL to everything
// of a user does. Processes and mounts are gone with them; the next
// run sweeps the control groups.
func TestKillBoth(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) {
		for i := range 10 {
			after := time.Duration(rand.Int64N(int64(80 * time.Millisecond)))
			t.Run(fmt.Sprintf("%d after %v", i, after), func(t *testing.T) {
				state := shortDir(t)
				bundle, request := overlay(t, "sleep 1000 & exec sleep 1000")
				run := newCaller(t, runSpec{Runtime: runtime, Bundle: bundle, Prepare: request, StateDir: state}, nil)
				if err := run.Start(); err != nil {
					t.Fatal(err)
				}
				eventually(t, func() error { return run.supervised() })
				pid, err := run.supervisor()
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(after)
				_ = syscall.Kill(run.Process.Pid, syscall.SIGSTOP) // so that it sweeps nothing itself
				_ = syscall.Kill(pid, syscall.SIGKILL)
				_ = run.Process.Kill()
				_ = run.Wait()
				eventually(t, func() error { return errors.Join(run.processes(), run.mounts()) })
				next := newCaller(t, runSpec{Runtime: runtime, Bundle: shell(t, "true"), StateDir: state}, nil)
				if code := next.code(t); code != 0 {
					t.Errorf("next run: exit code %d: %s", code, next.out)
				}
			})
		}
	})
}

// TestKillMany kills ten of thirty runs that share a state directory, while
// the others go on.
func TestKillMany(t *testing.T) {
	testneed.Root(t)
	state := shortDir(t)
	var all []*caller
	for i := range 30 {
		script := "sleep 0.5; exit 2"
		if i%3 == 0 {
			script = "exec sleep 1000" // until it is killed
		}
		run := newCaller(t, runSpec{Bundle: shell(t, script), StateDir: state}, nil)
		if err := run.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, run)
	}
	for i, run := range all {
		if i%3 == 0 {
			time.Sleep(time.Duration(rand.Int64N(int64(50 * time.Millisecond))))
			_ = run.Process.Kill()
		}
	}
	for i, run := range all {
		want := 2
		if i%3 == 0 {
			want = -1
		}
		if code := run.end(t); code != want {
			t.Errorf("run %d: exit code %d, want %d: %s", i, code, want, run.out)
		}
	}
}
