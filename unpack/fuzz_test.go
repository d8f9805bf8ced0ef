package unpack_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/unpack"
	"golang.org/x/sys/unix"
)

var fuzzLimits = unpack.Limits{Entries: 2000, Bytes: 1 << 20, PathDepth: 200}

// fuzzApply unpacks an archive below a canary both ways and demands that
// nothing outside changes, that errors are of the promised types, that both
// ways agree, and that little memory is used.
func fuzzApply(t *testing.T, c canary, root string, archive []byte) {
	t.Helper()
	var outcome [2]string
	for i := range outcome {
		dir := root
		if i == 1 {
			openUp(dir)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			restoreTimes(t, c)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var record bytes.Buffer
		res, err := applyTo(dir, archive, unpack.Options{Limits: fuzzLimits, NoOpenat2: i == 1, Owners: unpack.Squash, Record: &record})
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20+64*uint64(len(archive)) {
			t.Errorf("%d bytes allocated for an archive of %d", used, len(archive))
		}
		c.check(t)
		var entry *unpack.EntryError
		var format *unpack.FormatError
		var limit *unpack.LimitError
		if err != nil && !errors.As(err, &entry) && !errors.As(err, &format) && !errors.As(err, &limit) {
			t.Errorf("error of type %T: %v", err, err)
		}
		outcome[i] = fmt.Sprint(err, res.Counts, res.Pending)
		if err == nil {
			checkLinks(t, dir, res)
			if again, err := rebuild(t, dir, record.Bytes()); err != nil || !bytes.Equal(again, archive) {
				t.Errorf("rebuilt %d bytes of %d, error %v", len(again), len(archive), err)
			}
		}
	}
	if outcome[0] != outcome[1] {
		t.Errorf("with openat2 %s\nwithout %s", outcome[0], outcome[1])
	}
}

// restoreTimes takes back what making the root anew did to its parent.
func restoreTimes(t *testing.T, c canary) {
	t.Helper()
	before := c.before["up"].ModTime
	if err := os.Chtimes(filepath.Join(c.base, "up"), before, before); err != nil {
		t.Fatal(err)
	}
}

// checkLinks demands that pending names are in the directory or free, and
// resolved.
func checkLinks(t *testing.T, dir string, res unpack.Result) {
	t.Helper()
	for _, name := range res.Pending.ImplicitDirs {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || !info.IsDir() {
			t.Errorf("implicit %q: %v", name, err)
		}
	}
	for _, link := range res.Pending.HardLinks {
		if path.Clean(link.Name) != link.Name || path.IsAbs(link.Name) {
			t.Errorf("pending name %q is not clean", link.Name)
		}
		if _, err := os.Lstat(filepath.Join(dir, link.Name)); err == nil {
			t.Errorf("pending %q exists", link.Name)
		}
	}
	for _, name := range res.Pending.Whiteouts {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, name), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != 0 {
			t.Errorf("whiteout %q: mode %o, error %v", name, st.Mode, err)
		}
	}
}

// FuzzEntries makes an archive of the bytes, four for an entry: what it is,
// and two names each of three components, so that few names meet often.
func FuzzEntries(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3})
	f.Add([]byte{2, 1, 0x70, 0, 0, 0x11, 1, 1, 4, 0x21, 0x11, 2, 5, 1, 0, 0})
	f.Add([]byte("the quick brown fox jumps over the lazy dog, and back again."))
	f.Fuzz(func(t *testing.T, program []byte) {
		c, root := newCanary(t)
		comps := [16]string{"a", "b", "c", "d", ".", "..", "", ".wh.a", ".wh.b", ".wh..wh..opq", ".wh..wh.plnk", "up", "out", "x", ".wh.", c.base}
		name := func(b, more byte) string {
			return strings.Join([]string{comps[b&15], comps[b>>4], comps[more&15]}[:1+more>>6%3], "/")
		}
		var list entries
		for ; len(program) >= 4 && len(list) < 100; program = program[4:] {
			n, l := name(program[1], program[3]), name(program[2], program[3]<<2)
			switch program[0] % 8 {
			case 0, 1:
				list = append(list, tDir(n))
			case 2:
				list = append(list, tSym(n, l))
			case 3:
				list = append(list, tLink(n, l))
			case 4:
				list = append(list, testtar.Fifo(n))
			case 5:
				list = append(list, tWh(n))
			case 6:
				list = append(list, tOpq(n))
			case 7:
				list = append(list, tFile(n, "evil"))
			}
		}
		fuzzApply(t, c, root, testtar.Tar(list...))
	})
}

// FuzzApply takes any bytes for an archive; header checksums are put right,
// as they would keep out nearly all.
func FuzzApply(f *testing.F) {
	f.Add(testtar.Cut(tDir("d"), tFile("d/f", "1", tXattr("user.a", "b")), tLink("l", "d/f"), tSym("s", "d"), tWh("d/x"), tOpq("d")))
	f.Add(testtar.Cut(testtar.Raw(testtar.Header(testtar.Fields{Type: 'L', Name: "L"}, []byte("long"))), tFile("f", "1"), testtar.Char("c", 1, 3)))
	f.Add(testtar.Cut(tFile("f", "12", testtar.PAX("GNU.sparse.size", "100"), testtar.PAX("GNU.sparse.numblocks", "1"), testtar.PAX("GNU.sparse.map", "9,2"))))
	f.Fuzz(func(t *testing.T, archive []byte) {
		if len(archive) > 32<<10 {
			return // long archives find nothing that short ones do not
		}
		archive = append([]byte(nil), archive...)
		for b := archive; len(b) >= 512; b = b[512:] {
			if string(b[257:262]) == "ustar" {
				sum := 8 * int(' ')
				for i, v := range b[:512] {
					if i < 148 || i >= 156 {
						sum += int(v)
					}
				}
				copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
			}
		}
		c, root := newCanary(t)
		fuzzApply(t, c, root, archive)
	})
}

