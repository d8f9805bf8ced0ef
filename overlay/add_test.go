package overlay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/unpack"
)

// whole is a layer that needs nothing of the layers below.
func whole(name string) *fakeSource {
	return source(testtar.Tar(testtar.Dir("./"), testtar.File(name, "content of "+name)))
}

// leaning is a layer with an implicit directory, to be settled on its parents.
func leaning(name string) *fakeSource {
	return source(testtar.Tar(testtar.File("d/"+name, "content of "+name)))
}

func TestAddAll(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	base := source(testtar.Tar(testtar.Dir("./"), testtar.Dir("d", testtar.Mode(0o751)), testtar.File("d/a", "A")))
	srcs := []*fakeSource{base, leaning("b"), leaning("c")}
	layers := addAll(t, s, srcs...)

	var names, lowers []string
	for i, l := range layers {
		home := filepath.Dir(l.Dir)
		short := read(t, filepath.Join(home, "link"))
		names = append(names, "l/"+short)
		if want := filepath.Join(dir, "l", short); l.Link != want {
			t.Errorf("layer %d: Link is %s, want %s", i+1, l.Link, want)
		}
		if i > 0 {
			lowers = append(lowers, read(t, filepath.Join(home, "lower")))
		}
		info, err := os.Stat(filepath.Join(l.Dir, "d"))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o751 {
			t.Errorf("layer %d: mode of d is %o, want 751", i+1, got)
		}
		if l.Parent != parentOf(layers, i) || l.DiffID != overlay.DiffID(srcs[i].diffID) || l.TarSize != srcs[i].size {
			t.Errorf("layer %d is %+v", i+1, l)
		}
	}
	if diff := cmp.Diff([]string{names[0], names[1] + ":" + names[0]}, lowers); diff != "" {
		t.Errorf("lower files (-want +got):\n%s", diff)
	}
	if left := staging(t, dir); len(left) > 0 {
		t.Errorf("staging holds %q", left)
	}

	again := addAll(t, s, srcs...)
	// The second may find the machine idle and sync.
	ignore := cmpopts.IgnoreFields(overlay.Layer{}, "Synced")
	if diff := cmp.Diff(layers, again, ignore); diff != "" {
		t.Errorf("second AddAll (-first +second):\n%s", diff)
	}
	found, err := s.Layers([]digest.Digest{srcs[0].diffID, srcs[1].diffID, srcs[2].diffID})
	if diff := cmp.Diff(again, found, ignore); err != nil || diff != "" {
		t.Errorf("Layers: %v (-AddAll +Layers):\n%s", err, diff)
	}
	for i, src := range srcs {
		if n := src.opened.Load(); n != 1 {
			t.Errorf("layer %d was opened %d times, want once", i+1, n)
		}
	}
}

func parentOf(layers []overlay.Layer, i int) overlay.ChainID {
	if i == 0 {
		return ""
	}
	return layers[i-1].ChainID
}

func TestAddAllNothing(t *testing.T) {
	if layers := addAll(t, open(t, t.TempDir())); len(layers) != 0 {
		t.Errorf("layers of an image without layers: %v", layers)
	}
}

// The layers and blobs of the store are for its owner only.
func TestStoreModes(t *testing.T) {
	old := syscall.Umask(0o027)
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "new", "store")
	l := addAll(t, open(t, dir), source(testtar.Tar(testtar.File("f", "x"))))[0]
	for path, want := range map[string]fs.FileMode{
		filepath.Join(dir, "layers"): 0o700, filepath.Join(dir, "staging"): 0o700, filepath.Join(dir, "blobs"): 0o700,
		filepath.Dir(l.Dir): 0o700, l.Dir: 0o755, filepath.Join(dir, "index.json"): 0o644,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
	}
}

