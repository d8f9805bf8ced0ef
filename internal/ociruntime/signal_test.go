package ociruntime_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/byhand/byhand/internal/testbundle"
	"github.com/byhand/byhand/internal/testneed"
)

func TestSignal(t *testing.T) {
	const wait = "; while true; do sleep 0.05; done"
	cases := []struct {
		name   string
		script string
		sig    syscall.Signal
		code   int
		says   string
	}{
		{"handledTerm", `trap "echo got; exit 5" TERM; echo up` + wait, syscall.SIGTERM, 5, "up\ngot\n"},
		{"handledInt", `trap "echo got; exit 6" INT; echo up` + wait, syscall.SIGINT, 6, "up\ngot\n"},
		{"handledUsr1", `trap "echo got; exit 0" USR1; echo up` + wait, syscall.SIGUSR1, 0, "up\ngot\n"},
		{"handledUsr2", `trap "echo got; exit 8" USR2; echo up` + wait, syscall.SIGUSR2, 8, "up\ngot\n"},
		{"handledHup", `trap "echo got; exit 9" HUP; echo up` + wait, syscall.SIGHUP, 9, "up\ngot\n"},
		{"handledWinch", `trap "echo got; exit 10" WINCH; echo up` + wait, syscall.SIGWINCH, 10, "up\ngot\n"},
		{"handledRealTime", `trap "echo got; exit 11" 37; echo up` + wait, 37, 11, "up\ngot\n"},
		{"term", `echo up; exec sleep 1000`, syscall.SIGTERM, 143, "up\n"},
		{"int", `echo up; exec sleep 1000`, syscall.SIGINT, 130, "up\n"},
		{"hup", `echo up; exec sleep 1000`, syscall.SIGHUP, 129, "up\n"},
		{"quit", `echo up; exec sleep 1000`, syscall.SIGQUIT, 131, "up\n"},
		{"ignoredTerm", `trap "" TERM; echo up; sleep 0.3; exit 12`, syscall.SIGTERM, 12, "up\n"},
		{"ownCodeAfterInt", `trap "exit 0" INT; echo up` + wait, syscall.SIGINT, 0, "up\n"},
		{"unhandledUsr1", `echo up; sleep 0.3; exit 13`, syscall.SIGUSR1, 13, "up\n"}, // as with docker run
	}
	eachRuntime(t, func(t *testing.T, runtime string) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				run := newCaller(t, runSpec{Runtime: runtime, Bundle: shell(t, c.script)}, nil)
				if err := run.Start(); err != nil {
					t.Fatal(err)
				}
				run.await(t, "up\n")
				if err := run.Process.Signal(c.sig); err != nil {
					t.Fatal(err)
				}
				if code := run.end(t); code != c.code || run.out.String() != c.says {
					t.Errorf("exit code %d, output %q; want %d, %q", code, run.out, c.code, c.says)
				}
			})
		}
	})
}

// TestSignalWhileStarting asks a program to end that is at work already, and has
// said so, while the runtime has not yet returned: the program answers.
func TestSignalWhileStarting(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		t.Run(fmt.Sprintf("terminal %v", terminal), func(t *testing.T) {
			run, let := starting(t, terminal, `trap "echo got; exit 5" TERM; echo up; while true; do sleep 0.05; done`)
			if err := run.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			time.Sleep(300 * time.Millisecond) // enough to be killed in, but for the test of no meaning
			let()
			if code := run.end(t); code != 5 || !strings.HasSuffix(strings.TrimSpace(run.out.String()), "got") {
				t.Errorf("exit code %d, output %q; want 5 and got", code, run.out)
			}
		})
	}
}

// TestSignalTwiceWhileStarting insists, with a runtime that does not return.
func TestSignalTwiceWhileStarting(t *testing.T) {
	run, _ := starting(t, false, `trap "" TERM; echo up; while true; do sleep 0.05; done`)
	eventually(t, func() error {
		err := run.Process.Signal(syscall.SIGTERM)
		switch {
		case errors.Is(err, os.ErrProcessDone):
			return nil
		case err == nil && processState(run.Process.Pid) != "Z":
			return errors.New("it goes on")
		}
		return err
	})
	if code := run.end(t); code != 143 {
		t.Errorf("exit code %d, want 143; output %q", code, run.out)
	}
}

