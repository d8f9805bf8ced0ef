package overlay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/internal/treecmp"
	"github.com/byhand/byhand/overlay"
)

// workerEnv makes TestWorker a process of TestKilled: it names the store.
const workerEnv = "BYHAND_TEST_STORE"

// stackOfLayers is an image with layers that lean on others, large enough to
// be killed in the middle of.
func stackOfLayers() []*fakeSource {
	var srcs []*fakeSource
	for i := range 6 {
		entries := []testtar.Entry{testtar.Dir("./")}
		if i%2 == 1 {
			entries = nil // leaves the root, and d, to the layers below
		} else {
			entries = append(entries, testtar.Dir("d", testtar.Mode(0o750)))
		}
		for j := range 30 {
			entries = append(entries, testtar.File(fmt.Sprintf("d/%d-%d", i, j), strings.Repeat("x", 100*j)))
		}
		if i == 3 {
			entries = append(entries, testtar.Link("d/link", "d/0-7"), testtar.Whiteout("d/2-1"))
		}
		srcs = append(srcs, source(testtar.Tar(entries...)))
	}
	return srcs
}

// slowly serves a source in pieces, with pauses.
func slowly(src *fakeSource) *fakeSource {
	src.open = func(ctx context.Context, _ int) (io.ReadCloser, error) {
		return &slow{ctx: ctx, ReadCloser: verified(src.tar, src.diffID)}, nil
	}
	return src
}

type slow struct {
	io.ReadCloser
	ctx context.Context //nolint:containedctx // stands for a connection, which is bound to one
	n   int
}

func (s *slow) Read(p []byte) (int, error) {
	if s.n++; s.n%4 == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.ReadCloser.Read(p[:min(len(p), 4096)])
}

// TestWorker is one process of TestKilled: it unpacks the image, keeps a blob,
// and lists the image.
func TestWorker(t *testing.T) {
	dir := os.Getenv(workerEnv)
	if dir == "" {
		return // nothing to do but for TestKilled
	}
	s := open(t, dir)
	srcs := stackOfLayers()
	for _, src := range srcs {
		slowly(src)
	}
	addAll(t, s, srcs...)
	raw := strings.Repeat("blob", 1<<16)
	r := &slow{ctx: t.Context(), ReadCloser: io.NopCloser(strings.NewReader(raw))}
	if err := s.PutBlob(t.Context(), descriptor([]byte(raw)), r); err != nil {
		t.Fatal(err)
	}
	putImage(t, s, "image:1", linuxAMD64, srcs...)
}

// Eight processes work on one store, and some are killed at any moment. The
// others take over what those were making; then everything is whole.
func TestKilled(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 4
	}
	clean := t.TempDir()
	want := addAll(t, open(t, clean), stackOfLayers()...)
	dir := t.TempDir()
	kills := 0
	// How many come in time is chance: with few of them there are more rounds.
	for round := 0; round < rounds || kills < rounds && round < 10*rounds; round++ {
		seed := uint64(time.Now().UnixNano())
		rng := rand.New(rand.NewPCG(seed, 0))
		n, ok := killRound(t, dir, rng)
		kills += n
		if !ok || !wholeStore(t, dir, want) {
			t.Fatalf("in round %d, seed %d", round, seed)
		}
	}
	t.Logf("%d rounds, %d kills", rounds, kills)
	if kills < rounds {
		t.Errorf("only %d kills in %d rounds: the test does not test much", kills, rounds)
	}
}

