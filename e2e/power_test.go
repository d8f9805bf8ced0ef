package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testregistry"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/internal/treecmp"
	"github.com/byhand/byhand/overlay"
)

// TestPowerLoss copies the disk under the store at many moments of a pull and
// after it. Each copy is what the disk would hold had the power failed then:
// what ext4 keeps in memory is not in it. On each, in another boot, no layer
// that the store trusts may be wrong, and the same command must succeed.
func TestPowerLoss(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "mkfs.ext4", "cmp")
	// What a copy catches is chance, less of it where the machine has time, and
	// none where somebody else's sync(2) writes everything: then once more, at a
	// slower pace.
	const tries = 5
	for try := range tries {
		total := powerLoss(t, 512<<10>>try)
		t.Logf("%d copies while the command ran; %d layers had their names on the disk, of %d the content was not there; %d bundles were finished",
			total.during, total.present, total.wrong, total.finished)
		if t.Failed() || total.during >= 3 && total.wrong > 0 && total.finished > 0 {
			return
		}
	}
	t.Errorf("%d times there were too few copies, or all of them whole, or no bundle finished: the test tests nothing", tries)
}

// powerLoss does it once with a registry that delivers so many bytes a second
// by each connection.
func powerLoss(t *testing.T, rate int64) (total tally) {
	t.Helper()
	image, ids, ref := powerImage(t, rate)
	copies, during := takeDuring(t, newDisk(t), "pull-and-unpack", image, "bundle", "--", "/x")
	total.during = during
	for _, p := range copies {
		t.Run("copy", func(t *testing.T) {
			after := p.boot(t)
			total.add(checkLayers(after, ref, ids))
			total.finished += finishAfter(after, ref, image)
		})
	}
	return total
}

// TestPowerLossSync: with --sync, an image or a bundle is on the disk when the
// command ends.
func TestPowerLossSync(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "mkfs.ext4", "cmp")
	image, ids, ref := powerImage(t, 64<<20)
	for _, args := range [][]string{
		{"--sync", "unpack", image},
		{"--sync", "unpack", "--keep-blobs", image},
		{"--sync", "unpack", image, "tree"},
		{"--sync", "pull-and-unpack", "--rootfs", "flat", image, "bundle", "--", "/x"},
	} {
		d := newDisk(t)
		l := d.mount(t)
		l.must(l.byhand(args...))
		p := d.copy(t)
		if p.file == "" {
			t.Fatal("the disk does not come to rest")
		}
		l.unmount(l.dir)
		after := p.boot(t)
		s := openStore(after)
		if layers, err := s.Layers(ids); err != nil || len(layers) != len(ids) {
			t.Errorf("%q: %d layers, %v", args, len(layers), err)
		}
		if imgs, err := s.Images(t.Context()); err != nil || len(imgs) != 1 {
			t.Errorf("%q: %d images, %v", args, len(imgs), err)
		}
		checkLayers(after, ref, ids)
		if args[len(args)-1] == "tree" {
			sameTree(t, ref.path("tree"), after.path("tree"))
		}
		if args[1] == "pull-and-unpack" {
			sameTree(t, ref.path("tree"), after.path("bundle/rootfs"))
			if raw, err := os.ReadFile(after.path("bundle/config.json")); err != nil || !json.Valid(raw) {
				t.Errorf("config.json: %v: %.100q", err, raw)
			}
			wantCode(t, after.byhand("bundle", image, after.path("bundle")), 1, "holds a config.json already")
		}
		after.unmount(after.dir)
	}
}

// powerImage is an image of many small files, which ext4 keeps in memory for
// long, from a registry that delivers so many bytes a second by each connection;
// and a lab that has its tree.
func powerImage(t *testing.T, rate int64) (image string, ids []digest.Digest, ref lab) {
	t.Helper()
	r := testregistry.New(t, testregistry.Options{Rate: rate})
	var layers []ocispec.Descriptor
	for i := range 3 {
		entries := []testtar.Entry{testtar.Dir("d")}
		for j := range 100 {
			entries = append(entries, testtar.File(fmt.Sprintf("d/%d-%d", i, j), strings.Repeat(fmt.Sprint(i*j%10), 5000)))
		}
		if i > 0 {
			entries = append(entries, testtar.Whiteout(fmt.Sprintf("d/%d-1", i-1)), testtar.Link(fmt.Sprintf("d/l%d", i), fmt.Sprintf("d/%d-2", i-1)))
		}
		raw := testtar.Tar(entries...)
		d := r.AddBlob("lab/power", raw)
		d.MediaType = ocispec.MediaTypeImageLayer
		layers, ids = append(layers, d), append(ids, d.Digest)
	}
	r.AddImage("lab/power", "v1", layers, ids)
	image = r.Host() + "/lab/power:v1"
	ref = newLab(t)
	ref.must(ref.byhand("unpack", image, ref.path("tree")))
	return image, ids, ref
}

// disk is a file with an ext4 in it, and the place where that is mounted.
type disk struct{ file, dir string }

