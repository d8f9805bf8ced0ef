package e2e_test

import (
	"bufio"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/demo"
	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/treecmp"
)

// TestFaults lets a command be killed, or fail, at its system calls, one a
// run. A first run under strace tells which calls there are. After each fault
// the exit code must be right, whatever the store then trusts must be whole,
// the same command must succeed without cleaning by hand, and nothing may be
// left over.
//
// BYHAND_TEST_FAULTS is the number of points, spread over all of them; "all"
// is all of them, and "2/30" the second of thirty parts of all of them, which
// take some minutes each. A single one is named by -run TestFaults/CASE/POINT.
func TestFaults(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "strace")
	choose := chosenPoints(t)
	image := filepath.Join(t.TempDir(), "image")
	// Layers that no other test has: their mounts may count for all stores.
	if _, err := demo.Build(image, demo.Options{Tag: "v1", Hostname: "faults"}); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(image), 0o755); err != nil { // for the ordinary users
		t.Fatal(err)
	}
	cases := faultCases(t, "oci:"+image+":v1")
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			points := c.points(t)
			if len(points) < 100 {
				t.Fatalf("strace saw %d points only: the test tests nothing", len(points))
			}
			all := len(points)
			chosen := choose(slices.Clone(points), len(cases))
			kills, felt := 0, 0
			for i, p := range slices.Concat(chosen, points) {
				// Whether a call comes is chance, as each thread has calls of its
				// own; but some kill has to come in time.
				if i >= len(chosen) && (felt > 0 || p.what != kill) {
					continue
				}
				t.Run(p.String(), func(t *testing.T) {
					failed := c.try(t, p)
					if p.what == kill {
						kills++
						if failed {
							felt++
						}
					}
				})
			}
			t.Logf("%d of %d points; %d of %d kills came in time", len(chosen), all, felt, kills)
			if kills > 0 && felt == 0 {
				t.Error("no kill came in time")
			}
		})
	}
}

// chosenPoints reads BYHAND_TEST_FAULTS and returns what picks the points to try
// of those of one case of several.
func chosenPoints(t *testing.T) func(all []point, cases int) []point {
	t.Helper()
	text := os.Getenv("BYHAND_TEST_FAULTS")
	if part, parts, ok := strings.Cut(text, "/"); ok {
		k, errK := strconv.Atoi(part)
		n, errN := strconv.Atoi(parts)
		if errK != nil || errN != nil || k < 1 || k > n {
			t.Fatalf("BYHAND_TEST_FAULTS=%s: expected K/N, K from 1 to N", text)
		}
		return func(all []point, _ int) []point {
			// By name: the next part will see a few points more or less.
			return slices.DeleteFunc(all, func(p point) bool {
				return int(crc32.ChecksumIEEE([]byte(p.String()))%uint32(n)) != k%n
			})
		}
	}
	count := 300
	if testing.Short() {
		count = 40
	}
	if text == "all" {
		count = math.MaxInt
	} else if text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("BYHAND_TEST_FAULTS=%s: %v", text, err)
		}
		count = n
	}
	return func(all []point, cases int) []point { return all[:min(len(all), count/cases)] }
}

// kill is the fault that no process survives.
const kill = "signal=KILL"

// point is one fault: what happens at the when-th call of one thread.
type point struct {
	call, what string
	when       int
}

func (p point) String() string { return fmt.Sprintf("%s:%s:when=%d", p.call, p.what, p.when) }

// traced are the calls at which a file system, or the table of open files, may
// fail. Those of the Go runtime's own are left out.
const traced = "/^(open(at2?)?|creat|mkdir(at)?|mknod(at)?|symlink(at)?|link(at)?|rename(at2?)?|unlink(at)?|rmdir" +
	"|p?writev?(64)?|p?readv?(64)?|copy_file_range|sendfile|fsync|fdatasync|syncfs|sync_file_range|f?truncate|fallocate" +
	"|f?chmod(at2?)?|[fl]?chown(at)?|utimensat|[fl]?(set|get|list|remove)xattr(at)?|flock|getdents64|newfstatat|[fl]?stat|statx" +
	"|f?statfs|readlink(at)?|lseek|close|mount|umount2|fsopen|fsconfig|fsmount|move_mount|mount_setattr|open_tree|f?chdir)$"