// killRound runs the processes on the store and kills up to all of them. It
// returns how many died of it, and whether the others succeeded.
func killRound(t *testing.T, dir string, rng *rand.Rand) (kills int, ok bool) {
	t.Helper()
	const processes = 8
	doomed := rng.IntN(processes + 1)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	results := make(chan error, processes)
	var died atomic.Int32
	for i := range processes {
		cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^TestWorker$")
		cmd.Env = append(os.Environ(), workerEnv+"="+dir)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := i < doomed
		if kill {
			after := time.Duration(rng.IntN(150)) * time.Millisecond
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
		go func() {
			err := cmd.Wait()
			if killed(err) && kill {
				died.Add(1)
				err = nil
			}
			if err != nil {
				err = fmt.Errorf("%w: %s", err, out.String())
			}
			results <- err
		}()
	}
	ok = true
	for range processes {
		if err := <-results; err != nil {
			t.Error(err)
			ok = false
		}
	}
	return int(died.Load()), ok
}

func killed(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled()
}

// wholeStore checks the store after a round and empties it for the next one.
func wholeStore(t *testing.T, dir string, want []overlay.Layer) bool {
	t.Helper()
	ok := true
	// Whatever is there at this point must be whole.
	s := open(t, dir)
	for i, l := range want {
		if s.Has(l.ChainID) {
			ok = sameLayer(t, dir, i, l) && ok
		}
	}
	srcs := stackOfLayers()
	addAll(t, s, srcs...)
	putImage(t, s, "image:1", linuxAMD64, srcs...)
	for i, l := range want {
		ok = sameLayer(t, dir, i, l) && ok
	}
	for _, name := range staging(t, dir) {
		if !strings.HasSuffix(name, ".part") { // can be resumed
			t.Errorf("staging holds %s", name)
			ok = false
		}
	}
	if _, err := s.Remove(t.Context(), "image:1"); err != nil {
		t.Error(err)
		return false
	}
	if _, err := s.Prune(t.Context()); err != nil {
		t.Error(err)
		return false
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, sub := range []string{"layers", "l", "staging", "blobs/sha256"} {
		if left := tree(t, filepath.Join(dir, sub)); len(left) > 0 {
			t.Errorf("at the end %s holds %q", sub, left)
			ok = false
		}
	}
	return ok
}

// sameLayer compares a layer with the same one of another store.
func sameLayer(t *testing.T, dir string, i int, want overlay.Layer) bool {
	t.Helper()
	return sameDir(t, i, want.Dir, filepath.Join(dir, "layers", want.ChainID.Digest().Encoded(), "diff"))
}

// sameDir compares two lower dirs.
func sameDir(t *testing.T, i int, want, got string) bool {
	t.Helper()
	diffs, err := treecmp.Compare(want, got, treecmp.Options{Rewrite: func(e *treecmp.Entry) {
		if e.Type == "char" { // a whiteout is of the time when it was made
			e.ModTime = time.Time{}
		}
	}})
	if err != nil {
		t.Error(err)
	}
	for _, d := range diffs {
		t.Errorf("layer %d: %s", i+1, d)
	}
	return err == nil && len(diffs) == 0
}

// Dead owners are swept by the next process that writes; live ones are not.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	live := open(t, dir)
	src := whole("live")
	opened, release := make(chan struct{}), make(chan struct{})
	src.open = func(context.Context, int) (io.ReadCloser, error) {
		close(opened)
		<-release
		return verified(src.tar, src.diffID), nil
	}
	done := make(chan error, 1)
	go func() {
		_, err := live.AddAll(t.Context(), sources(src), overlay.AddOptions{})
		done <- err
	}()
	<-opened
	before := tree(t, filepath.Join(dir, "staging"))

	const dead = "0123456789abcdef"
	lock := digest.FromString("x").Encoded() + ".lock"
	for _, name := range []string{dead + "-1/diff/d", dead + "-22/x", "fedcba9876543210-1"} {
		if err := os.MkdirAll(filepath.Join(dir, "staging", name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "staging", dead+"-1", "diff"), 0o500); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dead + ".owner", lock, "notours", "x-1", dead + "-x"} {
		if err := os.WriteFile(filepath.Join(dir, "staging", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, dir)
	addAll(t, s, whole("other"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := sorted(append(before, "notours", "x-1", dead+"-x"))
	if diff := cmp.Diff(want, tree(t, filepath.Join(dir, "staging"))); diff != "" {
		t.Errorf("staging (-want +got):\n%s", diff)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
