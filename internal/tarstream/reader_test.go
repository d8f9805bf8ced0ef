package tarstream_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/byhand/byhand/internal/tarstream"
	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/google/go-cmp/cmp"
)

// item is what both readers tell about an entry.
type item struct {
	Type           byte
	Name, Linkname string
	Mode, UID, GID int64
	Size           int64
	Sec, Nsec      int64
	Major, Minor   int64
	Xattrs         map[string]string
	Content        string
}

const maxContent = 1 << 20

// ours reads an archive with tarstream.
func ours(r io.Reader) (items []item, err error) {
	tr := tarstream.NewReader(r, tarstream.Options{})
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return items, nil
		}
		if err != nil {
			return items, err
		}
		it := item{
			h.Type, h.Name, h.Linkname, h.Mode, h.UID, h.GID, h.Size,
			h.ModTime.Sec, h.ModTime.Nsec, h.Major, h.Minor,
			map[string]string{},
			"",
		}
		for _, x := range h.Xattrs {
			it.Xattrs[x.Name] = x.Value
		}
		segs := append([]tarstream.Segment(nil), h.Sparse...)
		sparse := h.IsSparse
		var packed []byte
		for {
			p, err := tr.Data()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return items, err
			}
			packed = append(packed, p...)
		}
		it.Content = string(packed)
		if sparse && it.Size <= maxContent {
			full := make([]byte, it.Size)
			for _, s := range segs {
				packed = packed[copy(full[s.Offset:s.Offset+s.Length], packed):]
			}
			it.Content = string(full)
		}
		items = append(items, it)
	}
}

// theirs reads it with archive/tar. Global headers are left out, and so is
// the content of huge sparse files.
func theirs(r io.Reader) (items []item, err error) {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return items, nil
		}
		if err != nil {
			return items, err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		it := item{
			h.Typeflag, h.Name, h.Linkname, h.Mode, int64(h.Uid), int64(h.Gid), h.Size,
			h.ModTime.Unix(), int64(h.ModTime.Nanosecond()), h.Devmajor, h.Devminor,
			map[string]string{},
			"",
		}
		if it.Type == '7' || it.Type == 'S' {
			it.Type = '0'
		}
		for k, v := range h.PAXRecords {
			if name, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
				it.Xattrs[name] = v
			}
		}
		if h.Size <= maxContent {
			var out bytes.Buffer
			if _, err := io.Copy(&out, tr); err != nil {
				return items, err
			}
			it.Content = out.String()
		}
		items = append(items, it)
	}
}

func raw(f testtar.Fields, content string) testtar.Entry {
	return testtar.Raw(testtar.Header(f, []byte(content)))
}

func pax(records ...string) testtar.Entry {
	var b strings.Builder
	for i := 0; i < len(records); i += 2 {
		b.WriteString(testtar.Record(records[i], records[i+1]))
	}
	return raw(testtar.Fields{Type: 'x', Name: "pax"}, b.String())
}

func oldSparse(tail string) testtar.Fields {
	return testtar.Fields{Type: 'S', Name: "s", Magic: "ustar  \x00", Tail: []byte(tail)}
}

// oldTail is bytes 345 to 511 of an old GNU sparse header.
func oldTail(entries string, extended byte, realSize string) string {
	return strings.Repeat("\x00", 41) + entries + strings.Repeat("\x00", 96-len(entries)) + string(extended) + realSize
}

func octal(n ...int) string {
	var b strings.Builder
	for _, v := range n {
		fmt.Fprintf(&b, "%011o\x00", v)
	}
	return b.String()
}