// A failure of any kind leaves nothing of its layer; finished layers stay.
func TestAddAllFailure(t *testing.T) {
	good, raw := whole("good"), testtar.Tar(testtar.Dir("./"), testtar.File("f", strings.Repeat("x", 5000)))
	id := digest.FromBytes(raw)
	flipped := bytes.Clone(raw)
	flipped[len(raw)-2000] ^= 1
	tests := []struct {
		name  string
		open  func(ctx context.Context, n int) (io.ReadCloser, error)
		calls int32
		want  any
	}{
		{"content", func(context.Context, int) (io.ReadCloser, error) { return verified(flipped, id), nil }, 2, new(*damagedError)},
		{"shortened", func(context.Context, int) (io.ReadCloser, error) { return verified(raw[:3000], id), nil }, 2, new(*damagedError)},
		{"header", func(context.Context, int) (io.ReadCloser, error) {
			return verified(append(bytes.Repeat([]byte{7}, 512), raw...), id), nil
		}, 2, new(*damagedError)},
		{"open", func(context.Context, int) (io.ReadCloser, error) { return nil, errCut }, 1, new(*cutError)},
		{"network", func(context.Context, int) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(raw[:700]), failing{errCut})), nil
		}, 1, new(*cutError)},
		{"close", func(context.Context, int) (io.ReadCloser, error) {
			return badClose{verified(raw, id)}, nil
		}, 1, new(*cutError)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			addAll(t, s, good)
			before := tree(t, dir)
			bad := &fakeSource{diffID: id, open: tt.open}
			_, err := s.AddAll(t.Context(), sources(good, bad), overlay.AddOptions{})
			if e := as[*overlay.LayerError](t, err); e.Index != 2 || e.DiffID != overlay.DiffID(id) {
				t.Errorf("error names layer %d (%s): %v", e.Index, e.DiffID, err)
			}
			if !errors.As(err, tt.want) {
				t.Errorf("error is %v, want a %T", err, tt.want)
			}
			if n := bad.opened.Load(); n != tt.calls {
				t.Errorf("opened %d times, want %d", n, tt.calls)
			}
			if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
				t.Errorf("store (-before +after):\n%s", diff)
			}
		})
	}
}

type cutError struct{}

func (*cutError) Error() string { return "connection cut" }

var errCut = &cutError{}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type badClose struct{ io.Reader }

func (badClose) Close() error { return errCut }

// A malformed layer whose digest is right is not fetched again: it would be
// the same.
func TestAddAllMalformed(t *testing.T) {
	raw := append(bytes.Repeat([]byte{7}, 512), make([]byte, 1024)...)
	for name, raw := range map[string][]byte{"format": raw, "hostile": testtar.Tar(testtar.File("../x", ""))} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			before := tree(t, dir)
			src := source(raw)
			if _, err := s.AddAll(t.Context(), sources(src), overlay.AddOptions{}); err == nil {
				t.Fatal("no error")
			}
			if n := src.opened.Load(); n != 1 {
				t.Errorf("opened %d times, want once", n)
			}
			if diff := cmp.Diff(owned(before, tree(t, dir)), tree(t, dir)); diff != "" {
				t.Errorf("store (-before +after):\n%s", diff)
			}
		})
	}
}

// owned adds what the first AddAll of a store leaves: the store's format and
// the process's owner file.
func owned(before, after []string) []string {
	var want []string
	for _, n := range after {
		if n == "store.json" || strings.HasSuffix(n, ".owner") {
			want = append(want, n)
		}
	}
	for _, n := range before {
		if !strings.HasSuffix(n, ".owner") && n != "store.json" {
			want = append(want, n)
		}
	}
	return sorted(want)
}

// A limit is not worth another fetch either.
func TestAddAllLimit(t *testing.T) {
	o := options()
	o.Limits = unpack.Limits{Entries: 2}
	s := openWith(t, t.TempDir(), o)
	src := source(testtar.Tar(testtar.Dir("./"), testtar.File("a", ""), testtar.File("b", "")))
	_, err := s.AddAll(t.Context(), sources(src), overlay.AddOptions{})
	_ = as[*unpack.LimitError](t, err)
	if n := src.opened.Load(); n != 1 {
		t.Errorf("opened %d times, want once", n)
	}
}

