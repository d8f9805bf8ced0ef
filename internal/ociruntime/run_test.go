package ociruntime_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/byhand/byhand/internal/ociruntime"
	"github.com/byhand/byhand/internal/testbundle"
	"github.com/byhand/byhand/internal/testneed"
)

func TestExitCode(t *testing.T) {
	cases := []struct {
		name   string
		args   []string
		change func(*specs.Spec)
		code   int
		says   string
	}{
		{name: "success", args: []string{"/bin/true"}, code: 0},
		{name: "own", args: []string{"/bin/sh", "-c", "exit 7"}, code: 7},
		{name: "own125", args: []string{"/bin/sh", "-c", "exit 125"}, code: 125},
		{name: "own255", args: []string{"/bin/sh", "-c", "exit 255"}, code: 255},
		{name: "notInPath", args: []string{"nope"}, code: 127, says: "nope"},
		{name: "notThere", args: []string{"/nope"}, code: 127, says: "/nope"},
		{name: "noInterpreter", args: []string{"/bin/orphan"}, code: 127, says: "/bin/orphan"},
		{name: "notExecutable", args: []string{"/etc/plain"}, code: 126, says: "start container"},
		{name: "directory", args: []string{"/etc"}, code: 126, says: "start container"},
		{
			name: "notForUser", args: []string{"/bin/rootonly"}, code: 126, says: "ermission denied",
			change: func(s *specs.Spec) {
				s.Process.User.UID, s.Process.Capabilities = 1000, &specs.LinuxCapabilities{}
			},
		},
		{name: "malformed", args: []string{"/bin/malformed"}, code: 126, says: "ormat error"},
		{
			name: "mountSourceMissing", args: []string{"/bin/true"}, code: 125, says: "no-such-dir",
			change: func(s *specs.Spec) {
				s.Mounts = append(s.Mounts, specs.Mount{Destination: "/mnt", Type: "bind", Source: "/no-such-dir", Options: []string{"bind"}})
			},
		},
		{
			name: "rootMissing", args: []string{"/bin/true"}, code: 125, says: "start container",
			change: func(s *specs.Spec) { s.Root.Path = "no-such-root" },
		},
	}
	eachRuntime(t, func(t *testing.T, runtime string) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				bundle := testbundle.Make(t, testbundle.Options{Args: c.args, Change: c.change})
				run := newCaller(t, runSpec{Runtime: runtime, Bundle: bundle}, nil)
				if code := run.code(t); code != c.code {
					t.Errorf("exit code %d, want %d; output %q", code, c.code, run.out)
				}
				out := run.out.String()
				if !strings.Contains(out, c.says) || c.says != "" && strings.Count(out, "\n") != 1 {
					t.Errorf("output %q, want one line with %q", out, c.says)
				}
				if c.says == "" && out != "" {
					t.Errorf("output %q, want none", out)
				}
			})
		}
	})
}

func TestBeforeStart(t *testing.T) {
	testneed.Root(t)
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "config.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	good := testbundle.Make(t, testbundle.Options{})
	done, cancel := context.WithCancel(t.Context())
	cancel()
	cases := []struct {
		name string
		ctx  context.Context //nolint:containedctx // a column of the table, gone with the test
		o    ociruntime.Options
		says string
	}{
		{"noRuntime", t.Context(), ociruntime.Options{Runtime: "no-such-runtime", Bundle: good}, "install"},
		{"noRuntimePath", t.Context(), ociruntime.Options{Runtime: "/no/such/runtime", Bundle: good}, "no such file; install"},
		{"noProgram", t.Context(), ociruntime.Options{Runtime: "/etc/passwd", Bundle: good}, "may be executed"},
		{"failingRuntime", t.Context(), ociruntime.Options{Runtime: "/bin/false", Bundle: good}, "start container with false (exit status 1): it did not say why"},
		{"idleRuntime", t.Context(), ociruntime.Options{Runtime: "/bin/true", Bundle: good}, "start container with true: it ended without an error"},
		{"noBundle", t.Context(), ociruntime.Options{Bundle: filepath.Join(good, "no")}, "no such file"},
		{"noJSON", t.Context(), ociruntime.Options{Bundle: broken}, "config.json"},
		{"badID", t.Context(), ociruntime.Options{Bundle: good, ID: "a/b"}, "a/b"},
		{"cancelled", done, ociruntime.Options{Bundle: good}, "canceled"},
		{"longState", t.Context(), ociruntime.Options{Bundle: good, StateDir: "/tmp/" + strings.Repeat("x", 120)}, "longer"},
		{"openState", t.Context(), ociruntime.Options{Bundle: good, StateDir: "/tmp"}, "only this user"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			code, err := ociruntime.Run(c.ctx, c.o)
			if code != ociruntime.CodeFailed || err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %d, %v; want 125 and %q", code, err, c.says)
			}
		})
	}
	_, err := ociruntime.Run(t.Context(), ociruntime.Options{Runtime: "no-such-runtime", Bundle: good})
	var missing *ociruntime.MissingError
	if !errors.As(err, &missing) || missing.Runtime != "no-such-runtime" {
		t.Errorf("got %#v, want a MissingError", err)
	}
}

