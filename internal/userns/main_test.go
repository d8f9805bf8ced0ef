package userns_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testuser"
	"github.com/byhand/byhand/internal/userns"
)

// TestMain lets the test binary be a program that enters a user namespace and
// then does what its first argument says.
func TestMain(m *testing.M) {
	if code, ok := userns.Child(os.Args); ok {
		os.Exit(code)
	}
	if len(os.Args) > 1 {
		if act, ok := acts[os.Args[1]]; ok {
			os.Exit(entered(act))
		}
	}
	testneed.HeedSignals()
	os.Exit(m.Run())
}

// acts are what a test program does inside.
var acts = map[string]func() int{
	"status": func() int {
		s, err := userns.Inspect()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 98
		}
		_ = json.NewEncoder(os.Stdout).Encode(s)
		return 7
	},
	"maps": func() int {
		uids, gids, err := userns.ForCaller()
		fmt.Println(uids, gids, err)
		return 0
	},
	"mount": func() int {
		if err := unix.Mount("tmpfs", "/mnt", "tmpfs", 0, ""); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 97
		}
		return 0
	},
	"sleep": func() int {
		fmt.Println("up")
		time.Sleep(time.Hour)
		return 96
	},
	"signal": func() int {
		got := make(chan os.Signal, 1)
		signal.Notify(got, unix.SIGUSR1)
		fmt.Println("up")
		<-got
		return 12
	},
	"die": func() int {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	},
	"fds": func() int {
		text := make([]byte, 16)
		n, err := unix.Read(3, text)
		fmt.Printf("%s %v\n", text[:max(n, 0)], err)
		return 0
	},
	"caps": func() int {
		text, err := os.ReadFile("/proc/self/status")
		fmt.Printf("%s%v\n", text, err)
		return 0
	},
}

func entered(act func() int) int {
	s, err := userns.Inspect()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	if !s.NeedsEnter() {
		return act()
	}
	code, err := userns.Enter(context.Background(), userns.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	return code
}

// program prepares the test program as user u, doing act.
func program(t *testing.T, u testuser.User, act string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command(testuser.Program(t), act)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: u.Credential()}
	cmd.Env, cmd.Dir = u.Env(), u.Home
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	return cmd, &out
}

// exitCode runs cmd to its end.
func exitCode(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

func TestEnter(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "newuidmap", "newgidmap")
	with, without := testuser.WithSubids(t), testuser.WithoutSubids(t)
	before := mountsOnMnt(t)
	cases := []struct {
		name string
		u    testuser.User
		want userns.Status
	}{
		{"subids", with, userns.Status{Kind: userns.Mapped, UIDs: 65537, GIDs: 65537, OuterUID: with.UID, Mount: true, Owners: true, SetGroups: true}},
		{"none", without, userns.Status{Kind: userns.SingleID, UIDs: 1, GIDs: 1, OuterUID: without.UID, Mount: true}},
		{"nobody", testuser.User{UID: 65534, GID: 65534, Home: "/"}, userns.Status{Kind: userns.SingleID, UIDs: 1, GIDs: 1, OuterUID: 65534, Mount: true}},
		{"root", testuser.User{Home: "/"}, userns.Status{Kind: userns.HostRoot, UIDs: 1<<32 - 1, GIDs: 1<<32 - 1, Mount: true, Mknod: true, Owners: true, SetGroups: true}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cmd, out := program(t, c.u, "status")
			if code := exitCode(t, cmd); code != 7 {
				t.Fatalf("exit code %d: %s", code, out)
			}
			var got userns.Status
			if err := json.Unmarshal(out.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			cmd, out = program(t, c.u, "mount")
			if c.u.UID != 0 { // on the machine itself a mount would stay
				if code := exitCode(t, cmd); code != 0 {
					t.Errorf("mount: exit code %d: %s", code, out)
				}
			}
		})
	}
	if after := mountsOnMnt(t); after != before {
		t.Errorf("%d mounts on /mnt, %d before: one came out of the namespace", after, before)
	}
}

// mountsOnMnt counts what is mounted where the "mount" act mounts: some machines
// have a disk there.
func mountsOnMnt(t *testing.T) int {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(mounts), " /mnt ")
}

// TestContainerRoot is uid 0 without CAP_SYS_ADMIN, as in a container: it keeps
// all its ids in a namespace of its own.
func TestContainerRoot(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "setpriv")
	cmd, out := program(t, testuser.User{Home: "/"}, "status")
	cmd = exec.Command("setpriv", "--bounding-set", "-sys_admin,-mknod", cmd.Path, "status")
	cmd.Stdout, cmd.Stderr = out, out
	if code := exitCode(t, cmd); code != 7 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	var got userns.Status
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Kind != userns.Mapped || !got.Mount || got.Mknod || got.UIDs != 1<<32-1 {
		t.Errorf("got %+v, want every id and no device nodes", got)
	}
}

// TestContainerRootWithout is uid 0 without any capability: it may not map even
// itself, and hears what it lacks.
func TestContainerRootWithout(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "setpriv")
	cmd, out := program(t, testuser.User{Home: "/"}, "status")
	cmd = exec.Command("setpriv", "--inh-caps", "-all", "--bounding-set", "-all", cmd.Path, "status")
	cmd.Stdout, cmd.Stderr = out, out
	if code := exitCode(t, cmd); code != 99 || !regexp.MustCompile(`^map ids: .* not permitted.*; `).MatchString(out.String()) {
		t.Errorf("exit code %d, output %q; want 99, what was refused and a remedy", code, out)
	}
}