func TestAddAllRetry(t *testing.T) {
	raw := whole("f").tar
	flipped := bytes.Clone(raw)
	flipped[len(flipped)-1] ^= 1
	src := source(raw)
	src.open = func(_ context.Context, n int) (io.ReadCloser, error) {
		if n == 1 {
			return verified(flipped, src.diffID), nil
		}
		return verified(raw, src.diffID), nil
	}
	var events []overlay.EventKind
	o := options()
	o.Observe = func(e overlay.Event) { events = append(events, e.Kind) }
	s := openWith(t, t.TempDir(), o)
	addAll(t, s, src)
	want := []overlay.EventKind{
		overlay.EventStarted, overlay.EventRetry, overlay.EventStarted, overlay.EventUnpacked, overlay.EventCommitted,
	}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A failing layer stops the others, wherever they are: those that read, which
// without it would never end, and those that wait for it.
func TestAddAllFailureStopsOthers(t *testing.T) {
	dir := t.TempDir()
	var others sync.WaitGroup // until they are where they are to be stopped
	others.Add(3)
	o := options()
	o.Observe = func(e overlay.Event) {
		if e.Index == 1 && e.Kind == overlay.EventCommitted || e.Index == 4 && e.Kind == overlay.EventUnpacked {
			others.Done()
		}
	}
	s := openWith(t, dir, o)
	hung := whole("hung")
	hung.open = func(ctx context.Context, _ int) (io.ReadCloser, error) {
		others.Done()
		return io.NopCloser(hanging{ctx}), nil
	}
	bad := whole("bad")
	bad.open = func(context.Context, int) (io.ReadCloser, error) {
		others.Wait()
		return nil, errCut
	}
	done, waits := whole("done"), leaning("waits")
	_, err := s.AddAll(t.Context(), sources(done, bad, hung, waits), overlay.AddOptions{Jobs: 8})
	if as[*overlay.LayerError](t, err).Index != 2 {
		t.Errorf("error is %v, want layer 2", err)
	}
	chains := overlay.ChainIDs([]digest.Digest{done.diffID, bad.diffID, hung.diffID, waits.diffID})
	for i, want := range []bool{true, false, false, false} {
		if got := s.Has(chains[i]); got != want {
			t.Errorf("layer %d: Has is %v, want %v", i+1, got, want)
		}
	}
	for _, name := range staging(t, dir) {
		if !strings.Contains(name, ".layer") { // verified, for the next try
			t.Errorf("staging holds %s", name)
		}
	}
}

type hanging struct {
	ctx context.Context //nolint:containedctx // stands for a connection, which is bound to one
}

func (h hanging) Read([]byte) (int, error) {
	<-h.ctx.Done()
	return 0, h.ctx.Err()
}

// A layer that leans on nothing is committed before its parents are there.
func TestAddAllIndependent(t *testing.T) {
	s := open(t, t.TempDir())
	first, second, third := whole("first"), whole("second"), leaning("third")
	chains := overlay.ChainIDs([]digest.Digest{first.diffID, second.diffID, third.diffID})
	release := make(chan struct{})
	first.open = func(context.Context, int) (io.ReadCloser, error) {
		<-release
		return verified(first.tar, first.diffID), nil
	}
	go func() {
		defer close(release)
		for !s.Has(chains[1]) && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		if s.Has(chains[2]) {
			t.Error("a layer with an implicit directory was committed before its parents")
		}
	}()
	addAll(t, s, first, second, third)
}

// The largest layers go first, and no more than Jobs at once.
func TestAddAllOrder(t *testing.T) {
	s := open(t, t.TempDir())
	var mu sync.Mutex
	var order []int64
	running, most := 0, 0
	var srcs []*fakeSource
	for _, size := range []int64{10, 50, 30, 40, 20} {
		src := whole(fmt.Sprint(size))
		src.size = size
		src.open = func(context.Context, int) (io.ReadCloser, error) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, size)
			running++
			most = max(most, running)
			return &counted{verified(src.tar, src.diffID), func() { mu.Lock(); running--; mu.Unlock() }}, nil
		}
		srcs = append(srcs, src)
	}
	if _, err := s.AddAll(t.Context(), sources(srcs...), overlay.AddOptions{Jobs: 1}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int64{50, 40, 30, 20, 10}, order); diff != "" {
		t.Errorf("order with one job (-want +got):\n%s", diff)
	}
	if most != 1 {
		t.Errorf("%d layers at once, want 1", most)
	}
}

