package unpack_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/treecmp"
	"github.com/byhand/byhand/unpack"
	"golang.org/x/sys/unix"
)

// makeTree makes a tree with one of everything that all formats of GNU tar
// hold, and a copy of part of the system.
func makeTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	sparse, err := os.Create(at("sparse"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(24) {
		if _, err := sparse.WriteAt([]byte("data"), i<<18); err != nil {
			t.Fatal(err)
		}
	}
	err = errors.Join(sparse.Truncate(8<<20), sparse.Close(),
		os.MkdirAll(at("d/e/f"), 0o700), os.WriteFile(at("d/setuid"), []byte("x"), 0o600), os.Chmod(at("d/setuid"), 0o755|os.ModeSetuid),
		os.Link(at("d/setuid"), at("hard")), os.Symlink("../x", at("d/link")), unix.Mkfifo(at("fifo"), 0o640),
		unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), unix.Mknod(at("loop"), unix.S_IFBLK|0o660, int(unix.Mkdev(7, 0))),
		os.Chown(at("d/e"), 12, 34), os.Lchown(at("d/link"), 56, 78), os.Chmod(at("d/e"), 0o777|os.ModeSticky|os.ModeSetgid),
		unix.Setxattr(at("d/setuid"), "user.a", []byte("1\x002"), 0), unix.Setxattr(at("d/e"), "user.b", []byte("3"), 0),
		os.WriteFile(at("empty"), nil, 0o444), os.Chtimes(at("empty"), time.Unix(5, 0), time.Unix(1234567890, 0)),
		os.Chmod(at("d/e/f"), 0o500), os.Chtimes(at("d/e"), time.Unix(7, 0), time.Unix(8, 0)))
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range []string{"/usr/share/doc", "/usr/lib/python3"} {
		if _, err := os.Stat(doc); err == nil {
			run(t, "sh", "-c", fmt.Sprintf("tar -C / -cf - --exclude='*.gz' .%s | head -c 4M | tar -C %s -xpf - 2>/dev/null || true", doc, dir))
		}
	}
	return dir
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// TestAgainstGNUTar demands of each format of GNU tar the tree that GNU tar
// itself makes of the archive.
func TestAgainstGNUTar(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "tar")
	src := makeTree(t)
	for _, format := range []string{
		"--format=v7 --exclude=./usr", "--format=ustar", "--format=oldgnu -S", "--format=gnu -S", "--format=gnu", "--format=posix -S --xattrs",
		"--format=posix -S --sparse-version=0.0", "--format=posix -S --sparse-version=0.1 --xattrs",
	} {
		t.Run(format, func(t *testing.T) {
			archive := filepath.Join(t.TempDir(), "a.tar")
			args := append(strings.Fields(format), "--numeric-owner", "-C", src, "-cf", archive, ".")
			if strings.Contains(format, "v7") { // it has no room for devices
				args = append([]string{"--exclude=null", "--exclude=loop", "--exclude=fifo"}, args...)
			}
			run(t, "tar", args...)
			theirs, ours := t.TempDir(), t.TempDir()
			run(t, "tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", theirs, "-xpf", archive)
			dir, err := os.Open(ours)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = dir.Close() }()
			f, err := os.Open(archive)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			res, err := unpack.Apply(context.Background(), dir, f, unpack.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Skipped) > 0 {
				t.Errorf("skipped: %v", res.Skipped)
			}
			diffs, err := treecmp.Compare(theirs, ours, treecmp.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for i, d := range diffs {
				if i == 20 {
					t.Fatalf("and %d more", len(diffs)-i)
				}
				t.Errorf("GNU tar | byhand: %v", d)
			}
			if res.Counts.Entries < 8 {
				t.Errorf("only %d entries compared", res.Counts.Entries)
			}
			if strings.Contains(format, "-S") {
				if st := lstat(t, filepath.Join(ours, "sparse")); st.Blocks*512 > 1<<20 {
					t.Errorf("sparse file takes %d bytes", st.Blocks*512)
				}
			}
		})
	}
}