var (
	makesFile = regexp.MustCompile(`^(open|mkdir|mknod|symlink|link|rename|p?write|copy_file|sendfile|fsync|fdatasync|syncfs|f?truncate|fallocate|.*setxattr|fchmod|fchown|utimens)`)
	makesFD   = regexp.MustCompile(`^(open|fsopen|fsmount)`)
	callStart = regexp.MustCompile(`^(\d+) +([a-z0-9_]+)\(`)
)

// points runs the command once under strace and returns all points there are,
// in an order that looks random and is always the same.
func (c faultCase) points(t *testing.T) []point {
	t.Helper()
	l := c.lab(t)
	c.before(l)
	out := filepath.Join(t.TempDir(), "trace")
	l.must(l.strace(c.args, "-o", out, "-e", "trace="+traced))
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	type thread struct{ pid, call string }
	counts, most := map[thread]int{}, map[string]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		m := callStart.FindStringSubmatch(lines.Text())
		if m != nil && !strings.HasPrefix(m[2], "syscall_") { // one that this strace has no name for
			th := thread{m[1], m[2]}
			counts[th]++
			most[th.call] = max(most[th.call], counts[th])
		}
	}
	var points []point
	for call, n := range most {
		whats := []string{kill}
		// strace does not make a call that it lets fail, but close(2) frees the
		// descriptor, and with it the lock, even then.
		if call != "close" {
			whats = append(whats, "error=EIO")
		}
		if call != "close" && call != "lseek" { // no file system waits in lseek(2)
			whats = append(whats, "error=EINTR")
		}
		if makesFile.MatchString(call) {
			whats = append(whats, "error=ENOSPC")
		}
		if makesFD.MatchString(call) {
			whats = append(whats, "error=EMFILE")
		}
		for when := range n {
			for _, what := range whats {
				points = append(points, point{call, what, when + 1})
			}
		}
	}
	slices.SortFunc(points, func(a, b point) int { return strings.Compare(a.String(), b.String()) })
	rng := rand.New(rand.NewPCG(1, 0))
	rng.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
	return points
}

// strace runs byhand under strace in the lab. strace stays root, so that what
// an ordinary user starts with set-user-ID works.
func (l faultLab) strace(args []string, options ...string) result {
	l.t.Helper()
	all := append([]string{"-f", "-qq"}, options...)
	if l.user != nil {
		all = append(all, "-u", l.user.Name)
	}
	all = append(all, shared.byhand, "--store", l.path("store"), "--progress", "none")
	command := append(append([]string{"strace"}, all...), args...)
	if l.alone {
		command = append([]string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}, command...)
	}
	r := l.run(command[0], command[1:]...)
	if strings.Contains(r.stderr, "ptrace") && strings.Contains(r.stderr, "not permitted") {
		testneed.Missing(l.t, "ptrace is not permitted")
	}
	return r
}

// try runs the command with the fault and says whether it failed of it.
func (c faultCase) try(t *testing.T, p point) (felt bool) {
	t.Helper()
	l := c.lab(t)
	c.before(l)
	start := time.Now()
	log := filepath.Join(t.TempDir(), "strace")
	r := l.strace(c.args, "-o", log, "-e", "trace="+p.call, "-e", "inject="+p.String())
	if took := time.Since(start); took > 2*time.Minute {
		t.Errorf("took %s", took)
	}
	defer func() {
		if t.Failed() {
			t.Logf("exit %d: %s%s", r.code, r.stdout, r.stderr)
		}
	}()
	calls := injected(t, log)
	checkExit(t, r, p, calls)
	// The user has one ID then, as users have who never had more.
	oneID := strings.Contains(r.stderr, "owners other than you cannot be kept: map ids") || strings.Contains(r.stderr, "mount in user namespace: ")
	if c.user != nil && (kernels(calls) || oneID) {
		return r.code != 0
	}
	if _, err := os.Stat(l.path("store/oci-layout")); err == nil {
		l.must(l.byhand("images"))
	}
	switch done := c.done(l); {
	case !done && r.code == 0:
		t.Error("it ended with 0, but its work is not done")
	case !done:
		l.must(l.byhand(c.args...))
	case r.code != 0, // at its very end
		strings.HasPrefix(p.call, "unlink") && p.what != "error=EINTR": // what could not be deleted is the next command's to sweep
		l.must(l.byhand("prune"))
	}
	c.check(l)
	return r.code != 0
}

