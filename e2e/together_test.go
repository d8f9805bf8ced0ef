package e2e_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testregistry"
	"github.com/byhand/byhand/internal/testtar"
)

// sharingImages are two images that share their base layer.
func sharingImages(t *testing.T, o testregistry.Options) (r *testregistry.Registry, refs []string, layers []ocispec.Descriptor) {
	t.Helper()
	r = testregistry.New(t, o)
	for i := range 4 {
		var entries []testtar.Entry
		for j := range 40 {
			entries = append(entries, testtar.File(fmt.Sprintf("d/%d-%d", i, j), strings.Repeat(fmt.Sprint(j), 500)))
		}
		if i > 0 {
			entries = append(entries, testtar.Whiteout("d/0-1"), testtar.Link(fmt.Sprintf("d/l%d", i), "d/0-2"))
		}
		d := r.AddBlob("lab/both", testtar.Tar(entries...))
		d.MediaType = ocispec.MediaTypeImageLayer
		layers = append(layers, d)
	}
	for i, stack := range [][]ocispec.Descriptor{layers[:3], {layers[0], layers[3]}} {
		var ids []digest.Digest
		for _, d := range stack {
			ids = append(ids, d.Digest)
		}
		tag := fmt.Sprint("v", i+1)
		r.AddImage("lab/both", tag, stack, ids)
		refs = append(refs, r.Host()+"/lab/both:"+tag)
	}
	return r, refs, layers
}

// background starts byhand and returns what waits for it.
func (l lab) background(args ...string) (*exec.Cmd, func() result) {
	l.t.Helper()
	cmd := exec.Command(shared.byhand, append([]string{"--store", l.path("store"), "--progress", "none"}, args...)...)
	cmd.Dir = l.dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	return cmd, func() result {
		_ = cmd.Wait() // the code says how it ended
		return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
	}
}

// TestTogetherOnce: eight processes that want two images at once fetch each
// layer once.
func TestTogetherOnce(t *testing.T) {
	l := newLab(t)
	r, refs, layers := sharingImages(t, testregistry.Options{Rate: 64 << 10})
	var ends []func() result
	for i := range 8 {
		_, end := l.background("unpack", refs[i%2])
		ends = append(ends, end)
	}
	for _, end := range ends {
		l.must(end())
	}
	for i, d := range layers {
		if n := r.Count("/blobs/" + d.Digest.String()); n != 1 {
			t.Errorf("layer %d was fetched %d times", i+1, n)
		}
	}
}

// TestTogetherKilled lets eight processes do all kinds of things to one store,
// round after round, and kills some of them at any moment. What is left must
// always be whole, and nothing that a survivor says may be wrong.
func TestTogetherKilled(t *testing.T) {
	testneed.Root(t)
	rounds := 12
	if testing.Short() {
		rounds = 2
	}
	_, refs, _ := sharingImages(t, testregistry.Options{})
	ref, l := newLab(t), newLab(t)
	for i, image := range refs {
		ref.must(ref.byhand("unpack", image, ref.path(fmt.Sprint("tree", i))))
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var kills atomic.Int32
	// How many come in time is chance: with none of them there are more rounds.
	for round := 0; round < rounds || kills.Load() == 0 && round < 10*rounds; round++ {
		var wg sync.WaitGroup
		for slot := range 8 {
			which := rng.IntN(2)
			image, dir := refs[which], fmt.Sprintf("b%d-%d", slot, which)
			args := [][]string{
				{"pull-and-unpack", image, dir, "--", "/x"},
				{"pull-and-unpack", image, dir, "--", "/x"},
				{"unpack", "--keep-blobs", image},
				{"rm", image},
				{"prune"},
				{"images"},
				{"export", image, "-o", dir + ".tar"},
				{"overlay", []string{"mount", "umount"}[rng.IntN(2)], dir},
			}[rng.IntN(8)]
			kill := rng.IntN(2) == 0
			after := time.Duration(rng.IntN(40_000)) * time.Microsecond
			cmd, end := l.background(args...)
			wg.Go(func() {
				if kill {
					time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
				}
				if r := end(); !kill && !allowed(args[0], r) {
					t.Errorf("round %d: %q: exit %d: %s", round, args, r.code, r.stderr)
				} else if r.code == -1 {
					kills.Add(1)
				}
			})
		}
		wg.Wait()
		if checkTogether(l, ref, refs); t.Failed() {
			return
		}
	}
	t.Logf("%d kills", kills.Load())
	if kills.Load() == 0 {
		t.Error("nobody was killed: the test tests nothing")
	}
	l.unmountAll()
	onlyNames(t, l.path("store/staging"), nil)
}

// allowed says whether a command may end so beside others that take away what
// it needs.
func allowed(command string, r result) bool {
	if r.code == 0 {
		return true
	}
	why := map[string][]string{
		"pull-and-unpack": {"it holds a config.json already", "another process is making it"},
		"rm":              {"in use by", "not there"},
		"overlay":         {"no such file", "not a bundle", "no overlay bundle", "is busy", "resource busy"},
	}
	return slices.ContainsFunc(why[command], func(s string) bool { return strings.Contains(r.stderr, s) })
}

// checkTogether brings the store to rest and looks at everything in it.
func checkTogether(l, ref lab, images []string) {
	l.t.Helper()
	l.must(l.byhand("prune"))
	trusted(l, ref)
	dirs, err := filepath.Glob(l.path("b*-*"))
	if err != nil {
		l.t.Fatal(err)
	}
	for _, dir := range dirs {
		if strings.HasSuffix(dir, ".tar") {
			continue
		}
		image := dir[strings.LastIndexByte(dir, '-')+1:]
		if _, err := os.Stat(filepath.Join(dir, "config.json")); err != nil {
			n := int(image[0] - '0')
			l.must(l.byhand("pull-and-unpack", images[n], dir, "--", "/x"))
		}
		l.must(l.byhand("overlay", "mount", dir))
		sameTree(l.t, ref.path("tree"+image), filepath.Join(dir, "rootfs"))
		l.must(l.byhand("overlay", "umount", dir))
	}
}

// TestReadersPassWriters: what only reads, or mounts, waits for nobody, also
// not for a process that was stopped while it writes.
func TestReadersPassWriters(t *testing.T) {
	testneed.Root(t)
	l := newLab(t)
	image := "oci:" + shared.image + ":v1"
	l.must(l.byhand("pull-and-unpack", "--no-mount", image, l.path("bundle")))
	r, ref, _ := stalling(t)
	cmd, end := l.background("unpack", "--keep-blobs", ref)
	l.waitFor("the writer to be in the middle", func() bool { return r.Count("/blobs/") >= 3 })
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"images"},
		{"inspect", image},
		{"overlay", "mount", l.path("bundle")},
		{"overlay", "umount", l.path("bundle")},
		{"unpack", image},
		{"pull-and-unpack", image, l.path("other")},
		{"prune"},
	} {
		start := time.Now()
		l.must(l.byhand(args...))
		if took := time.Since(start); took > patience/2 {
			t.Errorf("%s took %s beside a stopped writer", args[0], took)
		}
	}
	r.ClearFaults()
	_ = cmd.Process.Signal(syscall.SIGCONT)
	_ = cmd.Process.Kill()
	end()
}
