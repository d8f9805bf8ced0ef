package ociruntime_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/byhand/byhand/internal/testbundle"
	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testuser"
)

// eachUser runs a test for every runtime as an ordinary user, with and
// without subordinate ids.
func eachUser(t *testing.T, test func(t *testing.T, spec runSpec, u *testuser.User, subids bool)) {
	testneed.Root(t) // to make the users
	testneed.Tool(t, "newuidmap", "newgidmap")
	for _, name := range runtimes() {
		for _, subids := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/subids=%v", filepath.Base(name), subids), func(t *testing.T) {
				testneed.Tool(t, name)
				u := testuser.WithoutSubids
				if subids {
					u = testuser.WithSubids
				}
				user := u(t)
				test(t, runSpec{Runtime: name, Enter: true}, &user, subids)
			})
		}
	}
}

func TestUserTerminal(t *testing.T) {
	eachUser(t, func(t *testing.T, spec runSpec, u *testuser.User, _ bool) { session(t, spec, u) })
}

func TestUserSuspend(t *testing.T) {
	eachUser(t, func(t *testing.T, spec runSpec, u *testuser.User, _ bool) { suspend(t, spec, u) })
}

// TestUserOverlay mounts an overlay in the namespace and runs on it.
func TestUserOverlay(t *testing.T) {
	eachUser(t, func(t *testing.T, spec runSpec, u *testuser.User, subids bool) {
		script := "echo hello > /written; id -u"
		if subids {
			script += "; touch /foreign; chown 5:7 /foreign; ls -ln /foreign"
		}
		spec.Bundle, spec.Prepare = overlay(t, script)
		spec.Prepare.User = true
		for _, dir := range []string{spec.Prepare.Upper, spec.Prepare.Work, spec.Prepare.Target} {
			if err := os.Chown(dir, int(u.UID), int(u.GID)); err != nil {
				t.Fatal(err)
			}
		}
		run := newCaller(t, spec, u)
		if code := run.code(t); code != 0 || !strings.HasPrefix(run.out.String(), "0\n") {
			t.Fatalf("exit code %d, output %q", code, run.out)
		}
		if subids && !strings.Contains(run.out.String(), " 5        7 ") {
			t.Errorf("output %q, want a file of 5:7", run.out)
		}
		st, err := os.Stat(filepath.Join(spec.Bundle, "upper", "written"))
		if err != nil {
			t.Fatal(err)
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); !ok || sys.Uid != u.UID {
			t.Errorf("written by %+v, want uid %d", st.Sys(), u.UID)
		}
	})
}

// TestUserIDs runs as another user of the image, with supplementary groups,
// as far as there are ids for it.
func TestUserIDs(t *testing.T) {
	eachUser(t, func(t *testing.T, spec runSpec, u *testuser.User, subids bool) {
		o := testbundle.Options{Args: []string{"/bin/sh", "-c", "id; exit 4"}, UID: 1000, GID: 1001, Change: func(s *specs.Spec) {
			s.Process.User.AdditionalGids = []uint32{1001, 10, 20}
		}}
		spec.Bundle = testbundle.Make(t, o)
		run := newCaller(t, spec, u)
		code := run.code(t)
		switch {
		case subids && (code != 4 || !strings.Contains(run.out.String(), "uid=1000 gid=1001 groups=10,20,1001\n")):
			t.Errorf("exit code %d, output %q", code, run.out)
		case !subids && (code != 125 || !strings.Contains(run.out.String(), "uid 1000") || !strings.Contains(run.out.String(), "/etc/subuid")):
			t.Errorf("exit code %d, output %q; want 125 and what is missing", code, run.out)
		}
	})
}

// TestUserInterrupt types Ctrl-C: it reaches parent and child of the user
// namespace both, and the container once.
func TestUserInterrupt(t *testing.T) {
	eachUser(t, func(t *testing.T, spec runSpec, u *testuser.User, _ bool) {
		spec.Bundle = shell(t, `trap "echo got" INT; trap "exit 9" TERM; echo up; while true; do sleep 0.02; done`)
		run := newCaller(t, spec, u)
		keyboard, _ := run.onTerminal(t)
		run.await(t, "up\r\n")
		run.once(t, func() { typed(t, keyboard, ctrlC) })
		_ = run.Process.Signal(syscall.SIGTERM)
		if code := run.end(t); code != 9 {
			t.Errorf("exit code %d, want 9: %q", code, run.out)
		}
	})
}

// TestUserKill kills the outermost process with SIGKILL.
func TestUserKill(t *testing.T) {
	eachUser(t, func(t *testing.T, spec runSpec, u *testuser.User, _ bool) {
		for i := range 8 {
			spec.Bundle = shell(t, "sleep 1000 & exec sleep 1000")
			run := newCaller(t, spec, u)
			if err := run.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(i*i) * 2 * time.Millisecond)
			_ = run.Process.Kill()
			_ = run.Wait()
			run.nothingLeft(t)
		}
	})
}

// TestUserPlain runs a bundle with a user namespace of its own, as an ordinary
// user without entering one: there is no private mount namespace then.
func TestUserPlain(t *testing.T) {
	eachUser(t, func(t *testing.T, spec runSpec, u *testuser.User, _ bool) {
		spec.Enter = false
		if spec.Runtime == "crun" && hybrid(t) {
			spec.Bundle = testbundle.Make(t, testbundle.Options{Change: userNamespace(u)})
			run := newCaller(t, spec, u)
			if code := run.code(t); code != 125 || !strings.Contains(run.out.String(), "--runtime runc") {
				t.Errorf("exit code %d, output %q; want 125 and what to do", code, run.out)
			}
			return
		}
		for script, want := range map[string]int{"exit 6": 6, "kill -9 $$; exec sleep 0.1": 0} {
			spec.Bundle = testbundle.Make(t, testbundle.Options{Args: []string{"/bin/sh", "-c", script}, Change: userNamespace(u)})
			run := newCaller(t, spec, u)
			if code := run.code(t); code != want {
				t.Errorf("%s: exit code %d, want %d: %s", script, code, want, run.out)
			}
		}
		// Without control groups nobody but us ends what is left behind.
		marker := "97" + fmt.Sprint(os.Getpid())
		script := "sleep " + marker + " & (sleep " + marker + " &); exit 3"
		spec.Bundle = testbundle.Make(t, testbundle.Options{Args: []string{"/bin/sh", "-c", script}, HostPIDs: true, Change: userNamespace(u)})
		left := newCaller(t, spec, u)
		if code := left.code(t); code != 3 {
			t.Errorf("exit code %d, want 3: %s", code, left.out)
		}
		noSleeper(t, marker)
		spec.Bundle = testbundle.Make(t, testbundle.Options{Args: []string{"/bin/sh", "-c", "echo up; exec sleep 1000"}, Change: userNamespace(u)})
		run := newCaller(t, spec, u)
		if err := run.Start(); err != nil {
			t.Fatal(err)
		}
		run.await(t, "up\n")
		_ = run.Process.Kill()
		_ = run.Wait()
		run.nothingLeft(t)
	})
}

// hybrid says whether this machine mounts both versions of control groups,
// which crun does not take.
func hybrid(t *testing.T) bool {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(mounts), " /sys/fs/cgroup/unified ")
}
