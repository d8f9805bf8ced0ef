package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/byhand/byhand/internal/demo"
	"github.com/byhand/byhand/internal/serve"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/internal/userns"
)

// testMain lets scripts run byhand as a process of its own: the test binary
// under that name.
func testMain(m *testing.M) int {
	testscript.Main(m, map[string]func(){"byhand": main})
	return 0
}

// TestScript runs the command line's transcripts as the user who runs the
// tests.
func TestScript(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	buildDemo(t, image)
	odd := filepath.Join(dir, "odd")
	buildOdd(t, odd)
	escapes := filepath.Join(dir, "escapes")
	buildImage(t, escapes, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "author": "a\x1b]0;title\x07b\u009b31mc\u202ed",
	}, nil)
	empty := filepath.Join(dir, "empty")
	buildImage(t, empty, map[string]any{"architecture": runtime.GOARCH, "os": "linux"}, nil)
	foreign := filepath.Join(dir, "foreign")
	buildImage(t, foreign, map[string]any{"architecture": "s390x", "os": "linux"}, [][]byte{testtar.Tar(testtar.File("f", "1"))})
	elsewhere := registry(t, nil, "lab/foreign:v1=oci:"+foreign)
	open := registry(t, nil, "lab/demo:v1=oci:"+image)
	locked := registry(t, serve.NewTokenAuth(serve.TokenOptions{Username: "ann", Password: "s3cret"}), "lab/demo:v1=oci:"+image)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv("REGISTRY", open)
			e.Setenv("LOCKED", locked)
			e.Setenv("FOREIGN", elsewhere+"/lab/foreign:v1")
			e.Setenv("IMAGE", image)
			e.Setenv("ODD", odd)
			e.Setenv("EMPTY", empty)
			e.Setenv("ESCAPES", escapes)
			e.Setenv("WORKID", strconv.Itoa(os.Getpid()))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_DATA_HOME", filepath.Join(e.WorkDir, "data"))
			e.Setenv("BYHAND_STORE", filepath.Join(e.WorkDir, "store"))
			e.Defer(func() { unmountBelow(t, e.WorkDir) })
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "ids": // more than one, in a user namespace
				plan, err := userns.MakePlan()
				return os.Geteuid() == 0 || plan.Shortfall == "", err
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"fails": fails, "lines": lines},
	})
}

// buildDemo writes the demo image, for this machine and one other, to dir. Its
// layers are no other package's: a mount by relative names, or in a mount
// namespace where others see no such directory, counts for all stores that have
// the layers, and the tests of several packages run at once.
func buildDemo(t *testing.T, dir string) {
	t.Helper()
	other := "arm64"
	if runtime.GOARCH == other {
		other = "amd64"
	}
	programs := map[string][]byte{other: []byte("not run here")}
	program, err := demo.Compile(t.Context(), runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	programs[runtime.GOARCH] = program
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := demo.Build(dir, demo.Options{Programs: programs, Tag: "v1", Hostname: "cmds"}); err != nil {
		t.Fatal(err)
	}
}

// registry serves sources until the test ends, and returns HOST:PORT.
func registry(t *testing.T, auth *serve.TokenAuth, source string) string {
	t.Helper()
	src, err := serve.ParseSource(source)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	catalog, err := serve.Open(ctx, []serve.Source{src})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := serve.Listen(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- serve.Serve(ctx, ln, catalog.Handler(serve.Options{Auth: auth})) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-done, catalog.Close()); err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// fails CODE PROGRAM ARGS… expects the exit code.
func fails(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fails CODE PROGRAM ARGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d; standard error:\n%s", got, want, ts.ReadFile("stderr"))
	}
}

// lines FILE N expects so many lines.
func lines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lines FILE N")
	}
	if got := strings.Count(ts.ReadFile(args[0]), "\n"); strconv.Itoa(got) != args[1] {
		ts.Fatalf("%s has %d lines, want %s:\n%s", args[0], got, args[1], ts.ReadFile(args[0]))
	}
}

// unmountBelow takes away what a failed script left mounted, so that nothing
// removes files through a mount.
func unmountBelow(t *testing.T, dir string) {
	raw, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Error(err)
		return
	}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
			if err := syscall.Unmount(f[1], syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	}
}
