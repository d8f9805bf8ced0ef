package overlay_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
)

// parkedStack is a base layer and two that lean on it, with a name that is no
// UTF-8. What becomes of the base is up to open; it is asked when the others
// have been verified.
func parkedStack(t *testing.T, dir string, open func() error) []*fakeSource {
	t.Helper()
	base := source(testtar.Tar(testtar.Dir("./"), testtar.Dir("d", testtar.Mode(0o750)), testtar.File("d/gone\xff", "x"), testtar.File("d/old", "y")))
	base.open = func(ctx context.Context, _ int) (io.ReadCloser, error) {
		if open == nil {
			return verified(base.tar, base.diffID), nil
		}
		for len(parked(t, dir)) < 2 {
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		return nil, open()
	}
	return []*fakeSource{
		base,
		source(testtar.Tar(testtar.File("d/one", "1"), testtar.Whiteout("d/gone\xff"))),
		source(testtar.Tar(testtar.File("d/two", "2"), testtar.Link("d/link", "d/old"))),
	}
}

// parked names the layers in staging that wait for those below.
func parked(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "staging", "*.layer"))
	if err != nil {
		t.Error(err)
	}
	return names
}

// addAndFail adds layers, the base of which fails, and closes the store.
func addAndFail(t *testing.T, dir string, srcs []*fakeSource) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := open(t, dir)
	if _, err := s.AddAll(ctx, sources(srcs...), overlay.AddOptions{}); err == nil || ctx.Err() != nil {
		t.Fatalf("AddAll: %v, want the base's failure", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Layers that were verified and only wait for those below are not fetched
// again by the next process.
func TestParked(t *testing.T) {
	clean := t.TempDir()
	want := addAll(t, open(t, clean), parkedStack(t, clean, nil)...)
	damage := func(names ...string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			for _, p := range parked(t, dir) {
				for _, name := range names {
					if err := os.WriteFile(filepath.Join(p, name), []byte("x"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	for name, c := range map[string]struct {
		between func(t *testing.T, dir string)
		opened  int32 // each, in all
		warned  int
		format  bool // the second time the store gets another
	}{
		"as they are":    {func(*testing.T, string) {}, 1, 0, false},
		"another format": {func(*testing.T, string) {}, 2, 0, true},
		"damaged":        {damage("parked"), 2, 2, false},
		"no tree": {func(t *testing.T, dir string) {
			t.Helper()
			for _, p := range parked(t, dir) {
				if err := os.RemoveAll(filepath.Join(p, "diff")); err != nil {
					t.Fatal(err)
				}
			}
		}, 2, 2, false},
		"another boot": {func(t *testing.T, dir string) {
			t.Helper()
			for _, p := range parked(t, dir) {
				chain, _, _ := strings.Cut(filepath.Base(p), ".")
				if err := os.Rename(p, filepath.Join(filepath.Dir(p), chain+".11111111-2222-3333-4444-555555555555.layer")); err != nil {
					t.Fatal(err)
				}
			}
		}, 2, 0, false},
		"pruned": {func(t *testing.T, dir string) {
			t.Helper()
			if _, err := open(t, dir).Prune(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left := staging(t, dir); len(left) > 0 {
				t.Errorf("Prune leaves %q", left)
			}
		}, 2, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			srcs := parkedStack(t, dir, func() error { return errors.New("the line is dead") })
			addAndFail(t, dir, srcs)
			if names := parked(t, dir); len(names) != 2 {
				t.Fatalf("parked: %q, want two layers", names)
			}
			c.between(t, dir)
			again := parkedStack(t, dir, nil)
			warned, adopted := 0, 0
			o := options()
			o.UserXattr = o.UserXattr != c.format
			events := make(chan overlay.EventKind, 100)
			o.Observe = func(e overlay.Event) { events <- e.Kind }
			addAll(t, openWith(t, dir, o), again...)
			close(events)
			for kind := range events {
				switch kind {
				case overlay.EventWarning:
					warned++
				case overlay.EventAdopted:
					adopted++
				}
			}
			for i := range srcs[1:] {
				if n := srcs[i+1].opened.Load() + again[i+1].opened.Load(); n != c.opened {
					t.Errorf("layer %d was fetched %d times, want %d", i+2, n, c.opened)
				}
			}
			if warned != c.warned || adopted != 2*int(2-c.opened) {
				t.Errorf("%d warnings and %d layers taken over", warned, adopted)
			}
			for i, l := range want {
				sameLayer(t, dir, i, l)
			}
			if left := staging(t, dir); len(left) > 0 {
				t.Errorf("staging holds %q", left)
			}
		})
	}
}

// Nobody comes back for an image that is bad, and a full disk needs the room, so
// nothing of it is kept.
func TestParkedForNobody(t *testing.T) {
	for _, cause := range []error{&damagedError{}, syscall.ENOSPC, syscall.EDQUOT} {
		dir := t.TempDir()
		addAndFail(t, dir, parkedStack(t, dir, func() error { return cause }))
		if left := staging(t, dir); len(left) > 0 {
			t.Errorf("%v: staging holds %q", cause, left)
		}
	}
}

// A parked layer is not taken from a process that is still waiting with it.
func TestParkedInUse(t *testing.T) {
	dir := t.TempDir()
	ready, release := make(chan struct{}), make(chan struct{})
	srcs := parkedStack(t, dir, func() error {
		close(ready)
		<-release
		return errors.New("the line is dead")
	})
	ended := make(chan error, 1)
	go func() {
		_, err := open(t, dir).AddAll(t.Context(), sources(srcs...), overlay.AddOptions{})
		ended <- err
	}()
	<-ready
	before := parked(t, dir)
	if _, err := open(t, dir).Prune(t.Context()); err != nil {
		t.Error(err)
	}
	if after := parked(t, dir); !slices.Equal(before, after) {
		t.Errorf("Prune leaves %q of %q", after, before)
	}
	close(release)
	if err := <-ended; err == nil {
		t.Error("AddAll succeeded without its base")
	}
}

// What settling a parked layer makes is proved like any other.
func TestParkedVerifies(t *testing.T) {
	dir := t.TempDir()
	addAndFail(t, dir, parkedStack(t, dir, func() error { return errors.New("the line is dead") }))
	srcs := parkedStack(t, dir, nil)
	s := open(t, dir)
	layers := addAll(t, s, srcs...)
	for i, l := range layers {
		r, err := s.OpenLayer(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(r)
		if err != nil || string(raw) != string(srcs[i].tar) {
			t.Errorf("layer %d gives another tar (%v)", i+1, err)
		}
		_ = r.Close()
	}
}