// FuzzWhiteoutName demands of any name what a few lines of string work say.
func FuzzWhiteoutName(f *testing.F) {
	for _, name := range []string{"a", ".wh.a", "d/.wh.a", ".wh..", ".wh...", ".wh.", ".wh..wh..opq", "d/.wh..wh.foo", "../.wh.a", ".wh..wh.plnk/x", "a/.wh.b/c"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if strings.ContainsRune(name, 0) || len(name) > 300 || name == "" {
			return // no name that an archive can hold, or too long a one
		}
		c, root := newCanary(t)
		_, err := applyTo(root, testtar.Tar(tFile(name, "")), unpack.Options{})
		c.check(t)
		clean := path.Clean(name)
		if !path.IsAbs(clean) && (clean == ".." || strings.HasPrefix(clean, "../")) {
			if !errors.Is(err, unpack.ErrEscape) {
				t.Errorf("error %v, want ErrEscape", err)
			}
			return
		}
		clean = strings.TrimPrefix(clean, "/")
		dir, base := path.Split(clean)
		hidden, isWhiteout := strings.CutPrefix(base, ".wh.")
		switch {
		case strings.Contains("/"+clean, "/.wh..wh."): // markers and leftovers
		case clean == "" || clean == ".", isWhiteout && (hidden == "" || hidden == "." || hidden == ".."):
			if !errors.Is(err, unpack.ErrHostile) {
				t.Errorf("error %v, want ErrHostile", err)
			}
		case err != nil:
			if !errors.Is(err, unix.ENAMETOOLONG) {
				t.Errorf("error %v", err)
			}
		default:
			st := lstat(t, filepath.Join(root, dir, hidden))
			if (st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0) != isWhiteout {
				t.Errorf("mode %o, whiteout %v", st.Mode, isWhiteout)
			}
		}
	})
}

// FuzzXattr demands that an attribute is kept as it is or reported, and that
// overlayfs gets none.
func FuzzXattr(f *testing.F) {
	f.Add("user.a", "b")
	f.Add("trusted.overlay.opaque", "y")
	f.Add("user.overlay.whiteout", "")
	f.Add("security.capability", "\x01\x00\x00\x02")
	f.Add("security.capability", "\x01\x00\x00\x02"+strings.Repeat("\x01\x00\x00\x00", 4))
	f.Add("security.capability", "\x01\x00\x00\x03"+strings.Repeat("\x01\x00\x00\x00", 5))
	f.Add("security.capability", "\x01\x00\x00\x03"+strings.Repeat("\x01\x00\x00\x00", 4)+"\x00\x00\x00\x00")
	f.Add("system.posix_acl_access", "\x02\x00\x00\x00")
	f.Fuzz(func(t *testing.T, attr, value string) {
		if strings.ContainsAny(attr, "=\x00") || attr == "" || value == "" || len(attr)+len(value) > 2000 {
			return // no record that an archive can hold, or one that is taken back
		}
		dir, res, err := apply(t, testtar.Tar(tFile("f", "", tXattr(attr, value))), unpack.Options{})
		if err != nil {
			if !errors.Is(err, unix.ERANGE) && !errors.Is(err, unix.E2BIG) && !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
			return
		}
		got := make([]byte, 4000)
		n, err := unix.Lgetxattr(filepath.Join(dir, "f"), attr, got)
		isXattr := func(k unpack.Skip) bool { return k.Kind == unpack.SkipXattr || k.Kind == unpack.SkipOverlayXattr }
		if slices.ContainsFunc(res.Skipped, isXattr) { // an ordinary user's owners are skipped, too
			if err == nil {
				t.Errorf("%q is there, though reported as %v", attr, res.Skipped)
			}
			return
		}
		if strings.HasPrefix(attr, "trusted.overlay.") || strings.HasPrefix(attr, "user.overlay.") {
			t.Errorf("%q was set", attr)
		}
		ownForm := strings.HasPrefix(attr, "system.") || // the kernel keeps these in its own form
			attr == "security.capability" && len(value) == 24 && strings.HasSuffix(value, "\x00\x00\x00\x00") // of ID 0: given back as version 2
		if !ownForm && (err != nil || string(got[:n]) != value) {
			t.Errorf("%q is %q, error %v, want %q", attr, got[:max(n, 0)], err, value)
		}
	})
}

// FuzzRebuild takes any bytes for a record.
func FuzzRebuild(f *testing.F) {
	for _, archive := range [][]byte{testtar.Cut(tFile("f", "1"), tFile("f", "2")), testtar.Cut(tDir("d"), tFile("d/f", "content"))} {
		var record bytes.Buffer
		if _, err := applyTo(f.TempDir(), archive, unpack.Options{Record: &record}); err != nil {
			f.Fatal(err)
		}
		f.Add(record.Bytes())
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte("2"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := rebuildTo(t, limited{new(bytes.Buffer), 16 << 20}, dir, record)
		var damaged *unpack.RecordError
		var entry *unpack.EntryError
		if err != nil && !errors.As(err, &damaged) && !errors.As(err, &entry) && !errors.Is(err, errEnough) {
			t.Errorf("error of type %T: %v", err, err)
		}
	})
}
