package rootfd_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/byhand/byhand/internal/rootfd"
	"golang.org/x/sys/unix"
)

// FuzzResolve makes a tree of directories and symbolic links of the bytes and
// demands that both ways of resolving a name in it lead to the same file, and
// never to one outside.
func FuzzResolve(f *testing.F) {
	f.Add([]byte("abcdefghijklmnop"), "a/b/../c")
	f.Add([]byte{0x10, 0x25, 1, 0x31, 0x56, 2, 0x01, 0x61, 0}, "a/b/c/d")
	f.Add([]byte{0x81, 0x55, 3, 0x80, 0x64, 1}, "b/../../a/")
	f.Fuzz(func(t *testing.T, program []byte, name string) {
		base := t.TempDir()
		root := filepath.Join(base, "root")
		build(t, base, "a", "b", "root/a/", "root/b/a/c", "root/c")
		// Not by the whole path: a link made before may lead out of the tree, and
		// the next would be made in the machine's own directories.
		tree, err := os.OpenRoot(root)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tree.Close() }()
		comps := [8]string{"a", "b", "c", "d", "..", "..", ".", ""}
		for ; len(program) >= 3; program = program[3:] {
			at := comps[program[0]&3]
			if program[0]&4 != 0 {
				at = filepath.Join(comps[program[0]>>3&3], at)
			}
			target := comps[program[1]&7] + "/" + comps[program[1]>>3&7] + "/" + comps[program[2]&7]
			if program[0]&0x80 != 0 {
				target = "/" + target
			}
			if program[2]&0x80 != 0 {
				target = strings.TrimRight(target, "/")
			}
			if target != "" {
				_ = tree.Symlink(target, at) // where that works
			}
		}
		for _, flags := range []int{0, unix.O_NOFOLLOW, unix.O_DIRECTORY} {
			var inodes [2]uint64
			var errs [2]error
			for i := range inodes {
				inodes[i], errs[i] = lookUp(t, root, name, flags, i == 1)
			}
			if inodes[0] != inodes[1] || !errors.Is(errs[0], errs[1]) {
				t.Errorf("%q, flags %o: openat2 finds %d, %v; the walk %d, %v", name, flags, inodes[0], errs[0], inodes[1], errs[1])
			}
			for _, outside := range []string{".", "a", "b"} {
				var st unix.Stat_t
				if err := unix.Lstat(filepath.Join(base, outside), &st); err != nil {
					t.Fatal(err)
				}
				if inodes[0] == st.Ino || inodes[1] == st.Ino {
					t.Errorf("%q leads outside, to %s", name, outside)
				}
			}
		}
	})
}

// lookUp returns the inode that name leads to, or the bare errno.
func lookUp(t *testing.T, root, name string, flags int, noOpenat2 bool) (uint64, error) {
	t.Helper()
	r, err := rootfd.Open(root, rootfd.Options{NoOpenat2: noOpenat2})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	fd, err := r.OpenAt(name, unix.O_PATH|flags, 0)
	if err != nil {
		var errno syscall.Errno
		if !errors.As(err, &errno) {
			t.Fatalf("error without errno: %v", err)
		}
		return 0, errno
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino, nil
}