// overlay is a bundle whose root is still to be mounted.
func overlay(t *testing.T, script string) (bundle string, request *mountRequest) {
	t.Helper()
	bundle = testbundle.Make(t, testbundle.Options{Args: []string{"/bin/sh", "-c", script}, Empty: true})
	for _, dir := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(bundle, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return bundle, &mountRequest{
		Lower: filepath.Join(bundle, "lower"), Upper: filepath.Join(bundle, "upper"),
		Work: filepath.Join(bundle, "work"), Target: filepath.Join(bundle, "rootfs"),
	}
}

func TestPrepare(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) {
		t.Run("mounts", func(t *testing.T) {
			bundle, request := overlay(t, "echo hello > /written")
			run := newCaller(t, runSpec{Runtime: runtime, Bundle: bundle, Prepare: request}, nil)
			if code := run.code(t); code != 0 {
				t.Fatalf("exit code %d: %s", code, run.out)
			}
			if text, err := os.ReadFile(filepath.Join(bundle, "upper", "written")); err != nil || string(text) != "hello\n" {
				t.Errorf("upper/written is %q, %v", text, err)
			}
			if entries, err := os.ReadDir(filepath.Join(bundle, "rootfs")); err != nil || len(entries) != 0 {
				t.Errorf("rootfs has %v, %v outside the namespace", entries, err)
			}
		})
		t.Run("fails", func(t *testing.T) {
			bundle, request := overlay(t, "true")
			request.Fail = "lower dir 3 vanished"
			run := newCaller(t, runSpec{Runtime: runtime, Bundle: bundle, Prepare: request}, nil)
			if code := run.code(t); code != 125 {
				t.Errorf("exit code %d, want 125", code)
			}
			if got, want := run.out.String(), "byhand: prepare bundle: lower dir 3 vanished\n"; got != want {
				t.Errorf("output %q, want %q", got, want)
			}
		})
	})
}

// TestCancel ends the context of a run in this very process.
func TestCancel(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) {
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go eventually(t, func() error {
			if st, err := out.Stat(); err != nil || st.Size() == 0 {
				return errors.New("no output")
			}
			cancel()
			return nil
		})
		bundle := shell(t, "echo up; exec sleep 1000")
		code, err := ociruntime.Run(ctx, ociruntime.Options{Runtime: runtime, Bundle: bundle, StateDir: shortDir(t), Stdout: out})
		if !errors.Is(err, context.Canceled) || code != 137 {
			t.Errorf("got %d, %v; want 137 and the context's error", code, err)
		}
	})
}

func TestConcurrent(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) {
		const runs = 30
		bundle, request := overlay(t, "exit 3")
		state := shortDir(t)
		var all []*caller
		for range runs {
			own := *request // one lower dir, an upper of its own for each
			dir := t.TempDir()
			own.Upper, own.Work = filepath.Join(dir, "upper"), filepath.Join(dir, "work")
			for _, d := range []string{own.Upper, own.Work} {
				if err := os.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			run := newCaller(t, runSpec{Runtime: runtime, Bundle: bundle, Prepare: &own, StateDir: state}, nil)
			if err := run.Start(); err != nil {
				t.Fatal(err)
			}
			all = append(all, run)
		}
		for _, run := range all {
			if code := run.end(t); code != 3 {
				t.Errorf("exit code %d, want 3: %s", code, run.out)
			}
		}
	})
}

// TestHostPIDs shares the machine's processes with the container, so that
// nothing ends what it leaves behind but us.
func TestHostPIDs(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) {
		marker := "98" + fmt.Sprint(os.Getpid()) // seconds, and known in process listings
		script := "sleep " + marker + " & (sleep " + marker + " &); [ $$ != 1 ] && exit 3"
		bundle := testbundle.Make(t, testbundle.Options{Args: []string{"/bin/sh", "-c", script}, HostPIDs: true})
		run := newCaller(t, runSpec{Runtime: runtime, Bundle: bundle}, nil)
		if code := run.code(t); code != 3 {
			t.Errorf("exit code %d, want 3: %s", code, run.out)
		}
		noSleeper(t, marker)
		run = newCaller(t, runSpec{Runtime: runtime, Bundle: testbundle.Make(t, testbundle.Options{
			Args: []string{"/bin/sh", "-c", "echo up; exec sleep " + marker}, HostPIDs: true,
		})}, nil)
		if err := run.Start(); err != nil {
			t.Fatal(err)
		}
		run.await(t, "up\n")
		_ = run.Process.Kill()
		_ = run.Wait()
		run.nothingLeft(t)
	})
}

// noSleeper fails the test if a process still sleeps for this long.
func noSleeper(t *testing.T, seconds string) {
	t.Helper()
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		if text, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(text), "sleep\x00"+seconds) {
			t.Errorf("%s is left: %q", path, text)
		}
	}
}
