package unpack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/unpack"
	"golang.org/x/sys/unix"
)

func lstat(t *testing.T, name string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		t.Fatal(err)
	}
	return st
}

func TestTimes(t *testing.T) {
	at := func(sec, nsec int64) testtar.Option { return testtar.ModTime(time.Unix(sec, nsec)) }
	archive := testtar.Tar(
		tDir("d", at(1, 5)), tFile("d/f", "1", at(1_700_000_000, 123456789)), tFile("old", "", at(-5, 250_000_000)),
		tSym("l", "x", at(2, 3)), testtar.Fifo("p", at(3, 4)), tDir("e", at(9, 0)), tFile("d/later", ""), tLink("d/h", "old"),
		tFile("a", "", at(100, 0), testtar.PAX("atime", "50.5")),
	)
	eachWay(t, func(t *testing.T, o unpack.Options) {
		dir, _, err := apply(t, archive, o)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]int64{
			"d": 1e9 + 5, "d/f": 1_700_000_000_123456789, "old": -5e9 + 250_000_000, "l": 2e9 + 3, "p": 3e9 + 4, "e": 9e9, ".": 0,
		} {
			st := lstat(t, filepath.Join(dir, name))
			if got := st.Mtim.Nano(); got != want {
				t.Errorf("mtime of %s: %d, want %d", name, got, want)
			}
		}
		st := lstat(t, filepath.Join(dir, "a"))
		if got := st.Atim.Nano(); got != 50.5e9 {
			t.Errorf("atime: %d, want that of the record", got)
		}
	})
}

