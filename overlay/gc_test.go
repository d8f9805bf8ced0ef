package overlay_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
)

// twoImages makes two images that share their base layer, in a store that is
// closed again, so that nothing is leased.
func twoImages(t *testing.T, dir string) (a, b []overlay.Layer) {
	t.Helper()
	s := open(t, dir)
	base, onA, onB := whole("base"), leaning("a"), leaning("b")
	a, b = addAll(t, s, base, onA), addAll(t, s, base, onB)
	for _, src := range []*fakeSource{base, onA, onB} {
		if err := s.PutBlob(t.Context(), descriptor(src.tar), strings.NewReader(string(src.tar))); err != nil {
			t.Fatal(err)
		}
	}
	putImage(t, s, "a:1", linuxAMD64, base, onA)
	putImage(t, s, "b:1", linuxAMD64, base, onB)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func has(s *overlay.Store, layers ...overlay.Layer) []bool {
	var there []bool
	for _, l := range layers {
		_, err := os.Lstat(l.Link)
		there = append(there, s.Has(l.ChainID) && err == nil)
	}
	return there
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	a, b := twoImages(t, dir)
	s := open(t, dir)
	blobs := len(tree(t, filepath.Join(dir, "blobs", "sha256")))
	freed, err := s.Remove(t.Context(), "a:1")
	if err != nil {
		t.Fatal(err)
	}
	size := leaning("a").size + int64(len("content of a"))
	if freed.Layers != 1 || freed.Blobs != 3 || freed.Bytes <= size || len(freed.Kept) != 0 {
		t.Errorf("freed %+v", freed)
	}
	if diff := cmp.Diff([]string{"a:1"}, freed.Images); diff != "" {
		t.Errorf("images gone (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]bool{true, false, true}, has(s, a[0], a[1], b[1])); diff != "" {
		t.Errorf("layers (-want +got):\n%s", diff)
	}
	if got := len(tree(t, filepath.Join(dir, "blobs", "sha256"))); got != blobs-3 {
		t.Errorf("%d blobs, want %d", got, blobs-3)
	}
	before := tree(t, dir)
	_, err = s.Remove(t.Context(), "b:1", "a:1")
	if as[*overlay.NotFoundError](t, err).Name != "a:1" {
		t.Errorf("Remove of a missing image: %v", err)
	}
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("a refused Remove changed the store:\n%s", diff)
	}
	if _, err := s.Remove(t.Context(), "b:1"); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"layers", "l", "blobs/sha256"} {
		if left := tree(t, filepath.Join(dir, sub)); len(left) > 0 {
			t.Errorf("%s holds %q", sub, left)
		}
	}
	if left := staging(t, dir); len(left) > 0 {
		t.Errorf("staging holds %q", left)
	}
}

