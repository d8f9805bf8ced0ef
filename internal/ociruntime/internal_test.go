package ociruntime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testneed"
)

func TestClassify(t *testing.T) {
	cases := []struct {
		text string
		code int
	}{
		{`exec: "nope": executable file not found in $PATH`, 127},
		{`exec: "/nope": stat /nope: no such file or directory`, 127},
		{`exec /bin/orphan: no such file or directory`, 127},
		{"executable file `nope` not found in $PATH: No such file or directory", 127},
		{`exec: "/etc": permission denied`, 126},
		{`exec /bin/rootonly: permission denied`, 126},
		{`exec: "/etc": is a directory`, 126},
		{`exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory`, 126},
		{`exec: "/bin/loop": stat /bin/loop: too many levels of symbolic links`, 126},
		{"open executable: Permission denied", 126},
		{`error mounting "/no/such" to rootfs at "/mnt": stat /no/such: no such file or directory`, 125},
		{`chdir to cwd ("/x") set in config.json failed: permission denied`, 125},
		{"", 125},
	}
	for _, c := range cases {
		if code := classify(c.text); code != c.code {
			t.Errorf("%q is %d, want %d", c.text, code, c.code)
		}
	}
}

func TestLastError(t *testing.T) {
	log := []byte(`{"level":"warning","msg":"odd"}
{"level":"error","msg":"first"}
not json
{"level":"error","msg":"runc run failed: unable to start\n container process: last"}
{"level":"debug","msg":"later"}
`)
	if got := trimPrefixes(lastError(log)); got != "unable to start container process: last" {
		t.Errorf("got %q", got)
	}
	if got := lastError([]byte(`{"level":"warning","msg":"only"}`)); got != "only" {
		t.Errorf("got %q", got)
	}
	if got := lastError(nil); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestParseStat(t *testing.T) {
	st, err := parseStat([]byte("7 (a) Z 64 (b) Z 1 7 7 0 -1 4194368 1 2 3\n"))
	if err != nil || !st.ended() || st.executed() {
		t.Errorf("got %+v, %v", st, err)
	}
	if _, err := parseStat([]byte("7 nothing")); err == nil {
		t.Error("no error")
	}
	// This process has executed its program.
	if st, err := readStat(os.Getpid()); err != nil || !st.executed() || st.ended() {
		t.Errorf("got %+v, %v for this process", st, err)
	}
}

func TestCgroupMounts(t *testing.T) {
	const mountinfo = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:3 - cgroup cgroup rw,cpu,cpuacct
33 31 0:37 /outer /sys/fs/cgroup/with\040space rw,relatime - cgroup cgroup rw,name=systemd
34 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`
	const own = "9:name=systemd:/outer/mine\n2:cpu,cpuacct:/a/b\n0::/user.slice\n"
	var got []string
	for _, m := range cgroupMounts(mountinfo) {
		got = append(got, fmt.Sprintf("%s %s %s", m.root, m.point, m.own(own)))
	}
	want := []string{
		"/ /sys/fs/cgroup/cpu,cpuacct /a/b",
		"/outer /sys/fs/cgroup/with space /outer/mine",
		"/ /sys/fs/cgroup/unified /user.slice",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestRemoveCgroups removes groups and nothing else.
func TestRemoveCgroups(t *testing.T) {
	testneed.Root(t)
	plain := filepath.Join(t.TempDir(), "group")
	if err := os.MkdirAll(filepath.Join(plain, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := removeCgroups([]string{plain, "/no/such"}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(plain, "in")); err != nil {
		t.Errorf("a plain directory was removed: %v", err)
	}
	dirs, err := cgroupDirs(fmt.Sprintf("byhand-test-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	made := ""
	for _, dir := range dirs {
		if os.MkdirAll(filepath.Join(dir, "in", "deeper"), 0o755) == nil {
			made = dir
			break
		}
	}
	if made == "" {
		testneed.Missing(t, "no control group can be made here")
	}
	if err := removeCgroups(dirs); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(made); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", made, err)
	}
}

// TestRecord makes, finds and sweeps records.
func TestRecord(t *testing.T) {
	dir := t.TempDir()
	r, err := newRecord(request{ID: "a", StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newRecord(request{ID: "a", StateDir: dir}); err == nil || !strings.Contains(err.Error(), "running") {
		t.Errorf("got %v for a second of the same name", err)
	}
	sweep(dir)
	if _, err := os.Stat(filepath.Join(dir, "a")); err != nil {
		t.Errorf("a locked record was swept: %v", err)
	}
	if err := r.file.Close(); err != nil { // as when the supervisor is killed
		t.Fatal(err)
	}
	sweep(dir)
	if _, err := os.Stat(filepath.Join(dir, "a")); !os.IsNotExist(err) {
		t.Errorf("a record without a lock stays: %v", err)
	}
	other, err := newRecord(request{ID: "b", StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	other.close(nil)
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the empty state directory stays: %v", err)
	}
}

func TestOwnsPIDs(t *testing.T) {
	cases := map[string]bool{
		`{"linux":{"namespaces":[{"type":"mount"},{"type":"pid"}]}}`:                                      true,
		`{"linux":{"namespaces":[{"type":"mount"}]}}`:                                                     false,
		`{"linux":{"namespaces":[{"type":"pid","path":"/run/ns"}]}}`:                                      false,
		`{"linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/proc/77/ns/net"}]}}`:           false,
		`{"linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/run/netns/x"}]}}`:              true,
		`{"process":{"terminal":true},"linux":{"namespaces":[{"type":"network"},{"type":"pid"}]}, "x":1}`: true,
	}
	for text, want := range cases {
		var c config
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatal(err)
		}
		if got := c.ownsPIDs(); got != want {
			t.Errorf("%s: got %v", text, got)
		}
	}
}

// TestMergeSignals feeds repetitions.
func TestMergeSignals(t *testing.T) { synctest.Test(t, mergeSignals) }

func mergeSignals(t *testing.T) {
	s := &signals{make(chan unix.Signal, 64), make(chan os.Signal, 64), make(chan struct{})}
	go s.merge()
	for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGINT, unix.SIGPIPE, unix.SIGTERM, unix.SIGTERM, unix.SIGQUIT} {
		s.raw <- sig
	}
	var got []unix.Signal
	for range 4 {
		got = append(got, <-s.c)
	}
	if diff := cmp.Diff([]unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGTERM, unix.SIGQUIT}, got); diff != "" {
		t.Error(diff)
	}
	time.Sleep(sameKey)
	s.raw <- unix.SIGINT
	if sig := <-s.c; sig != unix.SIGINT {
		t.Errorf("got %v, want the second press", sig)
	}
	close(s.done)
}

// TestInterrupts has clocks at which somebody asks for an end.
func TestInterrupts(t *testing.T) {
	start := time.Now()
	for _, c := range []struct {
		at   []time.Duration
		want []bool
	}{
		{[]time.Duration{0, 200e6, 400e6}, []bool{false, false, true}},
		{[]time.Duration{0, 1e9, 1999e6, 3e9}, []bool{false, false, true, false}},
		{[]time.Duration{0, 1e9, 2e9, 3e9}, []bool{false, false, false, false}},
		{[]time.Duration{0, 5e9, 6e9, 6500e6}, []bool{false, false, false, true}},
	} {
		var i interrupts
		for n, at := range c.at {
			if got := i.insist(start.Add(at)); got != c.want[n] {
				t.Errorf("%v: number %d: got %v", c.at, n+1, got)
			}
		}
	}
}

// TestConn passes a message and a descriptor.
func TestConn(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, errA := newConn(os.NewFile(uintptr(fds[0]), "a"))
	b, errB := newConn(os.NewFile(uintptr(fds[1]), "b"))
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	defer b.close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	sent := message{Kind: kindFailed, Code: 126, Op: "o", Text: strings.Repeat("x", 2*maxText)}
	if err := a.send(sent, w); err != nil {
		t.Fatal(err)
	}
	got, file, err := b.receive()
	if err != nil || got.Code != 126 || len(got.Text) != maxText || file == nil {
		t.Fatalf("got %+v, %v, %v", got, file, err)
	}
	_ = w.Close()
	if _, err := file.WriteString("hi"); err != nil {
		t.Error(err)
	}
	_ = file.Close()
	if text, err := io.ReadAll(r); err != nil || string(text) != "hi" {
		t.Errorf("read %q, %v", text, err)
	}
	a.close()
	if _, _, err := b.receive(); err == nil {
		t.Error("no error after the other side has gone")
	}
}

// TestHiddenArgument starts the supervisor by hand: it ends at once.
func TestHiddenArgument(t *testing.T) {
	if code, ok := Inner([]string{"byhand", "run"}, nil); ok || code != 0 {
		t.Errorf("got %d, %v for an ordinary command line", code, ok)
	}
	for _, input := range []string{"", `{"PIDNS":true}`} {
		cmd := exec.Command("/proc/self/exe", supervisorArg, "x")
		cmd.Stdin = strings.NewReader(input)
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != 2 {
			t.Errorf("got %v, want exit code 2", err)
		}
	}
}

func TestRuntimeEnv(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/x")
	t.Setenv("LISTEN_FDS", "3")
	t.Setenv("LISTEN_FDS_NOT", "kept")
	env := strings.Join(runtimeEnv(), "\n")
	if strings.Contains(env, "NOTIFY_SOCKET=") || strings.Contains(env, "LISTEN_FDS=") || !strings.Contains(env, "LISTEN_FDS_NOT=kept") {
		t.Errorf("environment is %s", env)
	}
}

// FuzzStat writes a stat line for any program name.
func FuzzStat(f *testing.F) {
	f.Add("a) Z 64 (b", byte('S'), uint64(forkNoExec))
	f.Fuzz(func(t *testing.T, name string, state byte, flags uint64) {
		if state <= ' ' || state > '~' || state == ')' {
			return // the kernel writes letters
		}
		st, err := parseStat(fmt.Appendf(nil, "7 (%s) %c 1 7 7 0 -1 %d 1 2 3\n", name, state, flags))
		if err != nil || st.state != state || st.flags != flags {
			t.Fatalf("got %+v, %v", st, err)
		}
	})
}

// FuzzCgroups takes any mountinfo and cgroup file: every directory found is
// below a mount point.
func FuzzCgroups(f *testing.F) {
	f.Add("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n", "1:cpu:/../../etc\n")
	f.Add("32 31 0:29 /a /c rw - cgroup2 x rw\n", "0::/b\n")
	f.Fuzz(func(t *testing.T, mounts, own string) {
		for _, m := range cgroupMounts(mounts) {
			for _, dir := range m.dirs(own, "id") {
				rel, err := filepath.Rel(m.point, dir)
				if err != nil || rel == ".." || strings.HasPrefix(rel, "../") || filepath.Base(dir) != "id" {
					t.Fatalf("%q is outside %q", dir, m.point)
				}
			}
		}
	})
}

// FuzzLastError takes any log.
func FuzzLastError(f *testing.F) {
	f.Add([]byte(`{"level":"error","msg":"exec: \"a\": permission denied"}`))
	f.Fuzz(func(t *testing.T, log []byte) {
		text := trimPrefixes(lastError(log))
		if strings.ContainsAny(text, "\n\r\t") {
			t.Fatalf("%q is not one line", text)
		}
		if c := classify(text); c != CodeFailed && c != CodeNotExec && c != CodeNotFound {
			t.Fatalf("code %d", c)
		}
	})
}

// TestRecordLeft closes a record whose run could not remove everything: the
// next sweep does.
func TestRecordLeft(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	for left, want := range map[error]bool{nil: false, unix.EBUSY: true} {
		rec, err := newRecord(request{ID: "x", StateDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		rec.close(left)
		name := filepath.Join(dir, "x")
		if _, err := os.Stat(name); (err == nil) != want {
			t.Errorf("after %v: %v, want a record: %v", left, err, want)
		}
		sweep(dir)
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after %v and a sweep: %v", left, err)
		}
	}
}