type counted struct {
	io.ReadCloser
	closed func()
}

func (c *counted) Close() error {
	c.closed()
	return c.ReadCloser.Close()
}

// With one job, a layer that waits for its parents must not keep them from
// being made, in whatever order the sizes put them.
func TestAddAllWaitingHoldsNoJob(t *testing.T) {
	var srcs []*fakeSource
	for i := range 20 {
		src := leaning(fmt.Sprint(i))
		src.size = int64(i)
		srcs = append(srcs, src)
	}
	s := open(t, t.TempDir())
	if _, err := s.AddAll(t.Context(), sources(srcs...), overlay.AddOptions{Jobs: 1}); err != nil {
		t.Fatal(err)
	}
}

// Nor must one that waits for another process: with one job, the rest of the
// image goes on meanwhile.
func TestAddAllWaitingForOthersHoldsNoJob(t *testing.T) {
	dir := t.TempDir()
	opened, release := make(chan struct{}), make(chan struct{})
	slow := whole("first")
	slow.open = func(context.Context, int) (io.ReadCloser, error) {
		close(opened)
		<-release
		return verified(slow.tar, slow.diffID), nil
	}
	a, b := open(t, dir), open(t, dir)
	other := make(chan error, 1)
	go func() {
		_, err := a.AddAll(t.Context(), sources(slow), overlay.AddOptions{})
		other <- err
	}()
	<-opened
	first, second := whole("first"), whole("second")
	first.size = 1 << 30 // so that it comes first
	second.open = func(context.Context, int) (io.ReadCloser, error) {
		close(release) // only now can the first be finished
		return verified(second.tar, second.diffID), nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := b.AddAll(ctx, sources(first, second), overlay.AddOptions{Jobs: 1}); err != nil {
		t.Fatal(err)
	}
	if err := <-other; err != nil {
		t.Error(err)
	}
}

// Two open stores are as two processes: one makes the layer, the other waits
// for it without opening its source; cancelled, it stops waiting.
func TestAddAllShares(t *testing.T) {
	dir := t.TempDir()
	release, opened := make(chan struct{}), make(chan struct{})
	slow := whole("f")
	slow.open = func(context.Context, int) (io.ReadCloser, error) {
		close(opened)
		<-release
		return verified(slow.tar, slow.diffID), nil
	}
	first := make(chan error, 1)
	a := open(t, dir)
	go func() {
		_, err := a.AddAll(t.Context(), sources(slow), overlay.AddOptions{})
		first <- err
	}()
	<-opened

	waiting := make(chan struct{})
	o := options()
	o.Observe = func(e overlay.Event) {
		if e.Kind == overlay.EventWaiting {
			close(waiting)
		}
	}
	idle := whole("f")
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-waiting; cancel() }()
	_, err := openWith(t, dir, o).AddAll(ctx, sources(idle), overlay.AddOptions{}) // the other is not released
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled AddAll returned %v", err)
	}

	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	addAll(t, open(t, dir), idle)
	if err := <-first; err != nil {
		t.Error(err)
	}
	if n := idle.opened.Load(); n != 0 {
		t.Errorf("the waiting store opened its source %d times", n)
	}
}

// What a waiter waits for may fail; then it makes the layer itself.
func TestAddAllTakesOver(t *testing.T) {
	dir := t.TempDir()
	opened, release := make(chan struct{}), make(chan struct{})
	bad := whole("f")
	bad.open = func(context.Context, int) (io.ReadCloser, error) {
		close(opened)
		<-release
		return nil, errCut
	}
	a := open(t, dir)
	go func() { _, _ = a.AddAll(t.Context(), sources(bad), overlay.AddOptions{}) }()
	<-opened
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	good := whole("f")
	addAll(t, open(t, dir), good)
	if n := good.opened.Load(); n != 1 {
		t.Errorf("the waiting store opened its source %d times, want once", n)
	}
}