// TestForCaller asks for the maps that a runtime of the caller needs: the caller
// is outside a namespace that Enter made, and inside any other.
func TestForCaller(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "unshare", "setpriv")
	u := testuser.WithoutSubids(t)
	outside := fmt.Sprintf("[{0 %d 1}] [{0 %d 1}] <nil>\n", u.UID, u.GID)
	const inside = "[{0 0 1}] [{0 0 1}] <nil>\n"
	for _, c := range []struct {
		name string
		wrap []string
		want string
	}{
		{"entered", nil, outside},
		{"callers own", []string{"unshare", "--user", "--map-root-user"}, inside},
		{"entered from the callers own", []string{"unshare", "--user", "--map-root-user", "setpriv", "--bounding-set", "-sys_admin"}, inside},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd, out := program(t, u, "maps")
			args := append(c.wrap, cmd.Path, "maps")
			wrapped := exec.Command(args[0], args[1:]...)
			wrapped.SysProcAttr, wrapped.Dir = cmd.SysProcAttr, cmd.Dir
			wrapped.Stdout, wrapped.Stderr = out, out
			wrapped.Env = append(cmd.Env, "BYHAND_USERNS=7", "PATH="+os.Getenv("PATH"))
			if code := exitCode(t, wrapped); code != 0 || out.String() != c.want {
				t.Errorf("exit code %d, output %q; want %q", code, out, c.want)
			}
		})
	}
}

func TestExitAndSignals(t *testing.T) {
	u := testuser.WithoutSubids(t)
	cmd, out := program(t, u, "die")
	if code := exitCode(t, cmd); code != 137 {
		t.Errorf("exit code %d, want 137: %s", code, out)
	}
	cmd, _ = program(t, u, "signal")
	started(t, cmd)
	if err := cmd.Process.Signal(unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 12 {
		t.Errorf("exit code %d, want 12", code)
	}
}

// started starts cmd and waits until it says that it is up.
func started(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.Stdout = nil
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line := make([]byte, 3)
	if _, err := out.Read(line); err != nil || string(line) != "up\n" {
		t.Fatalf("got %q, %v", line, err)
	}
}

// TestParentKilled kills the parent: the command inside goes with it.
func TestParentKilled(t *testing.T) {
	for _, u := range []testuser.User{testuser.WithSubids(t), testuser.WithoutSubids(t)} {
		cmd, _ := program(t, u, "sleep")
		started(t, cmd)
		children := processes(t, cmd.Path)
		if len(children) != 2 {
			t.Errorf("%d processes before, want 2", len(children))
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		for end := time.Now().Add(2 * time.Minute); len(processes(t, cmd.Path)) != 0; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the command outlives its parent")
			}
		}
	}
}

// processes lists those that run the program at path.
func processes(t *testing.T, path string) []string {
	t.Helper()
	var found []string
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if exe, err := os.Readlink("/proc/" + e.Name() + "/exe"); err == nil && exe == path {
			found = append(found, e.Name())
		}
	}
	return found
}

// TestInherited hands a descriptor through, and keeps the capabilities that
// root of the namespace has to itself.
func TestInherited(t *testing.T) {
	u := testuser.WithoutSubids(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString("through"); err != nil {
		t.Fatal(err)
	}
	cmd, out := program(t, u, "fds")
	cmd.ExtraFiles = []*os.File{r}
	if code := exitCode(t, cmd); code != 0 || out.String() != "through <nil>\n" {
		t.Errorf("exit code %d, output %q", code, out)
	}
	cmd, out = program(t, u, "caps")
	if code := exitCode(t, cmd); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"CapInh:\t0000000000000000\n", "CapAmb:\t0000000000000000\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("status lacks %q:\n%s", want, out)
		}
	}
}

// TestHiddenArgument starts the hidden stage by hand: it ends at once and does
// nothing.
func TestHiddenArgument(t *testing.T) {
	for _, args := range [][]string{
		{"__userns-child"},
		{"__userns-child", "x", "status"},
		{"__userns-child", "0", "status"},
		{"__userns-child", "77", "program", "status"},
	} {
		cmd := exec.Command("/proc/self/exe", args...)
		if code := exitCode(t, cmd); code != 2 {
			t.Errorf("%q: exit code %d, want 2", args, code)
		}
	}
}

// TestRefused makes the kernel refuse user namespaces and looks for the reason.
func TestRefused(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "unshare")
	testneed.Tool(t, "setpriv")
	// In a user namespace of its own, the limit of which nobody else shares.
	const script = `echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set -sys_admin "$0" status`
	cmd, out := program(t, testuser.User{Home: "/"}, "status")
	cmd = exec.Command("unshare", "--user", "--map-root-user", "sh", "-c", script, cmd.Path)
	cmd.Stdout, cmd.Stderr = out, out
	if code := exitCode(t, cmd); code != 99 || !strings.Contains(out.String(), "user.max_user_namespaces=") {
		t.Errorf("exit code %d, output %q; want 99 and the sysctl", code, out)
	}
}
