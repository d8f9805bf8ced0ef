package ociruntime_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/byhand/byhand/internal/ociruntime"
	"github.com/byhand/byhand/internal/testbundle"
	"github.com/byhand/byhand/internal/testneed"
)

func TestStdinPipe(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) {
		run := newCaller(t, runSpec{Runtime: runtime, Bundle: shell(t, "wc -c")}, nil)
		run.Stdin = io.LimitReader(zeros{}, 5<<20) // os/exec makes a pipe of it
		if code := run.code(t); code != 0 || run.out.String() != "5242880\n" {
			t.Errorf("exit code %d, output %q", code, run.out)
		}
	})
}

// zeros is an endless file of zeros.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestFiles uses regular files as streams with a container of another user:
// they are read and written, and stay the caller's.
func TestFiles(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) {
		dir := t.TempDir()
		input := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
		in, out, errs := filepath.Join(dir, "in"), filepath.Join(dir, "out"), filepath.Join(dir, "err")
		if err := os.WriteFile(in, input, 0o600); err != nil {
			t.Fatal(err)
		}
		bundle := testbundle.Make(t, testbundle.Options{Args: []string{"/bin/sh", "-c", "cat; echo oops >&2; exit 3"}, UID: 1234, GID: 1234})
		run := newCaller(t, runSpec{Runtime: runtime, Bundle: bundle}, nil)
		files := map[string]*os.File{}
		for _, name := range []string{in, out, errs} {
			f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			files[name] = f
		}
		run.Stdin, run.Stdout, run.Stderr = files[in], files[out], files[errs]
		if code := run.code(t); code != 3 {
			t.Errorf("exit code %d, want 3", code)
		}
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, input) {
			t.Errorf("output has %d bytes, %v; want the %d of the input", len(got), err, len(input))
		}
		if got, err := os.ReadFile(errs); err != nil || string(got) != "oops\n" {
			t.Errorf("error output %q, %v", got, err)
		}
		for name, f := range files {
			st, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if sys, ok := st.Sys().(*syscall.Stat_t); !ok || sys.Uid != 0 || sys.Gid != 0 {
				t.Errorf("%s was given away", name)
			}
		}
	})
}

// TestOrder writes to both streams in turn; led to one file they keep their order.
func TestOrder(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) {
		const script = "for i in 1 2 3 4 5 6 7 8 9; do echo o$i; echo e$i >&2; done"
		run := newCaller(t, runSpec{Runtime: runtime, Bundle: shell(t, script)}, nil)
		var want strings.Builder
		for _, i := range "123456789" {
			want.WriteString("o" + string(i) + "\ne" + string(i) + "\n")
		}
		file, err := os.Create(filepath.Join(t.TempDir(), "both"))
		if err != nil {
			t.Fatal(err)
		}
		run.Stdout, run.Stderr = file, file
		code := run.code(t)
		got, err := os.ReadFile(file.Name())
		if code != 0 || err != nil || string(got) != want.String() {
			t.Errorf("exit code %d, %v, output %q, want %q", code, err, got, want.String())
		}
	})
}

// TestBrokenPipe stops reading: the container's write fails, as in any
// pipeline, and the run ends.
func TestBrokenPipe(t *testing.T) {
	testneed.Root(t)
	for name, script := range map[string]string{"out": "exec yes", "err": "exec yes >&2"} {
		t.Run(name, func(t *testing.T) {
			run := newCaller(t, runSpec{Bundle: shell(t, script)}, nil)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			if name == "out" {
				run.Stdout = w
			} else {
				run.Stderr = w
			}
			if err := run.Start(); err != nil {
				t.Fatal(err)
			}
			_ = w.Close()
			if _, err := io.ReadFull(r, make([]byte, 1<<20)); err != nil {
				t.Error(err)
			}
			_ = r.Close()
			if code := run.end(t); code != 141 && code != 1 { // SIGPIPE, or yes saw the error
				t.Errorf("exit code %d, want 141 or 1", code)
			}
		})
	}
}

// TestFullDisk: output that did not arrive is an error, whatever the container
// ended with; a container that wrote none does not care.
func TestFullDisk(t *testing.T) {
	testneed.Root(t)
	for script, want := range map[string]int{"echo lost": ociruntime.CodeFailed, "echo lost; exit 3": ociruntime.CodeFailed, "exit 3": 3} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = full.Close() }()
		run := newCaller(t, runSpec{Bundle: shell(t, script)}, nil)
		run.Stdout = full
		code := run.code(t)
		if said := strings.Contains(run.out.String(), "no space left on device"); code != want || said != (want == ociruntime.CodeFailed) {
			t.Errorf("%s: exit code %d, want %d: %q", script, code, want, run.out.String())
		}
	}
}

// TestNoDescriptors opens a directory of the machine in the caller: the
// container has its three streams and nothing else.
func TestNoDescriptors(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) {
		run := newCaller(t, runSpec{Runtime: runtime, Bundle: shell(t, "ls -l /proc/1/fd; true")}, nil)
		dir, err := os.Open("/etc")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = dir.Close() }()
		run.ExtraFiles = []*os.File{dir, dir, dir, dir}
		if code := run.code(t); code != 0 || strings.Count(run.out.String(), " -> ") != 3 || strings.Contains(run.out.String(), "/etc") {
			t.Errorf("exit code %d, output %q", code, run.out)
		}
	})
}

// TestRuntimeSees has a program in the runtime's place: it inherits no more than
// the container's streams, and what it says in failing is the error.
func TestRuntimeSees(t *testing.T) {
	testneed.Root(t)
	fake := filepath.Join(t.TempDir(), "fake")
	script := "#!/bin/sh\necho args: $* >&2; ls -l /proc/self/fd >&2; echo notify=$NOTIFY_SOCKET >&2; exit 1\n"
	if err := os.WriteFile(fake, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	run := newCaller(t, runSpec{Runtime: fake, Bundle: shell(t, "true")}, nil)
	dir, err := os.Open("/etc")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	run.ExtraFiles = []*os.File{dir, dir, dir, dir, dir, dir}
	run.Env = append(os.Environ(), "NOTIFY_SOCKET=/run/notify")
	code, out := run.code(t), run.out.String()
	if code != 125 || strings.Count(out, "\n") != 1 || !strings.Contains(out, "run --detach --bundle "+run.spec.Bundle) {
		t.Errorf("exit code %d, output %q; want 125 and one line", code, out)
	}
	if strings.Contains(out, "-> /etc") || strings.Contains(out, "socket:") || strings.Contains(out, "notify=/") || strings.Count(out, " -> ") != 4 {
		t.Errorf("output %q, want three streams and the listing's own descriptor", out)
	}
}