// Prune frees what no image needs, and nothing else.
func TestPrune(t *testing.T) {
	dir := t.TempDir()
	a, b := twoImages(t, dir)
	s := open(t, dir)
	before := tree(t, filepath.Join(dir, "blobs"))
	orphan := addAll(t, s, whole("orphan"))[0]
	desc := descriptor([]byte("orphan"))
	if err := s.PutBlob(t.Context(), desc, strings.NewReader("orphan")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"staging/mine", "layers/mine", "blobs/sha256/mine", "l/mine", "bundles/mine"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	freed, err := s.Prune(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := int64(len("orphan") + len("content of orphan"))
	if freed.Layers != 1 || freed.Blobs != 1 || freed.Bytes != want {
		t.Errorf("freed %+v, want a layer and a blob of %d bytes", freed, want)
	}
	if diff := cmp.Diff([]bool{true, true, true, false}, has(s, a[0], a[1], b[1], orphan)); diff != "" {
		t.Errorf("layers (-want +got):\n%s", diff)
	}
	after := tree(t, filepath.Join(dir, "blobs"))
	if diff := cmp.Diff(sorted(append(before, "sha256/mine")), after); diff != "" {
		t.Errorf("blobs (-want +got):\n%s", diff)
	}
	for _, name := range []string{"staging/mine", "layers/mine", "l/mine", "bundles/mine"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Errorf("what byhand did not make is gone: %v", err)
		}
	}
}

// What another open store relies on stays, until that is closed.
func TestPruneSparesOthers(t *testing.T) {
	dir := t.TempDir()
	other := open(t, dir)
	l := addAll(t, other, whole("f"))[0]
	desc := descriptor([]byte("blob"))
	if err := other.PutBlob(t.Context(), desc, strings.NewReader("blob")); err != nil {
		t.Fatal(err)
	}
	w, err := other.NewBlob(t.Context(), descriptor([]byte("part")))
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	freed, err := s.Prune(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if freed.Layers+freed.Blobs != 0 || !s.Has(l.ChainID) || !s.HasBlob(desc) {
		t.Fatalf("freed %+v", freed)
	}
	if len(freed.Kept) != 2 || !strings.Contains(freed.Kept[0].Error(), "process ") {
		t.Errorf("kept: %v", freed.Kept)
	}
	if _, err := w.Write([]byte("part")); err != nil {
		t.Error(err)
	}
	if err := errors.Join(w.Commit(), w.Close(), other.Close()); err != nil {
		t.Error(err)
	}
	freed, err = s.Prune(t.Context())
	if err != nil || freed.Layers != 1 || freed.Blobs != 2 || s.Has(l.ChainID) || s.HasBlob(desc) {
		t.Errorf("after Close: freed %+v, %v", freed, err)
	}
}

// A bundle keeps its layers as long as it is there.
func TestUse(t *testing.T) {
	dir, bundle := t.TempDir(), filepath.Join(t.TempDir(), "bundle")
	a, b := twoImages(t, dir)
	if err := os.Mkdir(bundle, 0o755); err != nil {
		t.Fatal(err)
	}
	maker := open(t, dir)
	if err := maker.Use(t.Context(), bundle, []overlay.ChainID{a[0].ChainID, a[1].ChainID}); err != nil {
		t.Fatal(err)
	}

	// The links are still to be made, but the process is there.
	s := open(t, dir)
	_, err := s.Remove(t.Context(), "a:1")
	e := as[*overlay.InUseError](t, err)
	if diff := cmp.Diff([]string{"bundle " + bundle}, e.Users); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
	if imgs, err := s.Images(t.Context()); err != nil || len(imgs) != 2 {
		t.Errorf("a refused Remove left %d images (%v)", len(imgs), err)
	}
	if err := overlay.Prepare(bundle, a); err != nil {
		t.Fatal(err)
	}
	if err := maker.Close(); err != nil {
		t.Fatal(err)
	}

	// The bundle is there: the other image can go, the shared layer stays.
	if _, err := s.Remove(t.Context(), "b:1"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]bool{true, true, false}, has(s, a[0], a[1], b[1])); diff != "" {
		t.Errorf("layers (-want +got):\n%s", diff)
	}
	_, err = s.Remove(t.Context(), "a:1")
	_ = as[*overlay.InUseError](t, err)

	// The bundle is gone.
	if err := os.RemoveAll(bundle); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(t.Context(), "a:1"); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"layers", "bundles"} {
		if left := tree(t, filepath.Join(dir, sub)); len(left) > 0 {
			t.Errorf("%s holds %q", sub, left)
		}
	}
}

// A directory that no longer refers to the store does not count.
func TestUseElsewhere(t *testing.T) {
	dir, bundle := t.TempDir(), t.TempDir()
	a, _ := twoImages(t, dir)
	maker := open(t, dir)
	if err := maker.Use(t.Context(), bundle, []overlay.ChainID{a[0].ChainID}); err != nil {
		t.Fatal(err)
	}
	if err := maker.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(bundle, "lower"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), filepath.Join(bundle, "lower", "1")); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if _, err := s.Remove(t.Context(), "a:1", "b:1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Use(t.Context(), bundle, []overlay.ChainID{a[0].ChainID}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Use of a layer that is gone: %v", err)
	}
}

