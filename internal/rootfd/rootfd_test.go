package rootfd_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/testneed"
	"golang.org/x/sys/unix"
)

// build makes files named by their own path, and symbolic links "name -> target".
func build(t *testing.T, root string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		name, target, isLink := strings.Cut(line, " -> ")
		full := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(full), 0o755)
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(full, 0o755)
		case isLink:
			err = errors.Join(err, os.Symlink(target, full))
		default:
			err = errors.Join(err, os.WriteFile(full, []byte(name), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func eachWay(t *testing.T, dir string, f func(t *testing.T, r *rootfd.Root)) {
	t.Helper()
	for name, o := range map[string]rootfd.Options{"openat2": {}, "walk": {NoOpenat2: true}} {
		t.Run(name, func(t *testing.T) {
			r, err := rootfd.Open(dir, o)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = r.Close() }()
			f(t, r)
		})
	}
}

func TestOpenAt(t *testing.T) {
	base := t.TempDir()
	build(t, base, "secret", "etc/passwd", "root/etc/passwd", "root/a/b/c/", "root/a/b/f", "root/secret",
		"root/abs -> /etc", "root/up -> ../../../etc", "root/a/up -> ../../..", "root/a/b/rel -> ../../etc/passwd", "root/loop -> loop",
		"root/x -> y", "root/y -> x", "root/dangling -> /new", "root/chain -> a/up/abs/passwd", "root/self -> .", "root/out -> "+base+"/secret",
		"root/slash -> /", "root/dots -> a/b/../../a/./b//f", "root/filelink -> etc/passwd")
	tests := []struct {
		name  string
		flags int
		want  string // content, or that of an error
	}{
		{"etc/passwd", 0, "root/etc/passwd"},
		{"/etc/passwd", 0, "root/etc/passwd"},
		{"../../../etc/passwd", 0, "root/etc/passwd"},
		{"abs/passwd", 0, "root/etc/passwd"},
		{"up/passwd", 0, "root/etc/passwd"},
		{"a/up/etc/passwd", 0, "root/etc/passwd"},
		{"a/b/rel", 0, "root/etc/passwd"},
		{"a/b/c/../f", 0, "root/a/b/f"},
		{"a/b/c/../../../../../secret", 0, "root/secret"},
		{"chain", 0, "root/etc/passwd"},
		{"self/self/self/secret", 0, "root/secret"},
		{"slash/slash/../secret", 0, "root/secret"},
		{"dots", 0, "root/a/b/f"},
		{"out", 0, "no such file"},
		{"loop", 0, "too many levels"},
		{"x/f", 0, "too many levels"},
		{"dangling", 0, "no such file"},
		{"nothing", 0, "no such file"},
		{"nothing/..", 0, "no such file"},
		{"secret/f", 0, "not a directory"},
		{"secret/..", 0, "not a directory"},
		{"secret/", 0, "not a directory"},
		{"filelink/", 0, "not a directory"},
		{"filelink", unix.O_NOFOLLOW, "too many levels"},
		{"secret", unix.O_NOFOLLOW, "root/secret"},
		{"abs/../secret", unix.O_NOFOLLOW, "root/secret"},
		{"a", unix.O_DIRECTORY, ""},
		{"abs/", unix.O_DIRECTORY, ""},
		{"abs", unix.O_DIRECTORY | unix.O_NOFOLLOW, "not a directory"},
		{"..", unix.O_DIRECTORY, ""},
		{"secret", unix.O_DIRECTORY, "not a directory"},
		{"", 0, "no such file"},
		{"a\x00b", 0, "invalid"},
		{strings.Repeat("a/../", 2000) + "secret", 0, "root/secret"},
		{strings.Repeat("a/b/c/../../../", 1000) + "secret", 0, "root/secret"},
		{strings.Repeat("a/up/", 60) + "secret", 0, "too many levels"},
	}
	eachWay(t, filepath.Join(base, "root"), func(t *testing.T, r *rootfd.Root) {
		for _, tt := range tests {
			fd, err := r.OpenAt(tt.name, tt.flags|unix.O_RDONLY, 0)
			if err != nil {
				var pe *fs.PathError
				if !errors.As(err, &pe) || tt.want == "" || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%.50q: error %v, want %q", tt.name, err, tt.want)
				}
				continue
			}
			if tt.flags&unix.O_DIRECTORY == 0 {
				buf := make([]byte, 100)
				n, err := unix.Read(fd, buf)
				if err != nil || string(buf[:max(n, 0)]) != tt.want {
					t.Errorf("%.50q: %q, error %v, want %q", tt.name, buf[:max(n, 0)], err, tt.want)
				}
			}
			_ = unix.Close(fd)
		}
	})
}

