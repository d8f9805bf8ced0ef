package bundle_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/testneed"
)

func openRoot(t testing.TB, dir string) *bundle.Root {
	t.Helper()
	r, err := bundle.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// file is what a copy has to keep.
type file struct {
	Mode         uint32
	UID, GID     uint32
	Rdev         uint64
	Size, Mtime  int64
	Links        uint64
	Content, Cap string
}

func listTree(t *testing.T, dir string) map[string]file {
	t.Helper()
	list := map[string]file{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		f := file{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Rdev: uint64(st.Rdev), Mtime: st.Mtim.Nano(), Links: uint64(st.Nlink)}
		var data []byte
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			f.Size = st.Size
			data, err = os.ReadFile(path)
		case unix.S_IFLNK:
			var to string
			to, err = os.Readlink(path)
			data = []byte(to)
		}
		f.Content = string(data)
		buf := make([]byte, 100)
		if n, err := unix.Lgetxattr(path, "user.test", buf); err == nil {
			f.Cap = string(buf[:n])
		}
		name, _ := filepath.Rel(dir, path)
		list[name] = f
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// volumeTree makes a tree with all that a volume may hold.
func volumeTree(t *testing.T, dir string) {
	t.Helper()
	makeTree(t, dir, map[string]string{
		"a/b/c.txt": "content", "suid": "s", "one": "linked", "link": "->/etc/passwd", "dangling": "->nowhere",
		"name\xff\nnewline": "odd", "a/ro/file": "x", "empty/": "",
	})
	when := time.Unix(-12345, 678).UnixNano()
	steps := []error{
		os.Link(filepath.Join(dir, "one"), filepath.Join(dir, "a/two")),
		unix.Mkfifo(filepath.Join(dir, "fifo"), 0o640),
		unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o606, int(unix.Mkdev(1, 3))),
		os.Lchown(filepath.Join(dir, "suid"), 12, 34),
		os.Lchown(filepath.Join(dir, "link"), 56, 78),
		os.Chmod(filepath.Join(dir, "suid"), 0o755|fs.ModeSetuid),
		os.Chmod(filepath.Join(dir, "a/ro"), 0o555),
		os.Chmod(dir, 0o710|fs.ModeSticky),
		os.Lchown(dir, 90, 91),
		unix.Setxattr(filepath.Join(dir, "a"), "user.test", []byte("of a"), 0),
		unix.Setxattr(filepath.Join(dir, "one"), "user.test", []byte("of one"), 0),
		os.WriteFile(filepath.Join(dir, "sparse"), []byte("start"), 0o600),
		os.Truncate(filepath.Join(dir, "sparse"), 8<<20),
	}
	for _, name := range []string{"a/b", "a", "one", "."} {
		ts := []unix.Timespec{unix.NsecToTimespec(when), unix.NsecToTimespec(when)}
		steps = append(steps, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, name), ts, unix.AT_SYMLINK_NOFOLLOW))
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
}

// view is a root whose directories are no files of the machine, and that has
// its own way of telling what they are.
type view struct {
	*bundle.Root
	dir string
}

type viewInfo struct{ fs.FileInfo }

func (i viewInfo) Sys() any {
	st, _ := i.FileInfo.Sys().(*syscall.Stat_t)
	return viewEntry{st}
}

type viewEntry struct{ st *syscall.Stat_t }

func (e viewEntry) Stat() unix.Stat_t {
	return unix.Stat_t{
		Mode: e.st.Mode, Uid: e.st.Uid, Gid: e.st.Gid, Size: e.st.Size, Dev: e.st.Dev, Ino: e.st.Ino, Nlink: e.st.Nlink,
		Rdev: e.st.Rdev, Atim: unix.Timespec(e.st.Atim), Mtim: unix.Timespec(e.st.Mtim),
	}
}

func (v view) Lstat(name string) (fs.FileInfo, error) {
	info, err := v.Root.Lstat(name)
	return viewInfo{info}, err
}

func (v view) Open(name string) (fs.File, error) {
	f, err := v.Root.Open(name)
	return struct{ fs.File }{f}, err
}

func (v view) Xattrs(name string) (map[string]string, error) {
	buf := make([]byte, 100)
	n, err := unix.Lgetxattr(filepath.Join(v.dir, name), "user.test", buf)
	if err != nil {
		return nil, nil
	}
	return map[string]string{"user.test": string(buf[:n]), "trusted.overlay.opaque": "y"}, nil
}