// injected returns the calls that strace made fail.
func injected(t *testing.T, log string) []string {
	t.Helper()
	raw, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	begun := map[string]string{} // by thread, where strace splits a line
	for line := range strings.Lines(string(raw)) {
		pid, call, _ := strings.Cut(line, " ")
		call = strings.TrimSpace(call)
		switch {
		case strings.HasSuffix(call, "<unfinished ...>"):
			begun[pid] = call
			continue
		case strings.HasPrefix(call, "<..."):
			call = begun[pid] + call
		}
		if strings.Contains(call, "(INJECTED)") {
			calls = append(calls, call)
		}
	}
	return calls
}

// muted says whether the write of a message was among the calls that failed.
func muted(calls []string) bool {
	return slices.ContainsFunc(calls, func(c string) bool { return strings.HasPrefix(c, "write(2, ") })
}

// kernels says whether one of the calls that failed asked the kernel about
// itself: what that becomes is no matter of disks.
func kernels(calls []string) bool {
	return slices.ContainsFunc(calls, func(c string) bool {
		return strings.Contains(c, `"/proc/`) || strings.Contains(c, `"/sys/`)
	})
}

// wakes says whether one of the calls that failed is the Go runtime's own: it
// wakes its poller by adding 1 to an eventfd(2), which no file system lets fail,
// and ends the process where that does not go.
func wakes(calls []string) bool {
	return slices.ContainsFunc(calls, func(c string) bool {
		return strings.HasPrefix(c, "write(") && strings.Contains(c, `, "\1\0\0\0\0\0\0\0", 8)`)
	})
}

// checkExit wants a failing file system to be reported as one, on one line.
func checkExit(t *testing.T, r result, p point, calls []string) {
	t.Helper()
	crashed := strings.Contains(r.stderr, "goroutine ") || strings.Contains(r.stderr, "runtime:")
	switch {
	case r.code == 0:
	case p.what == kill:
		if r.code != -1 && r.code != 128+int(unix.SIGKILL) {
			t.Errorf("exit %d of a killed process", r.code)
		}
	case p.what == "error=EINTR":
		t.Error("a signal is no failure")
	case crashed && wakes(calls) && strings.Contains(r.stderr, "netpollBreak"): // as if it was killed
	case crashed:
		t.Error("it crashed")
	case r.code != 7:
		t.Errorf("exit %d, expected 7", r.code)
	case r.stderr == "" && muted(calls):
	default:
		lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
		for i, line := range lines {
			if !strings.HasPrefix(line, "byhand: ") || i < len(lines)-1 && !strings.HasPrefix(line, "byhand: warning: ") {
				t.Errorf("not an error of one line: %q", lines)
			}
		}
	}
}

// trusted compares the layers that the store has with those of another store.
func trusted(l, ref lab) {
	l.t.Helper()
	names, err := os.ReadDir(l.path("store/layers"))
	if err != nil {
		l.t.Fatal(err)
	}
	for _, n := range names {
		dir := filepath.Join("store/layers", n.Name())
		if _, err := os.Stat(l.path(filepath.Join(dir, "layer.json"))); err != nil {
			l.t.Errorf("layer without a record: %v", err)
		}
		sameTree(l.t, ref.path(filepath.Join(dir, "diff")), l.path(filepath.Join(dir, "diff")))
	}
}

func sameTree(t *testing.T, want, got string) {
	t.Helper()
	diffs, err := treecmp.Compare(want, got, treecmp.Options{Rewrite: ignoreWhiteoutTime})
	if err != nil {
		t.Error(err)
	}
	for _, d := range diffs {
		t.Errorf("%s: %s", got, d)
	}
}

// ignoreWhiteoutTime: a whiteout is of the time when it was made.
func ignoreWhiteoutTime(e *treecmp.Entry) {
	if e.Type == "char" {
		e.ModTime = time.Time{}
	}
}

// onlyNames wants a directory to hold nothing but some names.
func onlyNames(t *testing.T, dir string, names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		if !slices.Contains(names, e.Name()) {
			t.Errorf("%s holds %s", dir, e.Name())
		}
	}
}