// TestFarTime takes a time that no file system holds, for a file and for a
// directory.
func TestFarTime(t *testing.T) {
	far := fmt.Sprint(int64(math.MaxInt64))
	dir, res, err := apply(t, testtar.Tar(tFile("f", "", testtar.PAX("mtime", far)), tDir("d", testtar.PAX("mtime", far)), tDir("e")), unpack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	clamped := 0
	for _, name := range []string{"f", "d"} {
		if lstat(t, filepath.Join(dir, name)).Mtim.Sec != math.MaxInt64 {
			clamped++
		}
	}
	got := 0
	for _, s := range res.Skipped {
		if s.Kind == unpack.SkipTime {
			got = s.Count
		}
	}
	if got != clamped {
		t.Errorf("%d times reported as clamped, %d were: %v", got, clamped, res.Skipped)
	}
}

func TestXattrs(t *testing.T) {
	testneed.Root(t)
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	archive := testtar.Tar(
		tFile("f", "1", tXattr("security.capability", capability), testtar.Owner(1000, 1000), tMode(0o4755)),
		tFile("ro", "1", tXattr("user.a", "b\x00c"), tMode(0o444)),
		tDir("d", tXattr("user.d", "1"), tXattr("trusted.t", "2")),
		tSym("l", "x", tXattr("trusted.l", "3"), tXattr("user.l", "4")),
		testtar.Char("c", 1, 3, tXattr("trusted.c", "5")),
		tFile("strange", "", tXattr("nonsense", "1")),
	)
	eachWay(t, func(t *testing.T, o unpack.Options) {
		dir, res, err := apply(t, archive, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range [][3]string{
			{"f", "security.capability", capability},
			{"ro", "user.a", "b\x00c"},
			{"d", "user.d", "1"},
			{"d", "trusted.t", "2"},
			{"l", "trusted.l", "3"},
			{"c", "trusted.c", "5"},
		} {
			value := make([]byte, 100)
			n, err := unix.Lgetxattr(filepath.Join(dir, x[0]), x[1], value)
			if err != nil || string(value[:n]) != x[2] {
				t.Errorf("%s of %s: %q, error %v, want %q", x[1], x[0], value[:max(n, 0)], err, x[2])
			}
		}
		if st := lstat(t, filepath.Join(dir, "f")); st.Mode&0o7777 != 0o4755 || st.Uid != 1000 {
			t.Errorf("setuid file: mode %o owner %d", st.Mode&0o7777, st.Uid)
		}
		if len(res.Skipped) != 1 || res.Skipped[0].Kind != unpack.SkipXattr || res.Skipped[0].Count != 2 || res.Skipped[0].Name != "l" {
			t.Errorf("skipped %v, want user.* of a symbolic link and a name without a space, summed up", res.Skipped)
		}
	})
}

// TestDefaultACL tells that a directory's default ACL reaches the directory
// and not what the layer has in it.
func TestDefaultACL(t *testing.T) {
	testneed.Root(t)
	acl := "\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x04\x00\x05\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff"
	dir, res, err := apply(t, testtar.Tar(tDir("d", tXattr("system.posix_acl_default", acl)), tFile("d/f", "", tMode(0o644)), tDir("d/e")), unpack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Skipped) > 0 {
		testneed.Missing(t, fmt.Sprint("file system without ACLs: ", res.Skipped))
	}
	if _, err := unix.Lgetxattr(filepath.Join(dir, "d"), "system.posix_acl_default", nil); err != nil {
		t.Errorf("default ACL of d: %v", err)
	}
	if _, err := unix.Lgetxattr(filepath.Join(dir, "d/e"), "system.posix_acl_default", nil); !errors.Is(err, unix.ENODATA) {
		t.Errorf("default ACL of d/e: %v, want none", err)
	}
	if st := lstat(t, filepath.Join(dir, "d/f")); st.Mode&0o7777 != 0o644 {
		t.Errorf("mode of d/f: %o", st.Mode&0o7777)
	}
}

func TestOwnersAndDevices(t *testing.T) {
	testneed.Root(t)
	archive := testtar.Tar(
		tDir("./", testtar.Owner(5, 6)), tDir("d", testtar.Owner(1, 2), tMode(0o2755)), tFile("d/f", "", testtar.Owner(3, 4)), tFile("d/r", ""),
		tSym("d/l", "x", testtar.Owner(70000, 4_000_000_000)), testtar.Block("b", 7, 300, testtar.Owner(8, 9), tMode(0o660)), testtar.Char("c", 4095, 0xfffff),
		tDir("d", testtar.Owner(0, 0)), tFile("d/q", ""),
	)
	eachWay(t, func(t *testing.T, o unpack.Options) {
		dir, _, err := apply(t, archive, o)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string][2]uint32{
			".": {5, 6}, "d": {0, 0}, "d/f": {3, 4}, "d/r": {0, 0}, "d/l": {70000, 4_000_000_000}, "b": {8, 9}, "c": {0, 0}, "d/q": {0, 0},
		} {
			if st := lstat(t, filepath.Join(dir, name)); st.Uid != want[0] || st.Gid != want[1] {
				t.Errorf("owner of %s: %d:%d, want %v", name, st.Uid, st.Gid, want)
			}
		}
		st := lstat(t, filepath.Join(dir, "b"))
		if st.Mode != unix.S_IFBLK|0o660 || unix.Major(st.Rdev) != 7 || unix.Minor(st.Rdev) != 300 {
			t.Errorf("block device: mode %o device %x", st.Mode, st.Rdev)
		}
		st = lstat(t, filepath.Join(dir, "c"))
		if unix.Major(st.Rdev) != 4095 || unix.Minor(st.Rdev) != 0xfffff {
			t.Errorf("character device: %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
	})
}

func TestOwnerOutOfRange(t *testing.T) {
	for _, id := range []string{"-1", "4294967295", "99999999999"} {
		_, _, err := apply(t, testtar.Tar(tFile("f", "", testtar.PAX("uid", id))), unpack.Options{Owners: unpack.Keep})
		if os.Geteuid() == 0 && !errors.Is(err, unix.EINVAL) {
			t.Errorf("uid %s: error %v, want EINVAL", id, err)
		}
		_, res, err := apply(t, testtar.Tar(tFile("f", "", testtar.PAX("uid", id))), unpack.Options{Owners: unpack.Squash})
		if err != nil || len(res.Skipped) != 1 || res.Skipped[0].Kind != unpack.SkipOwner {
			t.Errorf("uid %s squashed: error %v, skipped %v", id, err, res.Skipped)
		}
	}
}

// TestInheritance unpacks into a directory that passes on its group.
func TestInheritance(t *testing.T) {
	testneed.Root(t)
	dir := t.TempDir()
	if err := errors.Join(os.Chown(dir, 0, 42), os.Chmod(dir, 0o2777|os.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	_, err := applyTo(dir, testtar.Tar(tDir("d"), tFile("d/f", ""), tFile("g", ""), tFile("i/j", "")), unpack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"d", "d/f", "g", "i/j"} {
		st := lstat(t, filepath.Join(dir, name))
		if st.Gid != 0 || st.Mode&0o7000 != 0 {
			t.Errorf("%s: group %d mode %o", name, st.Gid, st.Mode&0o7777)
		}
	}
}

func TestSparse(t *testing.T) {
	const size = 64 << 20
	archive := testtar.Tar(
		testtar.Raw(testtar.Header(testtar.Fields{Type: 'x', Name: "x"}, []byte(testtar.Record("GNU.sparse.major", "1")+testtar.Record("GNU.sparse.minor", "0")+testtar.Record("GNU.sparse.realsize", fmt.Sprint(size))+testtar.Record("GNU.sparse.name", "holes")))),
		testtar.Raw(testtar.Header(testtar.Fields{Type: '0', Name: "f", Mode: "0000644"}, []byte("2\n4096\n3\n33554432\n4\n"+strings.Repeat("\x00", 512-20)+"abcdefg"))),
	)
	dir, res, err := apply(t, archive, unpack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	st := lstat(t, filepath.Join(dir, "holes"))
	if st.Size != size || st.Blocks*512 > 1<<20 {
		t.Errorf("size %d with %d bytes on disk, want %d with holes", st.Size, st.Blocks*512, size)
	}
	if res.Bytes != 7 {
		t.Errorf("bytes %d, want those that are not holes, 7", res.Bytes)
	}
	content, err := os.ReadFile(filepath.Join(dir, "holes"))
	if err != nil || string(content[4096:4099]) != "abc" || string(content[33554432:33554436]) != "defg" || bytes.Count(content, []byte{0}) != size-7 {
		t.Errorf("content of the sparse file is wrong, error %v", err)
	}
}

func TestLimits(t *testing.T) {
	var many, dangling, whiteouts entries
	for i := range 20 {
		many = append(many, tFile(fmt.Sprint("d/", i), "12345"))
		dangling = append(dangling, tLink(fmt.Sprint(i), "nowhere"))
		whiteouts = append(whiteouts, tWh(fmt.Sprint(i)), tWh(fmt.Sprint("w", i)))
	}
	tests := []struct {
		limit   string
		limits  unpack.Limits
		entries entries
	}{
		{"entries", unpack.Limits{Entries: 20}, many},
		{"bytes", unpack.Limits{Bytes: 99}, many},
		{"path-depth", unpack.Limits{PathDepth: 3}, entries{tFile("a/b/c/d", "")}},
		{"path-depth", unpack.Limits{PathDepth: 3}, entries{tDir("a/b"), tSym("l", "a/b"), tFile("l/c/d", "")}},
		{"header-size", unpack.Limits{HeaderSize: 100}, entries{tFile(strings.Repeat("n/", 120)+"n", "")}},
		{"memory", unpack.Limits{Memory: 4000}, entries{tFile("a/b/c/d/e/f/g/h/i/j/k", "")}},
		{"memory", unpack.Limits{Memory: 4000}, dangling},
		{"memory", unpack.Limits{Memory: 4000}, whiteouts},
		{"memory", unpack.Limits{Memory: 4 << 20}, entries{tFile(strings.Repeat(strings.Repeat("n", 250)+"/", 200)+"f", "")}},
		{"xattr-size", unpack.Limits{XattrSize: 100}, entries{tFile("f", "", tXattr("user.a", strings.Repeat("x", 95)))}},
	}
	for _, tt := range tests {
		_, _, err := apply(t, testtar.Tar(tt.entries...), unpack.Options{Limits: tt.limits})
		var limit *unpack.LimitError
		if !errors.As(err, &limit) || limit.Limit != tt.limit || limit.Got <= limit.Max {
			t.Errorf("%s: error %v, want that limit", tt.limit, err)
		}
		if _, _, err := apply(t, testtar.Tar(tt.entries...), unpack.Options{Limits: unpack.Limits{Entries: -1, Bytes: -1, HeaderSize: -1, PathDepth: -1, XattrSize: -1, Memory: -1}}); tt.limit != "header-size" && err != nil {
			t.Errorf("%s: error %v without limits", tt.limit, err)
		}
	}
	huge := testtar.Raw(testtar.Header(testtar.Fields{Type: '0', Name: "f", Size: "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff"}, nil))
	_, _, err := apply(t, testtar.Tar(huge), unpack.Options{})
	var limit *unpack.LimitError
	if !errors.As(err, &limit) || limit.Limit != "bytes" {
		t.Errorf("file that claims 9 EB: error %v, want the limit bytes", err)
	}
}

// TestVerdict tells that the reader's own error is what Apply returns, also
// when the archive is damaged as well.
func TestVerdict(t *testing.T) {
	verdict := errors.New("digest differs")
	good := testtar.Tar(tFile("a", "1234"))
	escape := testtar.Tar(tFile("../a", "1"))
	for name, archive := range map[string][]byte{
		"good": good, "damaged": append([]byte("x"), good...), "escaping": escape, "cut": good[:514], "with more": append(good, 1, 2, 3),
	} {
		f, err := os.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		_, err = unpack.Apply(context.Background(), f, io.MultiReader(bytes.NewReader(archive), failing{verdict}), unpack.Options{Owners: unpack.Squash})
		if !errors.Is(err, verdict) {
			t.Errorf("%s: error %v, want the reader's", name, err)
		}
		_ = f.Close()
	}
	_, _, err := apply(t, good[:514], unpack.Options{})
	var format *unpack.FormatError
	if !errors.As(err, &format) {
		t.Errorf("cut off: error %v, want a FormatError", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := unpack.Apply(ctx, f, bytes.NewReader(testtar.Tar(tFile("a", ""))), unpack.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
}

// TestDeep goes far beyond PATH_MAX and beyond the descriptors kept open.
func TestDeep(t *testing.T) {
	comp := strings.Repeat("c", 100)
	name := strings.Repeat(comp+"/", 200)
	archive := testtar.Tar(tDir(name[:len(name)-1]), tFile(name+"f", "deep"), tFile("top", ""), tFile(name+"g", "deep"), tLink("h", name+"f"), tWh(name+"w"))
	eachWay(t, func(t *testing.T, o unpack.Options) {
		dir, res, err := apply(t, archive, o)
		if err != nil {
			t.Fatal(err)
		}
		if res.Counts.Implicit != 199 {
			t.Errorf("%d implicit directories, want 199", res.Counts.Implicit)
		}
		if st := lstat(t, filepath.Join(dir, "h")); st.Nlink != 2 || st.Size != 4 {
			t.Errorf("hard link to a deep file: %d links, size %d", st.Nlink, st.Size)
		}
		// Replaced, it is gone as a whole.
		if _, err := applyTo(t.TempDir(), testtar.Tar(tFile(name+"f", ""), tFile(comp, "flat")), o); err != nil {
			t.Error(err)
		}
	})
}

// chunks hands out its own buffer, overwritten at each call.
type chunks struct {
	rest []byte
	size int
	buf  []byte
}

func (c *chunks) Read([]byte) (int, error) { return 0, errors.New("read instead of chunks") }

func (c *chunks) NextChunk() ([]byte, error) {
	if len(c.rest) == 0 {
		return nil, io.EOF
	}
	for i := range c.buf {
		c.buf[i] = 'X'
	}
	c.buf = append(c.buf[:0], c.rest[:min(c.size, len(c.rest))]...)
	c.rest = c.rest[len(c.buf):]
	return c.buf, nil
}

func TestChunks(t *testing.T) {
	archive := testtar.Tar(tDir("d"), tFile("d/f", strings.Repeat("0123456789", 300), testtar.PAX("SCHILY.xattr.user.x", "y")), tLink("l", "d/f"), tSym("s", "d"))
	want, _, err := apply(t, archive, unpack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 3, 511, 512, 513, 1024, 1 << 20} {
		f, err := os.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		o := unpack.Options{Owners: unpack.Squash}
		if _, err := unpack.Apply(context.Background(), f, &chunks{rest: archive, size: size}, o); err != nil {
			t.Errorf("chunks of %d: %v", size, err)
		}
		if got := strings.Join(tree(t, f.Name()), "\n"); got != strings.Join(tree(t, want), "\n") {
			t.Errorf("chunks of %d: other tree:\n%s", size, got)
		}
		_ = f.Close()
	}
}

// archiveOfOthers needs privilege in several ways.
func archiveOfOthers() []byte {
	return testtar.Tar(
		tFile("f", "1", testtar.Owner(33, 33), tMode(0o640)), tDir("d", testtar.Owner(33, 33), tMode(0o555)),
		tFile("d/g", "", tMode(0)), testtar.Char("null", 1, 3), tFile("c", "", testtar.Owner(os.Geteuid(), os.Getegid()), tXattr("trusted.x", "y")),
	)
}