func TestPopulate(t *testing.T) {
	testneed.Root(t)
	for _, name := range []string{"directory", "view"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			root := filepath.Join(dir, "rootfs")
			makeTree(t, root, map[string]string{"data/": "", "way": "->/data/../data/."})
			volumeTree(t, filepath.Join(root, "data"))
			if name == "view" {
				testPopulate(t, dir, view{openRoot(t, root), root})
			} else {
				testPopulate(t, dir, openRoot(t, root))
			}
		})
	}
}

func testPopulate(t *testing.T, dir string, root fs.FS) {
	t.Helper()
	volumes := []bundle.Volume{{"volumes/0", "/way"}, {"volumes/1", "/not/there"}}
	warnings, err := bundle.PopulateVolumes(t.Context(), dir, volumes, root)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("PopulateVolumes: %v %q", err, warnings)
	}
	if diff := cmp.Diff(listTree(t, filepath.Join(dir, "rootfs/data")), listTree(t, filepath.Join(dir, "volumes/0"))); diff != "" {
		t.Errorf("copy (-want +got):\n%s", diff)
	}
	var sparse, made unix.Stat_t
	_, sees := root.(*bundle.Root) // only an open file shows its holes
	if err := unix.Stat(filepath.Join(dir, "volumes/0/sparse"), &sparse); err != nil || sees && sparse.Blocks*512 > 1<<20 {
		t.Errorf("the hole takes %d bytes: %v", sparse.Blocks*512, err)
	}
	if err := unix.Stat(filepath.Join(dir, "volumes/1"), &made); err != nil || made.Mode != unix.S_IFDIR|0o755 {
		t.Errorf("volume without a directory: %o %v", made.Mode, err)
	}
	if n, err := unix.Lgetxattr(filepath.Join(dir, "volumes/0"), "trusted.overlay.opaque", nil); err == nil {
		t.Errorf("overlayfs' mark of %d bytes is copied", n)
	}
	names, err := os.ReadDir(filepath.Join(dir, "volumes"))
	if err != nil || len(names) != 2 {
		t.Errorf("left in volumes: %v %v", names, err)
	}
}

// TestPopulateOnce shows that a volume in use is left alone, and an
// interrupted one made again.
func TestPopulateOnce(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, map[string]string{
		"rootfs/v/f": "image", "rootfs/w/f": "image", "volumes/0/mine": "kept", "volumes/.new-1/half/written": "x",
	})
	volumes := []bundle.Volume{{"volumes/0", "/v"}, {"volumes/1", "/w"}}
	for range 2 {
		if _, err := bundle.PopulateVolumes(t.Context(), dir, volumes, openRoot(t, filepath.Join(dir, "rootfs"))); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for name := range listTree(t, filepath.Join(dir, "volumes")) {
		got = append(got, name)
	}
	want := []string{".", "0", "0/mine", "1", "1/f"}
	if diff := cmp.Diff(want, sorted(got)); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
}

