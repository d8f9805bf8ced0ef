package overlay_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/unpack"
)

func TestOpen(t *testing.T) {
	want := []string{"blobs", "bundles", "index.json", "l", "layers", "oci-layout", "staging"}
	tests := []struct {
		name string
		make []string // directories end in a slash
		ok   bool
	}{
		{"new", nil, true},
		{"file system", []string{"lost+found/"}, true},
		{"killed Open", []string{"blobs/", "layers/", "staging/"}, true},
		{"killed Open with an index", []string{"blobs/", "index.json", "staging/"}, true},
		{"web site", []string{"blobs/", "index.json"}, false},
		{"home", []string{".profile"}, false},
		{"something", []string{"data/"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range tt.make {
				path, content := filepath.Join(dir, name), `{"schemaVersion":2,"manifests":[]}`
				var err error
				if strings.HasSuffix(name, "/") {
					err = os.Mkdir(path, 0o755)
				} else {
					err = os.WriteFile(path, []byte(content), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			before := tree(t, dir)
			s, err := overlay.Open(t.Context(), dir, options())
			if !tt.ok {
				_ = as[*overlay.CorruptError](t, err)
				if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
					t.Errorf("a refused directory was changed:\n%s", diff)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			got := slices.DeleteFunc(tree(t, dir), func(n string) bool { return n == "lost+found" })
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("store (-want +got):\n%s", diff)
			}
			if got, err := overlay.Open(t.Context(), dir, options()); err != nil || got.Dir() != dir {
				t.Errorf("second Open: %v", err)
			}
		})
	}
}

// Many that open a new store at once all get it.
func TestOpenConcurrently(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := overlay.Open(t.Context(), dir, options())
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if left := tree(t, filepath.Join(dir, "staging")); len(left) > 0 {
		t.Errorf("staging holds %q", left)
	}
}

// A relative directory keeps its meaning when the process moves on.
func TestOpenRelative(t *testing.T) {
	t.Chdir(t.TempDir())
	s := open(t, "store")
	t.Chdir("/")
	addAll(t, s, whole("f"))
}

func TestFormat(t *testing.T) {
	dir := t.TempDir()
	o := overlay.Options{UserXattr: true, Owners: unpack.Squash}
	s := openWith(t, dir, o)
	if f, known, err := s.Format(); known || err != nil {
		t.Errorf("format of a store without layers: %v, %v", f, err)
	}
	src := whole("f")
	addAll(t, s, src)
	want := overlay.Format{UserXattr: true, Squashed: true}
	if f, known, err := s.Format(); !known || err != nil || f != want {
		t.Errorf("format: %v, %v, %v; want %v", f, known, err, want)
	}
	putImage(t, s, "a:1", linuxAMD64, src)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	o.UserXattr = false
	other := openWith(t, dir, o)
	_, err := other.AddAll(t.Context(), sources(src), overlay.AddOptions{})
	e := as[*overlay.FormatError](t, err)
	if e.Have != want || e.Want.UserXattr {
		t.Errorf("error is %+v", e)
	}
	for _, s := range []string{"user.overlay", "trusted.overlay", dir, "--store"} {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error does not speak of %s: %v", s, err)
		}
	}
	// Reading goes on, and an empty store can be taken over.
	if imgs, err := other.Images(t.Context()); err != nil || len(imgs) != 1 {
		t.Errorf("Images: %v, %v", imgs, err)
	}
	if _, err := other.Remove(t.Context(), "a:1"); err != nil {
		t.Fatal(err)
	}
	addAll(t, other, src)
}

func TestSpace(t *testing.T) {
	s := open(t, t.TempDir())
	have, err := s.Space()
	if err != nil || have <= 0 {
		t.Fatalf("Space: %d, %v", have, err)
	}
	if err := s.CheckSpace(have / 2); err != nil {
		t.Error(err)
	}
	err = s.CheckSpace(math.MaxInt64)
	e := as[*overlay.SpaceError](t, err)
	if e.Path != s.Dir() || e.Need != math.MaxInt64 || e.Have <= 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error is %+v", e)
	}
	if !strings.Contains(err.Error(), fmt.Sprint(e.Have)) {
		t.Errorf("error does not say what there is: %v", err)
	}
}

// A full disk is an error that says so, and what was written is freed.
func TestDiskFull(t *testing.T) {
	if !isolated(t) {
		return
	}
	dir := smallTmpfs(t)
	s := open(t, dir)
	small := whole("small")
	l := addAll(t, s, small)[0]
	before, err := s.Space()
	if err != nil {
		t.Fatal(err)
	}
	big := source(bigTar(8 << 20))
	if _, err := s.AddAll(t.Context(), sources(small, big), overlay.AddOptions{}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("AddAll on a full disk: %v", err)
	}
	if n := big.opened.Load(); n != 1 {
		t.Errorf("opened %d times, want once", n)
	}
	if err := s.PutBlob(t.Context(), descriptor(big.tar), strings.NewReader(string(big.tar))); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("PutBlob on a full disk: %v", err)
	}
	after, err := s.Space()
	if err != nil || after < before-64<<10 {
		t.Errorf("%d bytes free (%v), before there were %d", after, err, before)
	}
	if !s.Has(l.ChainID) {
		t.Error("the finished layer is gone")
	}
}

// TestForeignOwner: root does not work in a store that somebody else can
// change under its hands.
func TestForeignOwner(t *testing.T) {
	testneed.Root(t)
	for name, change := range map[string]func(dir string) error{
		"another user's":     func(dir string) error { return os.Chown(dir, 65534, 65534) },
		"writable by others": func(dir string) error { return os.Chmod(dir, 0o777) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := change(dir); err != nil {
				t.Fatal(err)
			}
			_, err := overlay.Open(t.Context(), dir, options())
			_ = as[*overlay.CorruptError](t, err)
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
				t.Errorf("the directory was written to: %v, %v", entries, err)
			}
		})
	}
}

// TestOpenTogether: those who open a new store at once all get it.
func TestOpenTogether(t *testing.T) {
	for range 100 {
		dir := t.TempDir()
		errs := make(chan error, 8)
		for range cap(errs) {
			go func() {
				s, err := overlay.Open(t.Context(), dir, options())
				if err == nil {
					err = s.Close()
				}
				errs <- err
			}()
		}
		for range cap(errs) {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
	}
}