func newDisk(t *testing.T) disk {
	t.Helper()
	d := disk{filepath.Join(t.TempDir(), "disk"), t.TempDir()}
	f, err := os.Create(d.file)
	if err == nil {
		err = f.Truncate(64 << 20)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", d.file).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	return d
}

// mount mounts the disk, which replays its journal, as the place of a lab. It
// commits names every second, but content only as ext4 always does.
func (d disk) mount(t *testing.T) lab {
	t.Helper()
	l := lab{t: t, dir: d.dir}
	t.Cleanup(l.unmountAll)
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "ext4", "-o", "loop,commit=1", d.file, l.dir).CombinedOutput(); err != nil {
		testneed.Missing(t, fmt.Sprintf("no loop device: %v: %s", err, out))
	}
	return l
}

// copy returns the disk as it is at one moment, or none where it was written to
// all the time.
func (d disk) copy(t *testing.T) disk {
	t.Helper()
	c := disk{filepath.Join(t.TempDir(), "copy"), d.dir}
	for range 20 {
		if out, err := exec.CommandContext(t.Context(), "cp", "--sparse=always", d.file, c.file).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v: %s", err, out)
		}
		// The same after the copy as in it: so it was while it was made.
		if exec.CommandContext(t.Context(), "cmp", "-s", d.file, c.file).Run() == nil {
			return c
		}
	}
	return disk{}
}

// boot mounts the disk in what looks like another boot of the machine.
func (d disk) boot(t *testing.T) lab {
	t.Helper()
	const proc = "/proc/sys/kernel/random/boot_id"
	id := filepath.Join(t.TempDir(), "boot_id")
	if err := os.WriteFile(id, []byte("01234567-89ab-cdef-0123-456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(id, proc, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(proc, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return d.mount(t)
}

// takeDuring runs a command on the disk and copies the disk while it runs, when
// it has ended, and until the names are on the disk. It returns the copies, and
// how many of them were made while the command ran.
func takeDuring(t *testing.T, d disk, args ...string) (copies []disk, during int) {
	t.Helper()
	l := d.mount(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, shared.byhand, append([]string{"--store", l.path("store"), "--progress", "none"}, args...)...)
	cmd.Dir = l.dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	take := func() {
		if c := d.copy(t); c.file != "" {
			copies = append(copies, c)
		}
	}
	for running := true; running; {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		case <-time.After(200 * time.Millisecond):
		}
		take()
	}
	during = len(copies)
	for i := range 3 {
		if i == 2 { // the kernel may write files in any order
			syncFiles(l, "bundle/*.json", "store/layers/*/layer.json")
		}
		time.Sleep(700 * time.Millisecond) // the journal is written every second
		take()
	}
	l.unmount(l.path("bundle/rootfs"))
	l.unmount(l.dir)
	return copies, during
}

func syncFiles(l lab, patterns ...string) {
	l.t.Helper()
	for _, p := range patterns {
		names, err := filepath.Glob(l.path(p))
		if err != nil || len(names) == 0 {
			l.t.Fatalf("%s: %d names, %v", p, len(names), err)
		}
		for _, name := range names {
			f, err := os.Open(name)
			if err == nil {
				err = f.Sync()
				_ = f.Close()
			}
			if err != nil {
				l.t.Error(err)
			}
		}
	}
}

// tally counts copies that were made while the command ran, layers that have
// their name on a disk, those of them that are not whole, and bundles that look
// finished.
type tally struct{ during, present, wrong, finished int }

func (a *tally) add(b tally) {
	a.present += b.present
	a.wrong += b.wrong
}

// checkLayers looks at each layer that has its name on the disk: one that the
// store trusts must be whole.
func checkLayers(after, ref lab, ids []digest.Digest) (n tally) {
	after.t.Helper()
	if _, err := os.Stat(after.path("store/oci-layout")); err != nil {
		return n // it was not made yet
	}
	s := openStore(after)
	for _, c := range overlay.ChainIDs(ids) {
		dir := filepath.Join("store/layers", c.Digest().Encoded(), "diff")
		if _, err := os.Stat(after.path(dir)); err != nil {
			continue
		}
		n.present++
		diffs, err := treecmp.Compare(ref.path(dir), after.path(dir), treecmp.Options{Rewrite: ignoreWhiteoutTime})
		if err == nil && len(diffs) == 0 {
			continue
		}
		n.wrong++
		if s.Has(c) {
			after.t.Errorf("layer %s is trusted, and is wrong", c)
		}
	}
	return n
}

// finishAfter gives the same command again, or for a bundle that looks finished
// makes its layers anew. It returns 1 for such a bundle.
func finishAfter(after, ref lab, image string) (finished int) {
	after.t.Helper()
	info, err := os.Stat(after.path("bundle/config.json"))
	if err == nil && info.Size() > 0 {
		finished = 1
		wantCode(after.t, after.byhand("overlay", "mount", "bundle"), 4, "restarted")
		after.must(after.byhand("unpack", image))
		after.must(after.byhand("overlay", "mount", "bundle"))
	} else {
		after.must(after.byhand("pull-and-unpack", image, "bundle", "--", "/x"))
	}
	sameTree(after.t, ref.path("tree"), after.path("bundle/rootfs"))
	return finished
}

// openStore opens the lab's store for reading, which needs no Close.
func openStore(l lab) *overlay.Store {
	l.t.Helper()
	s, err := overlay.Open(l.t.Context(), l.path("store"), overlay.Options{})
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}
