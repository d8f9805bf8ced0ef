package e2e_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/byhand/byhand/internal/testneed"
)

// TestManyRuns starts a hundred containers of one image at once. Every third
// byhand is killed at a random moment; the others must not notice. In the end
// no process, mount, control group, record or run directory is left, without
// another run having to sweep anything but the killed ones' directories.
func TestManyRuns(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "runc")
	l := newLab(t)
	image := "oci:" + shared.image + ":v1"
	l.must(l.byhand("unpack", image))
	const runs = 100
	token := fmt.Sprintf("many-%x", rand.Uint64())
	runtime := newRecorder(l)
	var all sync.WaitGroup
	slots := make(chan struct{}, 25) // what a small machine's memory holds at once
	for i := range runs {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if i%3 == 0 {
				l.killed(runtime.path, image, token, func() { time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond) })
				return
			}
			if r := l.byhand("run", "--runtime", runtime.path, image, "--", "exit", fmt.Sprint(i)); r.code != i {
				t.Errorf("run %d: exit %d: %s", i, r.code, r.stderr)
			}
		})
	}
	all.Wait()
	l.eventually("processes", func() []string { return processes(t, token) })
	l.eventually("control groups", func() []string { return cgroups(runtime.ids()) })
	if left := l.mounts(); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
	// Any command that opens the store sweeps it, not only another run.
	l.must(l.byhand("images"))
	l.killed(runtime.path, image, token, func() {
		l.waitFor("a run directory", func() bool { return len(names(t, l.path("store/run"))) > 0 })
	})
	if len(names(t, l.path("store/run"))) == 0 {
		t.Error("a killed run left no run directory; there is nothing to sweep")
	}
	l.eventually("run directories", func() []string { // its container may still be there the first time
		l.must(l.byhand("images"))
		return names(t, l.path("store/run"))
	})
	l.must(l.byhand("prune"))
	if left := names(t, l.path("store/staging")); len(left) > 0 {
		t.Errorf("staging: %v", left)
	}
}

// killed starts a container that would last, and kills byhand after wait, at
// some moment of its start or life.
func (l lab) killed(runtime, image, token string, wait func()) {
	l.t.Helper()
	cmd := exec.Command(shared.byhand, "--store", l.path("store"), "--quiet", "run", "--runtime", runtime, "--env", "TOKEN="+token, image, "--", "sleep", "600s")
	cmd.Env = append(os.Environ(), "HOME="+l.dir)
	if err := cmd.Start(); err != nil {
		l.t.Error(err)
		return
	}
	wait()
	if err := cmd.Process.Kill(); err != nil {
		l.t.Error(err)
	}
	_ = cmd.Wait() // killed
}

// eventually waits until there is nothing left: the kernel ends a killed run's
// processes a moment later.
func (l lab) eventually(what string, left func() []string) {
	l.t.Helper()
	var list []string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if list = left(); len(list) == 0 {
			return
		}
	}
	l.t.Errorf("%s are left: %v", what, list)
}

// processes lists those that have word in their environment or command line.
func processes(t *testing.T, word string) []string {
	t.Helper()
	var found []string
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		for _, name := range []string{"environ", "cmdline"} {
			if text, err := os.ReadFile(filepath.Join(dir, name)); err == nil && bytes.Contains(text, []byte(word)) {
				found = append(found, dir)
				break
			}
		}
	}
	return found
}

// recorder is runc, and keeps a list of the containers that it was asked for:
// others have theirs on this machine.
type recorder struct{ path, list string }

func newRecorder(l lab) recorder {
	l.t.Helper()
	r := recorder{l.path("runc"), l.path("containers")}
	script := "#!/bin/sh\nfor id; do :; done\necho $id >>'" + r.list + "'\nexec runc \"$@\"\n"
	if err := os.WriteFile(r.path, []byte(script), 0o755); err != nil {
		l.t.Fatal(err)
	}
	return r
}

// ids are the containers' names, the last argument of each call.
func (r recorder) ids() []string {
	text, _ := os.ReadFile(r.list) // there is none before the first
	return strings.Fields(string(text))
}

// cgroups lists the control groups that the containers have.
func cgroups(ids []string) []string {
	var found []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && slices.Contains(ids, d.Name()) {
			found = append(found, path)
		}
		return nil // groups come and go
	})
	return found
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// TestRunOnTerminal is byhand run --tty as a person types it: the container
// has a terminal of its own with the size of the outer one, which is as it was
// afterwards.
func TestRunOnTerminal(t *testing.T) {
	testneed.Tool(t, "script")
	testneed.Root(t)
	l := newLab(t)
	run := shared.byhand + " --store " + l.path("store") + " --quiet run "
	image := " oci:" + shared.image + ":v1"
	script := "stty rows 33 cols 111; stty -a >before; " + run + "--tty" + image + " -- env; echo code=$?; stty -a >after; cmp before after && echo same"
	r := l.run("script", "-qec", script, "/dev/null")
	for _, want := range []string{"TERM=xterm", "code=0", "same"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("%q is not in %q", want, r.stdout)
		}
	}
	if r := l.byhand("run", "--tty", "oci:"+shared.image+":v1", "--", "env"); r.code != 0 || !strings.Contains(r.stdout, "TERM=xterm") {
		t.Errorf("without a terminal: exit %d: %q %q", r.code, r.stdout, r.stderr)
	}
}
