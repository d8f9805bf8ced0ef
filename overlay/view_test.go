package overlay_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
)

func openView(t *testing.T, dirs []string) *overlay.View {
	t.Helper()
	v, err := overlay.OpenView(dirs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

func TestViewFS(t *testing.T) {
	testneed.Root(t)
	v := openView(t, stack(t, t.TempDir(),
		[]testtar.Entry{testtar.File("a/b/c", "1"), testtar.File("a/gone", ""), testtar.File("x", "low"), testtar.File("o/old", "")},
		[]testtar.Entry{testtar.Whiteout("a/gone"), testtar.File("x", "high"), testtar.Opaque("o"), testtar.File("o/new", "")}))
	if err := fstest.TestFS(v, "a/b/c", "x", "o/new"); err != nil {
		t.Error(err)
	}
	if got, err := fs.ReadFile(v, "x"); err != nil || string(got) != "high" {
		t.Errorf("x: %q, %v", got, err)
	}
	for _, name := range []string{"a/gone", "o/old", "nothing", "x/y"} {
		if _, err := v.Lstat(name); err == nil {
			t.Errorf("%s is there", name)
		}
	}
}

// TestViewStaysInside puts a secret beside the layers and links that would
// lead to it.
func TestViewStaysInside(t *testing.T) {
	testneed.Root(t)
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "secret"), []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 30)
	dirs := stack(t, root,
		[]testtar.Entry{
			testtar.Symlink("up", "../secret"), testtar.Symlink("far", up+root[1:]+"/secret"), testtar.Symlink("abs", root+"/secret"),
			testtar.Symlink("dir", "/.."), testtar.Symlink("d/up2", "../../secret"), testtar.Symlink("proc", "/proc/self/root"+root+"/secret"),
			testtar.Symlink("loop", "loop"), testtar.Symlink("etc", "/real"), testtar.Symlink("slash", "real/f/"),
		},
		[]testtar.Entry{testtar.File("real/f", "mine"), testtar.Symlink("real/g", "../d/h"), testtar.Symlink("d/h", "/etc/f")})
	v := openView(t, dirs)
	for _, name := range []string{"up", "far", "abs", "dir/secret", "d/up2", "proc", "loop", "slash"} {
		if f, err := v.Open(name); err == nil {
			raw, _ := io.ReadAll(f)
			t.Errorf("%s opens: %q", name, raw)
		}
	}
	for _, name := range []string{"../secret", "/secret", "", "a//b", "./x", "x/", "nul\x00"} {
		if _, err := v.Stat(name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"etc/f", "real/g", "dir/etc/f"} {
		if got, err := fs.ReadFile(v, name); err != nil || string(got) != "mine" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got, err := v.ReadLink("d/up2"); err != nil || got != "../../secret" {
		t.Errorf("read link: %q, %v", got, err)
	}
	if _, err := v.ReadLink("real/f"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("read link of a file: %v", err)
	}
	if _, err := v.Stat("loop"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("loop: %v", err)
	}
}

// TestViewSpecial opens what would block or wake a driver.
func TestViewSpecial(t *testing.T) {
	testneed.Root(t)
	v := openView(t, stack(t, t.TempDir(), []testtar.Entry{
		testtar.Fifo("fifo"), testtar.Char("tty", 5, 0), testtar.Symlink("l", "fifo"), testtar.File("caf\xe9", "1"),
		testtar.File("set", "", testtar.Mode(0o6755)), testtar.Dir("tmp", testtar.Mode(0o1777)),
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, name := range []string{"fifo", "tty", "l"} {
			f, err := v.Open(name)
			if err != nil {
				t.Error(err)
				continue
			}
			if _, err := f.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("read %s: %v", name, err)
			}
			_ = f.Close()
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("opening blocks")
	}
	for name, want := range map[string]fs.FileMode{
		"fifo": fs.ModeNamedPipe | 0o600, "tty": fs.ModeDevice | fs.ModeCharDevice | 0o600,
		"set": fs.ModeSetuid | fs.ModeSetgid | 0o755, "tmp": fs.ModeDir | fs.ModeSticky | 0o777,
	} {
		info, err := v.Lstat(name)
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, expected %v", name, info.Mode(), err, want)
		}
		if e, ok := info.Sys().(*overlay.Entry); !ok || e.Layer != 1 {
			t.Errorf("%s: Sys is %#v", name, info.Sys())
		}
	}
	if _, err := v.Stat("caf\xe9"); err != nil {
		t.Errorf("a name that is no UTF-8: %v", err)
	}
}

func TestViewConcurrent(t *testing.T) {
	testneed.Root(t)
	v := openView(t, stack(t, t.TempDir(), []testtar.Entry{testtar.File("a/b", "1"), testtar.File("c", "2")}, []testtar.Entry{testtar.File("a/d", "3")}))
	want := 5
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 50 {
				n := 0
				if err := v.Walk(context.Background(), func(*overlay.Entry) error { n++; return nil }); err != nil || n != want {
					t.Errorf("walked %d of %d: %v", n, want, err)
				}
				if list, err := v.ReadDir("."); err != nil || len(list) != 2 {
					t.Errorf("listed %d of 2: %v", len(list), err)
				}
			}
		})
	}
	wg.Wait()
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if _, err := v.Stat("c"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