// A layer that was never synced is not trusted after a restart, and is made
// again in place; a synced one is.
func TestRestart(t *testing.T) {
	for name, sync := range map[string]bool{"unsynced": false, "synced": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o := options()
			o.Sync = sync
			src := whole("f")
			l := addAll(t, openWith(t, dir, o), src)[0]
			if l.Synced != sync {
				t.Errorf("Synced is %v, want %v", l.Synced, sync)
			}
			restart(t, dir, l)
			if err := os.WriteFile(filepath.Join(l.Dir, "f"), nil, 0o600); err != nil { // lost content
				t.Fatal(err)
			}
			s := open(t, dir)
			if got := s.Has(l.ChainID); got != sync {
				t.Fatalf("Has is %v, want %v", got, sync)
			}
			addAll(t, s, src)
			want := "content of f"
			if sync {
				want = ""
			}
			if got := read(t, filepath.Join(l.Dir, "f")); got != want {
				t.Errorf("content is %q, want %q", got, want)
			}
			if left := staging(t, dir); len(left) > 0 {
				t.Errorf("staging holds %q", left)
			}
		})
	}
}

// restart makes a layer look as if it was written in an earlier boot.
func restart(t *testing.T, dir string, l overlay.Layer) {
	t.Helper()
	path := filepath.Join(filepath.Dir(l.Dir), "layer.json")
	var f map[string]any
	if err := json.Unmarshal([]byte(read(t, path)), &f); err != nil {
		t.Fatal(err)
	}
	f["boot"] = "11111111-2222-3333-4444-555555555555"
	raw, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Store.Sync makes layers count after a restart.
func TestSync(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	l := addAll(t, s, whole("f"))[0]
	if err := s.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	restart(t, dir, l)
	if !s.Has(l.ChainID) {
		t.Error("a synced layer is not trusted after a restart")
	}
}

// A record that a power loss left torn, or of another layer, proves nothing.
func TestDamagedRecord(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	src := whole("f")
	l := addAll(t, s, src)[0]
	path := filepath.Join(filepath.Dir(l.Dir), "layer.json")
	good := read(t, path)
	for name, raw := range map[string]string{
		"empty": "", "zeros": string(make([]byte, len(good))), "cut": good[:len(good)/2],
		"foreign": strings.ReplaceAll(good, l.ChainID.String(), digest.FromString("x").String()),
		"version": strings.Replace(good, `"version":1`, `"version":99`, 1),
	} {
		if err := os.WriteFile(path, []byte(raw), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := s.Layers([]digest.Digest{src.diffID})
		if _ = as[*overlay.MissingLayerError](t, err); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: error is %v", name, err)
		}
		addAll(t, s, src)
		if !s.Has(l.ChainID) {
			t.Errorf("%s: the layer was not made again", name)
		}
	}
}

// A lost short link comes back.
func TestLostLink(t *testing.T) {
	s := open(t, t.TempDir())
	src := whole("f")
	l := addAll(t, s, src)[0]
	if err := os.Remove(l.Link); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Layers([]digest.Digest{src.diffID}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(l.Link, "f")); err != nil {
		t.Error(err)
	}
}

func TestBadDiffIDs(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	before := tree(t, dir)
	for _, id := range []digest.Digest{"", "sha256:", "sha256:../../x", "md5:d41d8cd98f00b204e9800998ecf8427e", "x"} {
		src := &fakeSource{diffID: id}
		_, err := s.AddAll(t.Context(), sources(whole("f"), src), overlay.AddOptions{})
		if as[*overlay.LayerError](t, err).Index != 2 {
			t.Errorf("diff ID %q: %v", id, err)
		}
		if _, err := s.Layers([]digest.Digest{id}); err == nil {
			t.Errorf("Layers takes the diff ID %q", id)
		}
		_ = s.Has(overlay.ChainID(id)) // must not panic
	}
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("store (-before +after):\n%s", diff)
	}
}