// samples are archives in the forms that are hard to come by, and damaged
// ones. Whether they are good is archive/tar's decision.
func samples() map[string][]byte {
	file := raw(testtar.Fields{Type: '0', Name: "f"}, "content")
	star := strings.Repeat("p", 130) + "\x00" + octal(7, 8) + strings.Repeat("\x00", 8) + "tar\x00"
	base256 := "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05"
	ext := octal(1024, 2) + strings.Repeat("\x00", 512-24)
	tarOf := func(e ...testtar.Entry) []byte { return testtar.Tar(e...) }
	return map[string][]byte{
		"empty":               {},
		"trailer only":        make([]byte, 1024),
		"half a trailer":      make([]byte, 512),
		"no trailer":          testtar.Cut(file),
		"zeros then entry":    append(make([]byte, 512), tarOf(file)...),
		"cut in header":       testtar.Cut(file)[:300],
		"cut in content":      testtar.Cut(file)[:515],
		"cut in padding":      testtar.Cut(file)[:700],
		"v7":                  tarOf(raw(testtar.Fields{Name: "d/", Magic: "\x00", Major: "0000007", Prefix: "no"}, "")),
		"ustar prefix":        tarOf(raw(testtar.Fields{Type: '0', Name: "n", Prefix: "a/b"}, "x")),
		"star":                tarOf(raw(testtar.Fields{Type: '0', Name: "n", Tail: []byte(star)}, "x")),
		"GNU":                 tarOf(raw(testtar.Fields{Type: '0', Name: "n", Magic: "ustar  \x00", Tail: []byte(octal(7, 8))}, "x")),
		"GNU with prefix":     tarOf(raw(testtar.Fields{Type: '0', Name: "n", Magic: "ustar  \x00", Prefix: "some/prefix"}, "x")),
		"base-256":            tarOf(raw(testtar.Fields{Type: '0', Name: "n", Size: base256, UID: "\x80\x00\x00\x00\x7f\xff\xff\xff", ModTime: strings.Repeat("\xff", 12)}, "12345")),
		"base-256 overflow":   tarOf(raw(testtar.Fields{Type: '0', Name: "n", ModTime: "\x80\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"}, "")),
		"negative size":       tarOf(raw(testtar.Fields{Type: '0', Name: "n", Size: strings.Repeat("\xff", 12)}, "")),
		"bad size":            tarOf(raw(testtar.Fields{Type: '0', Name: "n", Size: "9"}, "")),
		"spaces in numbers":   tarOf(raw(testtar.Fields{Type: '0', Name: "n", Mode: "   644 ", Size: "          1 "}, "x")),
		"bad checksum":        tarOf(raw(testtar.Fields{Type: '0', Name: "n", BadSum: true}, "x")),
		"size on a directory": tarOf(raw(testtar.Fields{Type: '5', Name: "d", Size: "77"}, ""), file),
		"long name":           tarOf(raw(testtar.Fields{Type: 'L', Name: "L", Magic: "ustar  \x00"}, "long\x00junk"), file),
		"long link":           tarOf(raw(testtar.Fields{Type: 'K', Name: "L", Magic: "ustar  \x00"}, "long"), raw(testtar.Fields{Type: '2', Name: "l"}, "")),
		"long name and path":  tarOf(raw(testtar.Fields{Type: 'L', Name: "L"}, "gnu"), pax("path", "pax"), file),
		"global drops":        tarOf(pax("path", "pax"), raw(testtar.Fields{Type: 'g', Name: "g"}, testtar.Record("mtime", "5")), file),
		"pax all":             tarOf(pax("path", "p", "linkpath", "l", "uid", "70000", "gid", "3000000000", "size", "7", "mtime", "-1.5", "atime", "1.000000001", "ctime", "2", "SCHILY.xattr.user.a", "b\x00c"), file),
		"pax taken back":      tarOf(pax("path", "p", "path", "", "mtime", ""), file),
		"pax twice":           tarOf(pax("path", "p"), pax("mtime", "3"), file),
		"pax NUL":             tarOf(pax("path", "p\x00q"), file),
		"pax bad time":        tarOf(pax("mtime", "1.x"), file),
		"pax bad uid":         tarOf(pax("uid", "1x"), file),
		"pax bad record":      tarOf(raw(testtar.Fields{Type: 'x', Name: "x"}, "99 path=a\n"), file),
		"pax negative size":   tarOf(pax("size", "-1"), file),
		"pax huge size":       tarOf(pax("size", fmt.Sprint(int64(math.MaxInt64))), file),
		"pax cut":             testtar.Cut(pax("path", "p")),
		"old sparse":          tarOf(raw(oldSparse(oldTail(octal(0, 2, 512, 3), 0, octal(1000))), "abcde")),
		"old sparse extended": tarOf(testtar.Raw(append(testtar.Header(with(oldSparse(oldTail(octal(0, 2), 1, octal(2000))), octal(4)), nil), append([]byte(ext), append([]byte("abcd"), make([]byte, 508)...)...)...))),
		"old sparse no GNU":   tarOf(raw(testtar.Fields{Type: 'S', Name: "s"}, "")),
		"old sparse overlap":  tarOf(raw(oldSparse(oldTail(octal(0, 3, 2, 2), 0, octal(1000))), "abcde")),
		"sparse 0.0":          tarOf(pax("GNU.sparse.size", "100", "GNU.sparse.numblocks", "2", "GNU.sparse.offset", "0", "GNU.sparse.numbytes", "3", "GNU.sparse.offset", "90", "GNU.sparse.numbytes", "4"), file),
		"sparse 0.1":          tarOf(pax("GNU.sparse.size", "100", "GNU.sparse.numblocks", "2", "GNU.sparse.map", "0,3,90,4", "GNU.sparse.name", "real"), file),
		"sparse 0.1 short":    tarOf(pax("GNU.sparse.size", "100", "GNU.sparse.numblocks", "2", "GNU.sparse.map", "0,3,90,3"), file),
		"sparse 0.1 bad":      tarOf(pax("GNU.sparse.size", "100", "GNU.sparse.numblocks", "3", "GNU.sparse.map", "0,3,90,4"), file),
		"sparse NUL in name":  tarOf(pax("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.realsize", "100", "GNU.sparse.name", "re\x00al"), raw(testtar.Fields{Type: '0', Name: "f"}, "1\n90\n4\n"+strings.Repeat("\x00", 504)+"abcd")),
		"sparse 1.0":          tarOf(pax("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.realsize", "100", "GNU.sparse.name", "real"), raw(testtar.Fields{Type: '0', Name: "f"}, "1\n90\n4\n"+strings.Repeat("\x00", 504)+"abcd")),
		"sparse 1.0 no map":   tarOf(pax("GNU.sparse.major", "1", "GNU.sparse.minor", "0", "GNU.sparse.realsize", "100"), file),
		"sparse 2.0":          tarOf(pax("GNU.sparse.major", "2", "GNU.sparse.minor", "0", "GNU.sparse.realsize", "100"), file),
		"star bad ctime":      tarOf(raw(testtar.Fields{Type: '0', Name: "n", Tail: []byte(star[:143] + "9" + star[144:])}, "x")),
		"GNU prefix tail":     tarOf(raw(testtar.Fields{Type: '0', Name: "n", Magic: "ustar  \x00", Prefix: "some/prefix\x00\xff"}, "x")),
		"negative then pax":   tarOf(pax("size", "7"), raw(testtar.Fields{Type: '0', Name: "n", Size: strings.Repeat("\xff", 12)}, "")),
		"pax plus length":     tarOf(raw(testtar.Fields{Type: 'x', Name: "x"}, "+11 path=a\n"), file),
		"pax long length":     tarOf(raw(testtar.Fields{Type: 'x', Name: "x"}, strings.Repeat("0", 30)+"40 path=a\n"), file),
		"pax minus length":    tarOf(raw(testtar.Fields{Type: 'x', Name: "x"}, "-10 path=a\n"), file),
		"pax earliest time":   tarOf(pax("mtime", fmt.Sprint(math.MinInt64)+".5"), file),
		"old sparse huge":     tarOf(raw(oldSparse(oldTail(octal(0, 2, 512, 2), 0, octal(1<<21))), "abcde")),
		"sparse 0.1 huge":     tarOf(pax("GNU.sparse.size", "100000000", "GNU.sparse.numblocks", "2", "GNU.sparse.map", "0,3,90,3"), file),
		"garbage":             bytes.Repeat([]byte("x"), 2000),
	}
}

