package ociruntime_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

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

// TestSignalOnce sends what a key press looks like where a parent passes it on
// once more, and then a second press.
func TestSignalOnce(t *testing.T) {
	testneed.Root(t)
	run := newCaller(t, runSpec{Bundle: shell(t, `trap "echo got" INT; trap "exit 4" TERM; echo up; while true; do sleep 0.02; done`)}, nil)
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	run.await(t, "up\n")
	send := func(sig syscall.Signal, then time.Duration) {
		if err := run.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		time.Sleep(then)
	}
	send(syscall.SIGINT, 60*time.Millisecond) // long enough for the shell to see two
	send(syscall.SIGINT, 400*time.Millisecond)
	send(syscall.SIGINT, 400*time.Millisecond)
	send(syscall.SIGTERM, 0)
	if code := run.end(t); code != 4 || strings.Count(run.out.String(), "got") != 2 {
		t.Errorf("exit code %d, output %q; want 4 and got twice", code, run.out)
	}
}

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