// TestCreate tells that a dangling link leads to a new file inside.
func TestCreate(t *testing.T) {
	base := t.TempDir()
	build(t, base, "root/dangling -> /../../new", "root/d/")
	eachWay(t, filepath.Join(base, "root"), func(t *testing.T, r *rootfd.Root) {
		fd, err := r.OpenAt("dangling", unix.O_CREAT|unix.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(fd)
		if err := os.Remove(filepath.Join(base, "root", "new")); err != nil {
			t.Error(err)
		}
		if _, err := r.OpenAt("dangling", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o600); !errors.Is(err, fs.ErrExist) {
			t.Errorf("O_EXCL: error %v, want that it exists", err)
		}
	})
}

func TestOpenParent(t *testing.T) {
	base := t.TempDir()
	build(t, base, "root/a/f", "root/l -> /a", "root/up -> ..")
	eachWay(t, filepath.Join(base, "root"), func(t *testing.T, r *rootfd.Root) {
		for _, tt := range [][2]string{{"l/f", "f"}, {"a/new", "new"}, {"up/up/a/f", "f"}, {"l", "l"}, {"a/.", "a"}, {"/a//", "a"}} {
			fd, base, err := r.OpenParent(tt[0])
			if err != nil || base != tt[1] {
				t.Errorf("%q: %q, error %v", tt[0], base, err)
				continue
			}
			_ = unix.Close(fd)
		}
		for _, name := range []string{"", ".", "/", "..", "a/..", "a/../", "nothing/x", "a/f/x"} {
			if _, base, err := r.OpenParent(name); err == nil {
				t.Errorf("%q: %q, want an error", name, base)
			}
		}
	})
}

// TestLong goes beyond PATH_MAX and back up beyond the descriptors held.
func TestLong(t *testing.T) {
	dir := t.TempDir()
	r, err := rootfd.Open(dir, rootfd.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	comp := strings.Repeat("n", 100)
	fd, err := r.OpenAt(".", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := unix.Mkdirat(fd, comp, 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, comp, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(fd)
		fd = next
	}
	_ = unix.Close(fd)
	deep := strings.Repeat(comp+"/", 100)
	fd, err = r.OpenAt(deep+"f", unix.O_CREAT|unix.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	fd, err = r.OpenAt(deep+strings.Repeat("../", 99)+"../"+deep+"f", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	if err := rootfd.RemoveAllAt(r.FD(), comp); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, comp)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("deleted: %v", err)
	}
}

func TestRemoveAllAt(t *testing.T) {
	base := t.TempDir()
	build(t, base, "keep/f", "root/d/e/f", "root/d/l -> ../../keep", "root/d/abs -> "+base+"/keep", "root/file", "root/link -> ../keep")
	for i := range 3000 {
		build(t, base, fmt.Sprintf("root/d/many/%d", i))
	}
	for range 2 { // what is gone already is no error
		for _, name := range []string{"d", "file", "link"} {
			eachWay(t, filepath.Join(base, "root"), func(t *testing.T, r *rootfd.Root) {
				if err := rootfd.RemoveAllAt(r.FD(), name); err != nil {
					t.Error(err)
				}
			})
		}
	}
	if list, err := os.ReadDir(filepath.Join(base, "root")); err != nil || len(list) != 0 {
		t.Errorf("left: %v, error %v", list, err)
	}
	if _, err := os.Stat(filepath.Join(base, "keep", "f")); err != nil {
		t.Errorf("outside: %v", err)
	}
	eachWay(t, base, func(t *testing.T, r *rootfd.Root) {
		for _, name := range []string{"", ".", "..", "a/b", "/"} {
			if err := rootfd.RemoveAllAt(r.FD(), name); !errors.Is(err, unix.EINVAL) {
				t.Errorf("%q: error %v, want EINVAL", name, err)
			}
		}
	})
}

// TestRemoveMount mounts, in a mount name space of its own, a directory and a
// file into a tree that is then to be deleted.
func TestRemoveMount(t *testing.T) {
	testneed.Root(t)
	for _, what := range []string{"dir", "file", "tmpfs"} {
		for _, openat2 := range []bool{true, false} {
			t.Run(fmt.Sprint(what, openat2), func(t *testing.T) {
				base := t.TempDir()
				build(t, base, "keep/dir/f", "keep/file", "root/t/a/dir/", "root/t/a/file", "root/t/a/tmpfs/")
				for i := range 50 { // to be met before the mount, in whatever order
					build(t, base, fmt.Sprintf("root/t/%d", i), fmt.Sprintf("root/t/a/%d", i))
				}
				done := make(chan error)
				go func() {
					runtime.LockOSThread() // and never unlock: the thread ends with its name space
					done <- removeMounted(base, what, openat2)
				}()
				err := <-done
				var mount *rootfd.MountError
				if !errors.As(err, &mount) || mount.Name != "t/a/"+what {
					t.Errorf("error %v, want a MountError for t/a/%s", err, what)
				}
				if left, err := os.ReadDir(filepath.Join(base, "root/t")); err != nil || len(left) != 51 {
					t.Errorf("%d names left of 51, error %v", len(left), err)
				}
				if left, err := os.ReadDir(filepath.Join(base, "root/t/a")); err != nil || len(left) != 53 {
					t.Errorf("%d names left of 53, error %v", len(left), err)
				}
				for _, name := range []string{"keep/dir/f", "keep/file"} {
					if content, err := os.ReadFile(filepath.Join(base, name)); err != nil || string(content) != name {
						t.Errorf("%s: %q, error %v", name, content, err)
					}
				}
			})
		}
	}
}

func removeMounted(base, what string, openat2 bool) error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return err
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	target := filepath.Join(base, "root/t/a", what)
	var err error
	if what == "tmpfs" {
		err = unix.Mount("tmpfs", target, "tmpfs", 0, "")
	} else {
		err = unix.Mount(filepath.Join(base, "keep", what), target, "", unix.MS_BIND, "")
	}
	if err != nil {
		return err
	}
	fd, err := unix.Open(filepath.Join(base, "root"), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return rootfd.RemoveAllWith(fd, "t", openat2)
}

// TestRemoveAsUser deletes what an ordinary user has no permission for.
func TestRemoveAsUser(t *testing.T) {
	base := t.TempDir()
	deep := "root/t" + strings.Repeat("/d", 100)
	build(t, base, deep+"/f", "root/t/ro/x", "root/t/none/e/f")
	for _, dir := range []string{deep, "root/t/none/e", "root/t/none", "root/t/ro", "root/t" + strings.Repeat("/d", 64), "root/t/d"} {
		if err := os.Chmod(filepath.Join(base, dir), map[bool]os.FileMode{true: 0, false: 0o555}[strings.Contains(dir, "none")]); err != nil {
			t.Fatal(err)
		}
	}
	r, err := rootfd.Open(filepath.Join(base, "root"), rootfd.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if os.Geteuid() != 0 {
		if err := rootfd.RemoveAllAt(r.FD(), "t"); err != nil {
			t.Error(err)
		}
		return
	}
	err = filepath.WalkDir(base, func(name string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(name, 65534, 65534))
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread keeps its user and ends
		// Only this thread: the raw call, not the one of package syscall
		// that changes all.
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			done <- errno
			return
		}
		done <- rootfd.RemoveAllAt(r.FD(), "t")
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