func with(f testtar.Fields, size string) testtar.Fields {
	f.Size = size
	return f
}

func TestAgainstArchiveTar(t *testing.T) {
	for name, archive := range samples() {
		t.Run(name, func(t *testing.T) {
			compareReaders(t, archive)
			whole, _ := ours(bytes.NewReader(archive))
			pieces, _ := ours(iotest.OneByteReader(bytes.NewReader(archive)))
			if d := cmp.Diff(whole, pieces); d != "" {
				t.Errorf("read byte by byte (-whole +pieces):\n%s", d)
			}
		})
	}
}

// compareReaders demands that whatever archive/tar accepts reads the same
// here, and that what it refuses is refused. A NUL within a name is refused in
// any case: archive/tar lets it through in GNU.sparse.name, and to GNU tar it
// is the name's end. That a sparse map and the content differ in length is
// found out without reading the content, and archive/tar finds it by reading,
// which a huge file is spared here.
func compareReaders(t *testing.T, archive []byte) {
	t.Helper()
	want, wantErr := theirs(bytes.NewReader(archive))
	got, err := ours(bytes.NewReader(archive))
	var format *tarstream.FormatError
	for i := range want {
		if want[i].Size > maxContent && i < len(got) {
			got[i].Content = ""
		}
	}
	if wantErr == nil && slices.ContainsFunc(want, func(it item) bool { return strings.Contains(it.Name, "\x00") }) {
		if err == nil {
			t.Error("no error for a name with NUL in it")
		}
		return
	}
	if wantErr == nil {
		if errors.As(err, &format) && format.Reason == "sparse map and content differ in length" && unread(want) {
			return
		}
		if err != nil {
			t.Fatalf("error %v, where archive/tar has none", err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("entries (-archive/tar +tarstream):\n%s", d)
		}
		return
	}
	if err == nil {
		t.Errorf("no error, where archive/tar has %v", wantErr)
	}
}

// unread says whether theirs left out the content of a file.
func unread(items []item) bool {
	return slices.ContainsFunc(items, func(it item) bool { return it.Size > maxContent })
}

func TestErrors(t *testing.T) {
	_, err := ours(bytes.NewReader(samples()["cut in content"]))
	var format *tarstream.FormatError
	if !errors.As(err, &format) || format.Offset != 515 {
		t.Errorf("cut off content: error %v, want a FormatError at 515", err)
	}
	big := raw(testtar.Fields{Type: 'x', Name: "x", Size: "00100000001"}, "")
	_, err = ours(bytes.NewReader(testtar.Tar(big)))
	var limit *tarstream.LimitError
	if !errors.As(err, &limit) || limit.Limit != "header-size" {
		t.Errorf("PAX header of 16 MiB: error %v, want a LimitError for header-size", err)
	}
	boom := errors.New("boom")
	_, err = ours(io.MultiReader(bytes.NewReader(samples()["old sparse"][:520]), iotest.ErrReader(boom)))
	if !errors.Is(err, boom) {
		t.Errorf("error of the stream: %v, want boom", err)
	}
}

// TestMeta tells that what Meta and Data give is the whole stream.
func TestMeta(t *testing.T) {
	for name, archive := range samples() {
		t.Run(name, func(t *testing.T) {
			var out []byte
			tr := tarstream.NewReader(bytes.NewReader(archive), tarstream.Options{
				Meta: func(p []byte) error { out = append(out, p...); return nil },
			})
			for i := 0; ; i++ {
				if _, err := tr.Next(); err != nil {
					break
				}
				if i%2 == 1 {
					continue // not asked for: goes to Meta
				}
				for {
					p, err := tr.Data()
					if err != nil {
						break
					}
					out = append(out, p...)
				}
			}
			if err := tr.Drain(); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out, archive) {
				t.Errorf("got %d bytes back, not the %d of the archive", len(out), len(archive))
			}
			if tr.Offset() != int64(len(archive)) {
				t.Errorf("offset %d, want %d", tr.Offset(), len(archive))
			}
		})
	}
}