// TestPopulateStaysInside has volumes that point at the machine's files.
func TestPopulateStaysInside(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, map[string]string{
		"secret/key": "of the host", "rootfs/abs": "->" + dir + "/secret", "rootfs/up": "->../../../../../../.." + dir + "/secret",
		"rootfs/d/l": "->../../secret", "rootfs/file": "x", "rootfs/all": "->/",
	})
	root := openRoot(t, filepath.Join(dir, "rootfs"))
	for i, dst := range []string{"/abs", "/up", "/d", "/d/l", "/d/../../secret"} {
		v := bundle.Volume{Source: "volumes/" + string(rune('0'+i)), Destination: dst}
		if _, err := bundle.PopulateVolumes(t.Context(), dir, []bundle.Volume{v}, root); err != nil {
			t.Errorf("%s: %v", dst, err)
		}
	}
	for name, f := range listTree(t, filepath.Join(dir, "volumes")) {
		if strings.Contains(f.Content, "of the host") {
			t.Errorf("volumes/%s holds a file of the host", name)
		}
	}
	for _, dst := range []string{"/file", "/all", "/"} {
		_, err := bundle.PopulateVolumes(t.Context(), dir, []bundle.Volume{{"volumes/x", dst}}, root)
		var re *bundle.RootError
		if !errors.As(err, &re) {
			t.Errorf("%s: expected a RootError, found %v", dst, err)
		}
	}
	for _, src := range []string{"volumes/..", "/tmp/x", "volumes/a/b", "../x", "volumes/", "volumes/.new-1"} {
		if _, err := bundle.PopulateVolumes(t.Context(), dir, []bundle.Volume{{src, "/d"}}, root); err == nil {
			t.Errorf("source %q is taken", src)
		}
	}
	if err := os.Rename(filepath.Join(dir, "volumes"), filepath.Join(dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	makeTree(t, dir, map[string]string{"volumes": "->secret"})
	if _, err := bundle.PopulateVolumes(t.Context(), dir, []bundle.Volume{{"volumes/0", "/d"}}, root); err == nil {
		t.Error("a link in place of volumes is followed")
	}
}

func TestPopulateCancelled(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, map[string]string{"rootfs/v/f": "x"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := bundle.PopulateVolumes(ctx, dir, []bundle.Volume{{"volumes/0", "/v"}}, openRoot(t, filepath.Join(dir, "rootfs")))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("expected %v, found %v", context.Canceled, err)
	}
	if names, err := os.ReadDir(filepath.Join(dir, "volumes")); err != nil || len(names) > 0 {
		t.Errorf("left behind: %v %v", names, err)
	}
}

// TestPopulateFromFS has a root that is no directory.
func TestPopulateFromFS(t *testing.T) {
	dir := t.TempDir()
	root := fstest.MapFS{
		"v":     {Mode: fs.ModeDir | 0o755},
		"v/d":   {Mode: fs.ModeDir | 0o755},
		"v/d/f": {Data: bytes.Repeat([]byte("x"), 100000), Mode: 0o640, ModTime: time.Unix(1000, 5)},
		"v/l":   {Data: []byte("d/f"), Mode: fs.ModeSymlink | 0o777},
	}
	if _, err := bundle.PopulateVolumes(t.Context(), dir, []bundle.Volume{{"volumes/0", "/v"}}, root); err != nil {
		t.Fatal(err)
	}
	got := listTree(t, filepath.Join(dir, "volumes/0"))
	if f := got["d/f"]; f.Size != 100000 || f.Mode != unix.S_IFREG|0o640 || f.Mtime != time.Unix(1000, 5).UnixNano() {
		t.Errorf("file: mode %o size %d mtime %d", f.Mode, f.Size, f.Mtime)
	}
	if f := got["l"]; f.Content != "d/f" {
		t.Errorf("link to %q", f.Content)
	}
}

const populateAsUser = "BYHAND_TEST_POPULATE"

// TestPopulateAsUser runs itself again as an ordinary user where it is root.
func TestPopulateAsUser(t *testing.T) {
	if dir := os.Getenv(populateAsUser); dir != "" {
		populateHelper(t, dir)
		return
	}
	testneed.Root(t)
	dir, err := os.MkdirTemp("", "byhand-volumes")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	root := filepath.Join(dir, "rootfs")
	volumeTree(t, filepath.Join(root, "data"))
	for _, step := range []error{
		os.Chmod(filepath.Join(root, "data"), 0o755), os.Chmod(filepath.Join(root, "data/sparse"), 0o644),
		os.Chown(dir, testUID, testUID), os.Chmod(dir, 0o755),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	exe, err := os.Open("/proc/self/exe") // the directory of the test binary is closed to the user
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = exe.Close() }()
	cmd := exec.CommandContext(t.Context(), "/proc/self/fd/3", "-test.run", "^TestPopulateAsUser$", "-test.v")
	cmd.ExtraFiles, cmd.Dir = []*os.File{exe}, "/"
	cmd.Env = append(os.Environ(), populateAsUser+"="+dir, "TMPDIR=/tmp")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: testUID, Gid: testUID}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestPopulateAsUser") {
		t.Errorf("as user %d: %v\n%s", testUID, err, out)
	}
}

func populateHelper(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() == 0 {
		t.Fatal("is root")
	}
	warnings, err := bundle.PopulateVolumes(t.Context(), dir, []bundle.Volume{{"volumes/0", "/data"}}, openRoot(t, filepath.Join(dir, "rootfs")))
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 2 || !strings.Contains(warnings[0], "owners") || !strings.Contains(warnings[1], "devices in volumes left out: 1, the first is /data/null") {
		t.Errorf("warnings %q", warnings)
	}
	got := listTree(t, filepath.Join(dir, "volumes/0"))
	if f := got["suid"]; f.Mode != unix.S_IFREG|0o755 || f.UID != testUID {
		t.Errorf("a program of another user's is left setuid: %o %d", f.Mode, f.UID)
	}
	if f := got["a/ro/file"]; f.Content != "x" || got["a/ro"].Mode&0o777 != 0o555 {
		t.Errorf("read-only directory: %+v %o", f, got["a/ro"].Mode)
	}
}
