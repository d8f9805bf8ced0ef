package e2e_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/testregistry"
	"github.com/byhand/byhand/internal/testtar"
)

// stalling is a registry with an image of a small and a large layer, the
// large one of which stops coming in the middle.
func stalling(t *testing.T) (r *testregistry.Registry, ref string, large ocispec.Descriptor) {
	t.Helper()
	r = testregistry.New(t, testregistry.Options{})
	noise := make([]byte, 8<<20)
	random := rand.NewChaCha8([32]byte{1})
	if _, err := random.Read(noise); err != nil {
		t.Fatal(err)
	}
	var layers []ocispec.Descriptor
	var ids []digest.Digest
	for _, content := range []string{"small", string(noise)} {
		raw := testtar.Tar(testtar.File("file", content))
		d := r.AddBlob("lab/slow", raw)
		d.MediaType = ocispec.MediaTypeImageLayer
		layers, ids = append(layers, d), append(ids, d.Digest)
	}
	r.AddImage("lab/slow", "v1", layers, ids)
	r.Fault(layers[1].Digest.Encoded(), testregistry.Fault{Stall: new(int64(4 << 20))})
	return r, r.Host() + "/lab/slow:v1", layers[1]
}

// stopInTheMiddle starts a command, waits until it is there, and sends sig. It
// returns how long the command took to end.
func (l lab) stopInTheMiddle(there func() bool, sig os.Signal, args ...string) (result, time.Duration) {
	l.t.Helper()
	cmd := exec.Command(shared.byhand, append([]string{"--store", l.path("store")}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.waitFor("the small layer and half of the large one", there)
	sent := time.Now()
	if err := cmd.Process.Signal(sig); err != nil {
		l.t.Fatal(err)
	}
	_ = cmd.Wait() // it was stopped
	return result{cmd.ProcessState.ExitCode(), "", stderr.String()}, time.Since(sent)
}

func (l lab) waitFor(what string, done func() bool) {
	l.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if done() {
			return
		}
	}
	l.t.Fatalf("waited in vain for %s", what)
}

// patience is how long anything may take on the busiest machine.
const patience = 2 * time.Minute

// atOnce is how long it may take on such a machine to notice an interrupt. A
// stalled transfer is given up after 30 s.
const atOnce = 20 * time.Second

// partWritten says whether a good part of the large layer is on the disk.
func (l lab) partWritten() bool {
	parts, _ := filepath.Glob(l.path("store/staging/*.part")) // a constant pattern
	for _, name := range parts {
		if info, err := os.Stat(name); err == nil && info.Size() >= 1<<20 {
			return true
		}
	}
	return false
}

// TestResume: a pull that was interrupted or killed goes on from the byte
// where the blob stopped.
func TestResume(t *testing.T) {
	for name, sig := range map[string]syscall.Signal{"interrupted": syscall.SIGINT, "asked to end": syscall.SIGTERM, "killed": syscall.SIGKILL} {
		for _, command := range [][]string{{"pull"}, {"unpack", "--keep-blobs"}} {
			t.Run(name+" "+command[0], func(t *testing.T) {
				l := newLab(t)
				r, ref, large := stalling(t)
				args := append(command, ref)
				stopped, took := l.stopInTheMiddle(l.partWritten, sig, args...)
				if sig != syscall.SIGKILL {
					if want := 128 + int(sig); stopped.code != want || !strings.Contains(stopped.stderr, "interrupted") {
						t.Errorf("exit %d, want %d: %s", stopped.code, want, stopped.stderr)
					}
					if took > atOnce {
						t.Errorf("took %s to stop", took)
					}
				}
				r.ClearFaults()
				before := len(r.Requests())
				l.must(l.byhand(args...))
				ranges := 0
				for _, q := range r.Requests()[before:] {
					if strings.HasSuffix(q.Path, large.Digest.String()) {
						got := q.Header.Get("Range")
						if !strings.HasPrefix(got, "bytes=") || strings.HasPrefix(got, "bytes=0-") {
							t.Errorf("the second try asked for %q, want what the first lacked", got)
						}
						ranges++
					}
				}
				if ranges != 1 {
					t.Errorf("the large layer was asked for %d times", ranges)
				}
				if tree := l.path("tree"); l.byhand("unpack", ref, tree).code != 0 {
					t.Error("the image is not whole")
				}
			})
		}
	}
}

// TestInterruptKeepsLayers: what was finished before Ctrl-C is not fetched
// again, and nothing is left in staging.
func TestInterruptKeepsLayers(t *testing.T) {
	l := newLab(t)
	r, ref, large := stalling(t)
	stopped, took := l.stopInTheMiddle(func() bool {
		layers, _ := filepath.Glob(l.path("store/layers/*")) // a constant pattern
		return len(layers) > 0 && r.Count(large.Digest.String()) > 0
	}, os.Interrupt, "pull-and-unpack", ref, l.path("bundle"), "--", "/x")
	if stopped.code != 130 || took > atOnce {
		t.Errorf("exit %d after %s, want 130 at once: %s", stopped.code, took, stopped.stderr)
	}
	if _, err := os.Stat(l.path("bundle/config.json")); err == nil {
		t.Error("there is a config.json")
	}
	if left, err := os.ReadDir(l.path("store/staging")); err != nil || len(left) > 0 {
		t.Errorf("left in staging: %v, %v", left, err)
	}
	small := r.Count("/blobs/")
	r.ClearFaults()
	l.must(l.byhand("unpack", ref))
	if got := r.Count("/blobs/") - small; got != 2 { // config and the large layer
		t.Errorf("%d blobs were fetched, want the config and the large layer", got)
	}
}
