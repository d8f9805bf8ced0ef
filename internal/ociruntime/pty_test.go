package ociruntime_test

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testbundle"
	"github.com/byhand/byhand/internal/testuser"
)

// openPTY returns a new pseudo-terminal with a window of 100 by 40. The three
// ioctls that it takes are not worth a dependency.
func openPTY(t testing.TB) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	resize(t, master, 40, 100)
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close(); _ = master.Close() })
	return master, slave
}

func resize(t testing.TB, master *os.File, rows, columns uint16) {
	t.Helper()
	size := &unix.Winsize{Row: rows, Col: columns}
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, size); err != nil {
		t.Fatal(err)
	}
}

// onTerminal makes the run the foreground job of a terminal of its own, and
// returns the side of the keyboard and screen.
func (c *caller) onTerminal(t testing.TB) (keyboard, slave *os.File) {
	t.Helper()
	master, slave := openPTY(t)
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Setsid, c.SysProcAttr.Setctty = true, true
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			if err != nil {
				return
			}
			_, _ = c.out.Write(buf[:n])
		}
	}()
	return master, slave
}

// typed writes to the keyboard.
func typed(t testing.TB, keyboard *os.File, text string) {
	t.Helper()
	if _, err := keyboard.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func mode(t testing.TB, tty *os.File) unix.Termios {
	t.Helper()
	m, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *m
}

const (
	ctrlC = "\x03"
	ctrlD = "\x04"
	ctrlZ = "\x1a"
)

// TestTerminal holds an interactive session: the shell in the container has
// job control on a terminal of its own.
func TestTerminal(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) { session(t, runSpec{Runtime: runtime}, nil) })
}

// session types into a shell and looks at what happens.
func session(t *testing.T, spec runSpec, u *testuser.User) {
	script := `tty; stty size; exec sh -i`
	spec.Bundle = testbundle.Make(t, testbundle.Options{Args: []string{"/bin/sh", "-c", script}, Terminal: true})
	run := newCaller(t, spec, u)
	keyboard, slave := run.onTerminal(t)
	run.await(t, "/dev/pts/0\r\n40 100\r\n")
	run.await(t, "# ")
	resize(t, keyboard, 50, 120)
	eventually(t, func() error {
		typed(t, keyboard, "stty size\r")
		time.Sleep(50 * time.Millisecond)
		if !strings.Contains(run.out.String(), "50 120\r\n") {
			return fmt.Errorf("no new size in %q", run.out)
		}
		return nil
	})
	typed(t, keyboard, "sh -c 'echo one; exec sleep 1000'\r")
	run.await(t, "\none\r\n") // the terminal has been given to the job
	typed(t, keyboard, ctrlC)
	typed(t, keyboard, "echo after=$?\r")
	run.await(t, "after=130\r\n")
	typed(t, keyboard, "sh -c 'echo two; exec sleep 1000'\r")
	run.await(t, "\ntwo\r\n")
	typed(t, keyboard, ctrlZ)
	run.await(t, "Stopped")
	typed(t, keyboard, "exit 42\r")
	run.await(t, "You have stopped jobs")
	typed(t, keyboard, "exit 42\r")
	if code := run.end(t); code != 42 {
		t.Errorf("exit code %d, want 42; output %q", code, run.out)
	}
	if m := mode(t, slave); m.Lflag&unix.ICANON == 0 || m.Lflag&unix.ECHO == 0 || m.Oflag&unix.OPOST == 0 {
		t.Errorf("terminal left in raw mode")
	}
}

// TestTerminalKilled kills the caller: the terminal is given back all the same.
func TestTerminalKilled(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) {
		bundle := testbundle.Make(t, testbundle.Options{Args: []string{"/bin/sh", "-c", "echo up; exec sleep 1000"}, Terminal: true})
		run := newCaller(t, runSpec{Runtime: runtime, Bundle: bundle}, nil)
		_, slave := run.onTerminal(t)
		run.await(t, "up\r\n")
		if m := mode(t, slave); m.Lflag&unix.ICANON != 0 {
			t.Error("terminal not in raw mode")
		}
		_ = run.Process.Kill()
		_ = run.Wait()
		eventually(t, func() error {
			if m := mode(t, slave); m.Lflag&unix.ICANON == 0 {
				return errors.New("terminal left in raw mode")
			}
			return nil
		})
	})
}

// TestTerminalWithout runs a bundle that wants a terminal where the caller has
// none: it gets its own, and its input ends, at the end of a line or not.
func TestTerminalWithout(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) {
		for input, want := range map[string]string{"": "", "line\n": "line\r\nline\r\n", "line": "lineline", "a\nb": "a\r\nba\r\nb"} {
			bundle := testbundle.Make(t, testbundle.Options{Args: []string{"/bin/sh", "-c", "tty; cat; echo end"}, Terminal: true})
			run := newCaller(t, runSpec{Runtime: runtime, Bundle: bundle}, nil)
			run.Stdin = strings.NewReader(input)
			code, out := run.code(t), run.out.String()
			// What is typed shows up before, among or after the rest.
			lines := func(s string) int { return strings.Count(s, "line") + strings.Count(s, "a") + strings.Count(s, "b") }
			if code != 0 || !strings.Contains(out, "/dev/pts/0\r\n") || !strings.HasSuffix(out, "end\r\n") || lines(out) != lines(want) {
				t.Errorf("input %q: exit code %d, output %q", input, code, out)
			}
		}
	})
}