// TestGNUTar reads what GNU tar writes in each of its formats.
func TestGNUTar(t *testing.T) {
	testneed.Tool(t, "tar")
	dir := t.TempDir()
	long := filepath.Join(dir, strings.Repeat("d", 120), strings.Repeat("e", 120))
	if err := os.MkdirAll(long, 0o755); err != nil {
		t.Fatal(err)
	}
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(40) { // more segments than a header block holds
		if _, err := sparse.WriteAt(fmt.Append(nil, "piece ", i), i*20000); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(sparse.Truncate(1000000), sparse.Close(),
		os.WriteFile(filepath.Join(long, "f"), []byte("content"), 0o640),
		os.Symlink(strings.Repeat("t/", 100), filepath.Join(dir, "l"))); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{
		"--format=v7 --exclude=ddd*", "--format=ustar --exclude=l --exclude=ddd*", "--format=gnu -S", "--format=oldgnu -S", "--format=posix -S",
		"--format=posix -S --sparse-version=0.0", "--format=posix -S --sparse-version=0.1", "--format=posix -S --sparse-version=1.0",
	} {
		t.Run(args, func(t *testing.T) {
			archive, err := exec.CommandContext(t.Context(), "tar", append(strings.Fields(args), "-C", dir, "-cf", "-", ".")...).Output()
			if err != nil && !strings.Contains(args, "v7") { // which has no room for the link
				t.Fatal(err)
			}
			compareReaders(t, archive)
			items, err := ours(bytes.NewReader(archive))
			if err != nil || len(items) < 2 {
				t.Fatalf("%d entries, error %v", len(items), err)
			}
			for _, it := range items {
				if strings.HasSuffix(it.Name, "sparse") && (it.Size != 1000000 || !strings.Contains(it.Content[780000:], "piece 39")) {
					t.Errorf("sparse file %q has size %d", it.Name, it.Size)
				}
			}
		})
	}
}

func FuzzReader(f *testing.F) {
	for _, archive := range samples() {
		f.Add(archive)
	}
	f.Fuzz(func(t *testing.T, archive []byte) {
		if len(archive) > 64<<10 {
			return // long archives find nothing that short ones do not
		}
		compareReaders(t, archive)
	})
}

// TestManyXattrs reads a header of many attributes in a time that grows with
// their number, not with its square: these would take a minute.
func TestManyXattrs(t *testing.T) {
	const n = 150_000
	var records []testtar.Option
	for i := range n {
		records = append(records, testtar.Xattr(fmt.Sprint("user.", i), "v"))
	}
	records = append(records, testtar.Xattr("user.7", "last"), testtar.Xattr("user.149999", "last"))
	archive := testtar.Tar(testtar.File("f", "", records...))
	begun := testneed.CPUTime(t)
	h, err := tarstream.NewReader(bytes.NewReader(archive), tarstream.Options{HeaderSize: 16 << 20}).Next()
	if err != nil {
		t.Fatal(err)
	}
	if took := testneed.CPUTime(t) - begun; took > 10*time.Second {
		t.Errorf("reading took %v", took)
	}
	got := make(map[string]string)
	for _, x := range h.Xattrs {
		got[x.Name] = x.Value
	}
	if len(h.Xattrs) != n || len(got) != n || got["user.7"] != "last" || got["user.149999"] != "last" || got["user.8"] != "v" {
		t.Errorf("%d attributes, want %d, of equal names the last", len(h.Xattrs), n)
	}
}

// TestGlobal tells archives whose global header means nothing to anybody from
// those that are other archives to programs that obey it.
func TestGlobal(t *testing.T) {
	global := func(records ...string) testtar.Entry {
		return testtar.Raw(testtar.Header(testtar.Fields{Type: 'g', Name: "g"}, []byte(strings.Join(records, ""))))
	}
	file := testtar.File("f", "x")
	for name, test := range map[string]struct {
		archive []byte
		want    bool
	}{
		"none":      {testtar.Tar(file), false},
		"comment":   {testtar.Tar(global(testtar.Record("comment", "of git archive")), file), false},
		"time":      {testtar.Tar(file, global(testtar.Record("comment", "x"), testtar.Record("mtime", "1"))), true},
		"attribute": {testtar.Tar(global(testtar.Record("SCHILY.xattr.user.a", "1")), file), true},
	} {
		r := tarstream.NewReader(bytes.NewReader(test.archive), tarstream.Options{})
		var err error
		for err == nil {
			_, err = r.Next()
		}
		if got := r.Ambiguous(); got != test.want || !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v, expected %v: %v", name, got, test.want, err)
		}
	}
}

// BenchmarkNext reads entries of small files, with the PAX record that GNU tar
// writes for each in its posix format.
func BenchmarkNext(b *testing.B) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	const entries = 1000
	for i := range entries {
		h := &tar.Header{Name: fmt.Sprintf("usr/share/some/place/file-%d", i), Mode: 0o644, Size: 100, ModTime: time.Unix(1, 5), Format: tar.FormatPAX}
		if err := w.WriteHeader(h); err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(make([]byte, 100)); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r := tarstream.NewReader(bytes.NewReader(archive.Bytes()), tarstream.Options{HeaderSize: 1 << 20})
		n := 0
		for ; ; n++ {
			if _, err := r.Next(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
		if n != entries {
			b.Fatalf("%d entries", n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/entries, "ns/entry")
}