// usedBundle makes a bundle of a store's layers as byhand does.
func usedBundle(t *testing.T, store, bundle string, layers []overlay.Layer) {
	t.Helper()
	if err := os.Mkdir(bundle, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "image.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, store)
	prepare(t, s, bundle, layers)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A bundle keeps its layers wherever it is moved, until it is deleted.
func TestUseMoved(t *testing.T) {
	rename := func(from, to string) func(*testing.T, string) {
		return func(t *testing.T, home string) {
			t.Helper()
			if err := os.Rename(filepath.Join(home, from), filepath.Join(home, to)); err != nil {
				t.Fatal(err)
			}
		}
	}
	cases := map[string]struct {
		steps []func(t *testing.T, home string)
		used  bool
		said  string
	}{
		"in its place":                    {nil, true, "bundle HOME/b"},
		"moved":                           {[]func(*testing.T, string){rename("b", "c")}, true, "the bundle that was HOME/b and has been moved (find / -samefile HOME/store/bundles/"},
		"moved twice":                     {[]func(*testing.T, string){rename("b", "c"), rename("c", "d")}, true, "has been moved"},
		"moved, and recorded there":       {[]func(*testing.T, string){rename("b", "c"), again("c")}, true, "bundle HOME/c"},
		"moved, and another in its place": {[]func(*testing.T, string){rename("b", "c"), another("b"), remove("b")}, true, "has been moved"},
		"moved and deleted":               {[]func(*testing.T, string){rename("b", "c"), remove("c")}, false, ""},
		"moved, recorded, and deleted":    {[]func(*testing.T, string){rename("b", "c"), again("c"), remove("c")}, false, ""},
		"moved, another in its place, both deleted": {
			[]func(*testing.T, string){rename("b", "c"), another("b"), remove("b"), remove("c")}, false, "",
		},
		"begun, and never finished": {[]func(*testing.T, string){remove("b/lower")}, false, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			store := filepath.Join(home, "store")
			a, _ := twoImages(t, store)
			usedBundle(t, store, filepath.Join(home, "b"), a)
			for _, step := range c.steps {
				step(t, home)
			}
			s := open(t, store)
			for range 2 { // a removal tidies the records
				_, err := s.Remove(t.Context(), "a:1")
				if !c.used {
					if err != nil {
						t.Fatal(err)
					}
					break
				}
				e := as[*overlay.InUseError](t, err)
				if said := strings.ReplaceAll(c.said, "HOME", home); len(e.Users) != 1 || !strings.Contains(e.Users[0], said) {
					t.Errorf("users %q, want %q", e.Users, said)
				}
			}
			if !c.used {
				if left := tree(t, filepath.Join(store, "bundles")); len(left) > 0 {
					t.Errorf("records are left: %q", left)
				}
			}
		})
	}
}

// again records a bundle that is there, as a command does that is given it.
func again(name string) func(*testing.T, string) {
	return func(t *testing.T, home string) {
		t.Helper()
		s := open(t, filepath.Join(home, "store"))
		a := addAll(t, s, whole("base"), leaning("a"))
		for range 2 {
			if err := s.UseAgain(t.Context(), filepath.Join(home, name), []overlay.ChainID{a[0].ChainID, a[1].ChainID}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// another makes a bundle of another image.
func another(name string) func(*testing.T, string) {
	return func(t *testing.T, home string) {
		t.Helper()
		s := open(t, filepath.Join(home, "store"))
		b := addAll(t, s, whole("base"), leaning("b"))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		usedBundle(t, filepath.Join(home, "store"), filepath.Join(home, name), b)
	}
}

func remove(name string) func(*testing.T, string) {
	return func(t *testing.T, home string) {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(home, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRelease(t *testing.T) {
	dir, bundle := t.TempDir(), t.TempDir()
	a, _ := twoImages(t, dir)
	s := open(t, dir)
	prepare(t, s, bundle, a)
	if err := errors.Join(s.Release(bundle), s.Release(bundle)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(t.Context(), "a:1"); err != nil {
		t.Error(err)
	}
}

// An image whose documents are damaged stops the removal of others, because
// nobody knows what it needs; it can be removed itself.
func TestRemoveDamaged(t *testing.T) {
	dir := t.TempDir()
	a, _ := twoImages(t, dir)
	s := open(t, dir)
	imgs, err := s.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "blobs", "sha256", imgs[0].Manifest.Digest.Encoded())
	for _, damage := range []func() error{
		func() error { return os.WriteFile(path, []byte("{}"), 0o600) },
		func() error { return os.Remove(path) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		for what, try := range map[string]func() error{
			"Prune":  func() error { _, err := s.Prune(t.Context()); return err },
			"Remove": func() error { _, err := s.Remove(t.Context(), "b:1"); return err },
		} {
			if err := try(); err == nil || !strings.Contains(err.Error(), "a:1") {
				t.Errorf("%s: %v, want an error that names a:1", what, err)
			}
		}
	}
	if got := has(s, a...); !got[0] || !got[1] {
		t.Errorf("layers of the damaged image: %v", got)
	}
	if _, err := s.Remove(t.Context(), "a:1"); err != nil {
		t.Error(err)
	}
	if _, err := s.Prune(t.Context()); err != nil {
		t.Error(err)
	}
	if got := has(s, a...); !got[0] || got[1] {
		t.Errorf("layers after Prune: %v", got)
	}
}

// Trees with directories that their owner may not write go as well.
func TestRemoveReadOnlyTree(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	src := source(testtar.Tar(testtar.Dir("./", testtar.Mode(0o555)), testtar.Dir("d", testtar.Mode(0)), testtar.File("d/e/f", "x")))
	addAll(t, s, src)
	putImage(t, s, "a:1", linuxAMD64, src)
	if _, err := s.Remove(t.Context(), "a:1"); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"layers", "staging"} {
		for _, name := range tree(t, filepath.Join(dir, sub)) {
			if !strings.HasSuffix(name, ".owner") {
				t.Errorf("%s holds %s", sub, name)
			}
		}
	}
}

// A layer with something mounted in it is refused by name and stays whole.
func TestRemoveMounted(t *testing.T) {
	if !isolated(t) {
		return
	}
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	src := source(testtar.Tar(testtar.Dir("./"), testtar.Dir("dev"), testtar.File("f", "x")))
	l := addAll(t, s, src)[0]
	putImage(t, s, "a:1", linuxAMD64, src)
	target := filepath.Join(l.Dir, "dev")
	if err := unix.Mount(outside, target, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(target, unix.MNT_DETACH) }()
	freed, err := s.Remove(t.Context(), "a:1")
	if err != nil || len(freed.Kept) != 1 || !strings.Contains(freed.Kept[0].Error(), target) {
		t.Errorf("freed %+v, %v; want the layer kept because of %s", freed, err, target)
	}
	if _, err := os.Lstat(filepath.Join(outside, "precious")); err != nil {
		t.Error(err)
	}
	if got := read(t, filepath.Join(l.Dir, "f")); got != "x" || !s.Has(l.ChainID) {
		t.Error("the layer is not whole")
	}
	if err := unix.Unmount(target, 0); err != nil {
		t.Fatal(err)
	}
	if freed, err = s.Prune(t.Context()); err != nil || freed.Layers != 1 {
		t.Errorf("unmounted: freed %+v, %v", freed, err)
	}
}

// What a dead process left in staging with a mount in it is neither emptied
// nor in the way of others.
func TestSweepMounted(t *testing.T) {
	if !isolated(t) {
		return
	}
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(dir, "staging", "0123456789abcdef-1", "diff", "dev")
	if err := os.MkdirAll(target, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(outside, target, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(target, unix.MNT_DETACH) }()
	warned := 0
	o := options()
	o.Observe = func(e overlay.Event) {
		if e.Kind == overlay.EventWarning {
			warned++
		}
	}
	addAll(t, openWith(t, dir, o), whole("f"))
	if warned != 1 {
		t.Errorf("%d warnings, want 1", warned)
	}
	if _, err := os.Lstat(filepath.Join(outside, "precious")); err != nil {
		t.Error(err)
	}
	if err := unix.Unmount(target, 0); err != nil {
		t.Fatal(err)
	}
	addAll(t, open(t, dir))
	if left := staging(t, dir); len(left) > 0 {
		t.Errorf("staging holds %q", left)
	}
}

// A layer that somebody put there without its record is no layer, and a Prune
// takes it.
func TestPruneUnfinished(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	path := filepath.Join(dir, "layers", digest.FromString("x").Encoded(), "diff")
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if s.Has(overlay.ChainID(digest.FromString("x"))) {
		t.Error("a directory without a record is a layer")
	}
	freed, err := s.Prune(t.Context())
	if err != nil || freed.Layers != 1 {
		t.Errorf("freed %+v, %v", freed, err)
	}
}