// TestTerminalUnread stops reading what a container writes to its terminal: that
// hangs up, and a program that goes on all the same is not held up.
func TestTerminalUnread(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) {
		for script, want := range map[string]int{
			"exec yes": 129,
			`trap "" HUP; i=0; while [ $i -lt 30000 ]; do echo line $i; i=$((i+1)); done; exit 3`: 3,
		} {
			bundle := testbundle.Make(t, testbundle.Options{Args: []string{"/bin/sh", "-c", script}, Terminal: true})
			run := newCaller(t, runSpec{Runtime: runtime, Bundle: bundle}, nil)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			_ = r.Close()
			run.Stdout = w
			code := run.code(t)
			_ = w.Close()
			if code != want {
				t.Errorf("%s: exit code %d, want %d: %s", script, code, want, run.out)
			}
		}
	})
}

// TestInterrupt types Ctrl-C to a run without a terminal in the container: one
// key, one signal; and where nobody handles it, the end.
func TestInterrupt(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) {
		t.Run("handled", func(t *testing.T) {
			run := newCaller(t, runSpec{Runtime: runtime, Bundle: shell(t, `trap "echo got" INT; tty; echo up; while ! [ -e /tmp/end ]; do sleep 0.02; done; exit 9`)}, nil)
			keyboard, _ := run.onTerminal(t)
			run.await(t, "not a tty\r\nup\r\n")
			typed(t, keyboard, ctrlC)
			run.await(t, "got\r\n")
			time.Sleep(300 * time.Millisecond)
			if strings.Count(run.out.String(), "got") != 1 {
				t.Errorf("output %q, want got once", run.out)
			}
			_ = run.Process.Signal(syscall.SIGTERM)
			if code := run.end(t); code != 143 {
				t.Errorf("exit code %d, want 143", code)
			}
		})
		t.Run("unhandled", func(t *testing.T) {
			run := newCaller(t, runSpec{Runtime: runtime, Bundle: shell(t, `echo up; sleep 1000`)}, nil)
			keyboard, _ := run.onTerminal(t)
			run.await(t, "up\r\n")
			typed(t, keyboard, ctrlC)
			if code := run.end(t); code != 130 {
				t.Errorf("exit code %d, want 130", code)
			}
		})
	})
}

// TestSuspend types Ctrl-Z to a run without a terminal in the container: the
// caller and every process of the container stop, and go on with SIGCONT.
func TestSuspend(t *testing.T) {
	eachRuntime(t, func(t *testing.T, runtime string) { suspend(t, runSpec{Runtime: runtime}, nil) })
}

func suspend(t *testing.T, spec runSpec, u *testuser.User) {
	spec.Bundle = shell(t, `trap "exit 5" TERM; echo up; sh -c 'while true; do sleep 0.01; echo -n .; done' & wait`)
	run := newCaller(t, spec, u)
	// As a shell does: the job is a process group of its own in the
	// foreground; alone in its session it would be an orphan, which does not stop.
	master, slave := openPTY(t)
	run.Stdin = slave
	if run.SysProcAttr == nil {
		run.SysProcAttr = &syscall.SysProcAttr{}
	}
	run.SysProcAttr.Setpgid = true
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	_ = master
	run.await(t, "up\n.")
	for i := range 5 {
		run.signalGroup(t, syscall.SIGTSTP)
		eventually(t, func() error {
			if state := processState(run.Process.Pid); state != "T" {
				return fmt.Errorf("caller is in state %s, want T", state)
			}
			return nil
		})
		// Stopped, it may be continued at once.
		if i == 0 {
			run.silent(t)
		}
		before := len(run.out.String())
		run.signalGroup(t, syscall.SIGCONT)
		eventually(t, func() error {
			if after := len(run.out.String()); after < before+20 { // a few may have been in the pipe
				return fmt.Errorf("the container does not go on, of round %d", i+1)
			}
			return nil
		})
	}
	_ = run.Process.Signal(syscall.SIGTERM)
	if code := run.end(t); code != 5 {
		t.Errorf("exit code %d, want 5", code)
	}
}

// signalGroup does what a terminal or a shell does to a job.
func (c *caller) signalGroup(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(-c.Process.Pid, sig); err != nil {
		t.Fatal(err)
	}
}

// silent waits until what was in the pipe has come, and nothing more does.
func (c *caller) silent(t testing.TB) {
	t.Helper()
	eventually(t, func() error {
		before := len(c.out.String())
		time.Sleep(200 * time.Millisecond)
		if after := len(c.out.String()); after != before {
			return fmt.Errorf("the container wrote %d bytes while it was stopped", after-before)
		}
		return nil
	})
}

// processState is the letter of proc_pid_stat(5).
func processState(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return err.Error()
	}
	_, after, _ := strings.Cut(string(text), ") ")
	return after[:1]
}