// starting runs script with a runtime that has started the container and, until
// let is called, does not end.
func starting(t *testing.T, terminal bool, script string) (run *caller, let func()) {
	t.Helper()
	testneed.Root(t)
	testneed.Tool(t, "runc")
	dir := t.TempDir()
	slow, gate := filepath.Join(dir, "slow"), filepath.Join(dir, "gate")
	text := `#!/bin/sh
runc "$@"; code=$?
case " $* " in *" run "*|*" start "*) until [ -e ` + gate + ` ]; do sleep 0.02; done ;; esac
exit $code
`
	if err := os.WriteFile(slow, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	bundle := testbundle.Make(t, testbundle.Options{Args: []string{"/bin/sh", "-c", script}, Terminal: terminal})
	run = newCaller(t, runSpec{Runtime: slow, Bundle: bundle}, nil)
	run.Stderr = nil // standard output by itself comes before the runtime has returned
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	run.await(t, "up")
	return run, func() {
		if err := os.WriteFile(gate, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNohup runs a container as nohup does: the terminal's end is not its end.
func TestNohup(t *testing.T) {
	testneed.Root(t)
	run := newCaller(t, runSpec{Bundle: shell(t, `trap "exit 5" TERM; echo up; while true; do sleep 0.05; done`)}, nil)
	run.Path, run.Args = "/bin/sh", append([]string{"sh", "-c", `trap "" HUP; exec "$0" "$@"`, os.Args[0]}, run.Args[1:]...)
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	run.await(t, "up\n")
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} {
		if err := run.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	if code := run.end(t); code != 5 {
		t.Errorf("exit code %d, want the 5 of SIGTERM's handler", code)
	}
}

// TestSignalOnce sends what a key press looks like where a parent passes it on
// once more, and then a second press.
func TestSignalOnce(t *testing.T) {
	testneed.Root(t)
	run := newCaller(t, runSpec{Bundle: shell(t, `trap "echo got" INT; trap "exit 4" TERM; echo up; while true; do sleep 0.02; done`)}, nil)
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	run.await(t, "up\n")
	send := func(sig syscall.Signal) {
		t.Helper()
		if err := run.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	run.once(t, func() {
		send(syscall.SIGINT)
		time.Sleep(60 * time.Millisecond) // long enough for the shell to see two
		send(syscall.SIGINT)
	})
	send(syscall.SIGTERM)
	if code := run.end(t); code != 4 {
		t.Errorf("exit code %d, output %q; want 4", code, run.out)
	}
}

// once presses a key until the container got it once. It may get it twice
// where the two signals that a key sends come to us more than sameKey apart,
// as they do on a busy machine, but not every time; and each press it gets.
func (c *caller) once(t testing.TB, press func()) {
	t.Helper()
	const tries = 20
	for range tries {
		before := strings.Count(c.out.String(), "got")
		press()
		eventually(t, func() error {
			if strings.Count(c.out.String(), "got") == before {
				return errors.New("the container did not get it")
			}
			return nil
		})
		time.Sleep(400 * time.Millisecond) // for a second one to come
		if strings.Count(c.out.String(), "got") == before+1 {
			return
		}
		time.Sleep(2 * time.Second) // so that it is not insisting
	}
	t.Errorf("%d times the container got two for one: %q", tries, c.out)
}

// TestInsist interrupts a container that does not heed it, again and again.
func TestInsist(t *testing.T) {
	testneed.Root(t)
	run := newCaller(t, runSpec{Bundle: shell(t, `trap "" INT; echo up; while true; do sleep 0.05; done`)}, nil)
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	run.await(t, "up\n")
	eventually(t, func() error {
		time.Sleep(2 * sameKey)
		err := run.Process.Signal(syscall.SIGINT)
		if err == nil && processState(run.Process.Pid) != "Z" {
			return errors.New("it goes on")
		}
		return nil
	})
	if code := run.end(t); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
}

// sameKey is longer than what counts as one event.
const sameKey = 110 * time.Millisecond

// TestSignalEarly interrupts a run whose preparation does not end.
func TestSignalEarly(t *testing.T) {
	testneed.Root(t)
	for sig, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		bundle, request := overlay(t, "true")
		request.Hang = true
		run := newCaller(t, runSpec{Bundle: bundle, Prepare: request}, nil)
		if err := run.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { return run.supervised() })
		time.Sleep(50 * time.Millisecond)
		if err := run.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if code := run.end(t); code != want || run.out.String() != "" {
			t.Errorf("%v: exit code %d, output %q; want %d and none", sig, code, run.out, want)
		}
	}
}
