package overlay_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/byhand/byhand/internal/testneed"
)

// At any of its system calls a process is killed, or the call fails. After
// that the same work succeeds, and everything is whole.
func TestFaults(t *testing.T) {
	testneed.Tool(t, "strace")
	points := number("BYHAND_TEST_FAULTS", 100)
	if testing.Short() {
		points = 8
	}
	clean := t.TempDir()
	want := addAll(t, open(t, clean), stackOfLayers()...)
	dir := t.TempDir()
	hit := 0
	for range points {
		seed := uint64(time.Now().UnixNano())
		f := randomFault(rand.New(rand.NewPCG(seed, 0)))
		failed, out := faultyWorker(t, dir, f)
		if failed {
			hit++
		}
		if f.what == "error=EINTR" && failed {
			t.Errorf("%s: a signal is no failure:\n%s", f, out)
		}
		if !wholeStore(t, dir, want) {
			t.Fatalf("after %s (seed %d):\n%s", f, seed, out)
		}
	}
	t.Logf("%d of %d faults were felt", hit, points)
	if hit == 0 {
		t.Error("no fault was felt: the test tests nothing")
	}
}

// fault is one for strace to inject.
type fault struct {
	call, what string
	when       int
}

func (f fault) String() string { return fmt.Sprintf("%s:%s:when=%d", f.call, f.what, f.when) }

// interruptible are the calls that signal(7) names, and those that a file
// system in user space may interrupt though the kernel's own do not.
var interruptible = []string{
	"openat", "openat2", "write", "flock", "mkdirat", "renameat", "renameat2", "unlinkat", "symlinkat", "newfstatat",
	"ftruncate", "fsync", "getdents64",
}

func randomFault(rng *rand.Rand) fault {
	calls := []string{
		"openat", "openat2", "mkdirat", "write", "renameat", "renameat2", "unlinkat", "fsync", "symlinkat", "flock",
		"fchmod", "linkat", "mknodat", "utimensat", "newfstatat", "ftruncate", "getdents64", "close", "pread64",
	}
	whats := []string{"signal=KILL", "signal=KILL", "error=ENOSPC", "error=EIO", "error=EMFILE", "error=EINTR"}
	f := fault{call: calls[rng.IntN(len(calls))], what: whats[rng.IntN(len(whats))]}
	f.when = 1 + rng.IntN(1<<rng.IntN(8)) // near and far, few calls of most kinds
	if f.what == "error=EINTR" && !slices.Contains(interruptible, f.call) {
		f.what = "signal=KILL"
	}
	return f
}

// faultyWorker runs TestWorker under strace. The Go runtime itself dies of
// some faults; that is a kill like any other.
func faultyWorker(t *testing.T, dir string, f fault) (failed bool, out []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, "strace", "-f", "-qq", "-o", "/dev/null",
		"-e", "trace="+f.call, "-e", "inject="+f.String(), self, "-test.run=^TestWorker$")
	cmd.Env = append(os.Environ(), workerEnv+"="+dir)
	out, err = cmd.CombinedOutput()
	if strings.Contains(string(out), "ptrace") && strings.Contains(string(out), "not permitted") {
		testneed.Missing(t, "ptrace is not permitted")
	}
	if ctx.Err() != nil {
		t.Fatalf("%s: the process hangs:\n%s", f, out)
	}
	return err != nil, out
}
