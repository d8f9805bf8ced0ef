package unpack_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/unpack"
)

func rebuild(t testing.TB, dir string, record []byte) ([]byte, error) {
	t.Helper()
	var out bytes.Buffer
	err := rebuildTo(t, &out, dir, record)
	return out.Bytes(), err
}

func rebuildTo(t testing.TB, out io.Writer, dir string, record []byte) error {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(record)), nil }
	return unpack.Rebuild(context.Background(), f, open, out, unpack.RebuildOptions{})
}

// TestRebuild demands the very bytes of archives in which much is not to be
// found in the directory any more.
func TestRebuild(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 20000)
	for name, archive := range map[string][]byte{
		"empty":              {},
		"no trailer":         testtar.Cut(tFile("f", "1")),
		"plain":              testtar.Tar(tDir("d"), tFile("d/f", big), tFile("e", ""), tSym("l", "x"), tLink("h", "d/f"), tWh("w"), tOpq("d")),
		"more":               append(testtar.Tar(tFile("f", "1")), "garbage"...),
		"file replaced":      testtar.Tar(tFile("f", "1"), tFile("f", "22"), tFile("f", big), tFile("g", "4"), tFile("f", "")),
		"by other types":     testtar.Tar(tFile("f", "1"), tDir("f"), tFile("f/g", big), tFile("f/h", "h"), tSym("f", "x"), tFile("f", "last")),
		"by hard link":       testtar.Tar(tFile("f", "1"), tFile("g", "2"), tLink("g", "f"), tFile("f", "3"), tLink("g", "nowhere")),
		"pending link":       testtar.Tar(tFile("g/h", "2"), tLink("g", "nowhere")),
		"through links":      testtar.Tar(tSym("l", "d/e"), tFile("l/f", "1"), tFile("l/f", "2"), tFile("d/e/g", "3")),
		"AUFS":               testtar.Tar(tFile(".wh..wh.aufs", "skipped"), tFile(".wh..wh.plnk/1", "linked"), tLink("f", ".wh..wh.plnk/1"), tFile(".wh..wh.plnk/2", "lost")),
		"content on a label": testtar.Tar(testtar.Raw(testtar.Header(testtar.Fields{Type: 'N', Name: "n"}, []byte("names"))), tFile("f", "1")),
		"sparse":             testtar.Tar(tFile("f", "abcde", testtar.PAX("GNU.sparse.size", "100000"), testtar.PAX("GNU.sparse.numblocks", "3"), testtar.PAX("GNU.sparse.map", "0,0,10,2,99000,3")), tFile("g", "1")),
		"sparse replaced":    testtar.Tar(tFile("f", "abcde", testtar.PAX("GNU.sparse.size", "100000"), testtar.PAX("GNU.sparse.numblocks", "2"), testtar.PAX("GNU.sparse.map", "10,2,99000,3")), tFile("f", "1")),
		"no permission":      testtar.Tar(tFile("f", "1", tMode(0)), tFile("f", "2")),
	} {
		t.Run(name, func(t *testing.T) {
			var record bytes.Buffer
			dir, _, err := apply(t, archive, unpack.Options{Record: &record})
			if err != nil {
				t.Fatal(err)
			}
			got, err := rebuild(t, dir, record.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, archive) {
				t.Errorf("%d bytes rebuilt are not the %d of the archive", len(got), len(archive))
			}
			for _, n := range []int{0, 5, record.Len() - 1} {
				var damaged *unpack.RecordError
				if _, err := rebuild(t, dir, record.Bytes()[:n]); !errors.As(err, &damaged) {
					t.Errorf("record cut to %d bytes: error %v, want a RecordError", n, err)
				}
			}
		})
	}
}

func TestRebuildChanged(t *testing.T) {
	var record bytes.Buffer
	archive := testtar.Tar(tFile("d/f", "content"), tFile("g", "1"))
	dir, _, err := apply(t, archive, unpack.Options{Record: &record})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "d/f")
	for _, tt := range []struct {
		what   string
		change func() error
		want   string
	}{
		{"flipped byte", func() error { return os.WriteFile(name, []byte("cOntent"), 0o644) }, ""},
		{"longer", func() error { return os.WriteFile(name, []byte("content and more"), 0o644) }, "7 bytes expected, found 16"},
		{"shorter", func() error { return os.Truncate(name, 3) }, "7 bytes expected, found 3"},
		{"link", func() error { return errors.Join(os.Remove(name), os.Symlink("../g", name)) }, "too many levels"},
		{"missing", func() error { return os.Remove(name) }, "no such file"},
	} {
		if err := tt.change(); err != nil {
			t.Fatal(err)
		}
		got, err := rebuild(t, dir, record.Bytes())
		var ee *unpack.EntryError
		switch {
		case tt.want == "" && (err != nil || bytes.Equal(got, archive) || len(got) != len(archive)):
			t.Errorf("%s: error %v, %d bytes", tt.what, err, len(got))
		case tt.want != "" && (!errors.As(err, &ee) || ee.Name != "d/f" || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: error %v, want one of d/f with %q", tt.what, err, tt.want)
		}
	}
}

// TestRecordLinks: files of many names that make way for others are kept once,
// so that a small layer cannot fill the disk with its record, and still give the
// same archive again.
func TestRecordLinks(t *testing.T) {
	content := strings.Repeat(rand.Text(), 1000) // 26 KB
	other := strings.Repeat(rand.Text(), 1000)
	again := []testtar.Entry{tFile("f", content)}
	for range 100 {
		again = append(again, tLink("b", "f"), tFile("b", ""))
	}
	for name, tt := range map[string]struct {
		archive  []testtar.Entry
		contents int // that have to be kept
	}{
		"one name again and again": {again, 1},
		"the first name too":       {append(slices.Clone(again), tFile("f", other), tFile("f", "")), 2},
		"all names":                {[]testtar.Entry{tFile("f", content), tLink("g", "f"), tLink("h", "f"), tFile("g", "1"), tFile("f", "2"), tFile("h", "3")}, 1},
		"a directory of names":     {[]testtar.Entry{tFile("d/f", content), tLink("d/g", "d/f"), tLink("h", "d/f"), tFile("d", "1"), tFile("h", "2")}, 1},
		"two files":                {[]testtar.Entry{tFile("f", content), tFile("g", other), tLink("h", "f"), tLink("i", "g"), tFile("h", ""), tFile("i", ""), tFile("g", ""), tFile("f", "")}, 2},
		"a number used again":      {[]testtar.Entry{tFile("f", content), tLink("g", "f"), tFile("f", ""), tFile("g", ""), tFile("h", other), tLink("i", "h"), tFile("h", ""), tFile("i", "")}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			archive := testtar.Tar(tt.archive...)
			var record bytes.Buffer
			dir, _, err := apply(t, archive, unpack.Options{Record: &record})
			if err != nil {
				t.Fatal(err)
			}
			headers := len(archive) - strings.Count(string(archive), content)*len(content)
			if most := headers + tt.contents*len(content) + 1000; record.Len() > most {
				t.Errorf("record of %d bytes, want %d at most", record.Len(), most)
			}
			got, err := rebuild(t, dir, record.Bytes())
			if err != nil || !bytes.Equal(got, archive) {
				t.Errorf("rebuilt %d bytes of %d, error %v", len(got), len(archive), err)
			}
		})
	}
}

// TestRecordLimit: what is kept of replaced files, holes included, has a limit,
// for a hole of terabytes costs a layer some bytes.
func TestRecordLimit(t *testing.T) {
	sparse := func(size string) testtar.Entry {
		return tFile("f", "", testtar.PAX("GNU.sparse.major", "0"), testtar.PAX("GNU.sparse.minor", "1"),
			testtar.PAX("GNU.sparse.numblocks", "0"), testtar.PAX("GNU.sparse.map", ""), testtar.PAX("GNU.sparse.size", size))
	}
	var record bytes.Buffer
	o := unpack.Options{Record: &record, Limits: unpack.Limits{Bytes: 1 << 20}}
	if _, _, err := apply(t, testtar.Tar(sparse("1048576"), tFile("f", "")), o); err != nil {
		t.Errorf("as much as allowed: %v", err)
	}
	_, _, err := apply(t, testtar.Tar(sparse("4398046511104"), tFile("f", "")), o)
	var limit *unpack.LimitError
	if !errors.As(err, &limit) || limit.Limit != "bytes" || limit.Max != 1<<20 || limit.Got != 4<<40 {
		t.Errorf("error %v, want the limit bytes", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	settled := unpack.NewSettleRecord(ctx, &record, unpack.Limits{})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if err := settled.Deleting(int(d.Fd()), "f", "f"); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// TestRecordSize tells what a record of a part of this system costs.
func TestRecordSize(t *testing.T) {
	testneed.Tool(t, "tar")
	archive, err := exec.CommandContext(t.Context(), "tar", "-C", "/", "-cf", "-", "usr/share/doc", "etc/alternatives").Output()
	if err != nil || len(archive) < 1<<20 {
		testneed.Missing(t, "no documentation is installed to make an archive of")
	}
	var record, packed bytes.Buffer
	dir, res, err := apply(t, archive, unpack.Options{Record: &record, Owners: unpack.Squash})
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(record.Bytes())
	_ = z.Close()
	t.Logf("%d entries, tar %d bytes, record %d, gzip %d", res.Counts.Entries, len(archive), record.Len(), packed.Len())
	if packed.Len() > len(archive)/20 {
		t.Errorf("record takes %d bytes compressed, the archive %d", packed.Len(), len(archive))
	}
	got, err := rebuild(t, dir, record.Bytes())
	if err != nil || !bytes.Equal(got, archive) {
		t.Errorf("rebuilt %d bytes, error %v", len(got), err)
	}
}

// FuzzRecord reads damaged and foreign records. The directory must not be left
// and nothing be written to it; what cannot be read is an error.
func FuzzRecord(f *testing.F) {
	archive := testtar.Tar(tDir("d"), tFile("d/f", "content"), tFile("d/f", "again"), tLink("h", "d/f"))
	var record bytes.Buffer
	dir, _, err := apply(f, archive, unpack.Options{Record: &record})
	if err != nil {
		f.Fatal(err)
	}
	settled := unpack.NewSettleRecord(f.Context(), &record, unpack.Limits{})
	d, err := os.Open(dir)
	if err != nil {
		f.Fatal(err)
	}
	_ = settled.Deleting(int(d.Fd()), "h", "h")
	_ = settled.Deleting(int(d.Fd()), "d", "d")
	_ = d.Close()
	_ = settled.Moved("d", "e")
	_ = settled.Copied("e/g")
	_ = settled.Finish()
	f.Add(record.Bytes())
	f.Add(record.Bytes()[:record.Len()/2])
	f.Add([]byte("byhand layer record 1\nF\x09../secret\x1a\x01\x00\x1aE"))
	f.Add([]byte("byhand layer record 1\nF\x01h\x07\x01\x00\x07EM\x01h\x09../secret"))
	f.Add([]byte("byhand layer record 1\nB\x01h\x01xA\x01i\x01A\x01j\x02EG\x01k\x01"))
	secret, word := filepath.Join(filepath.Dir(dir), "secret"), rand.Text() // which no record can have
	if err := os.WriteFile(secret, []byte(word), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		d, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = d.Close() }()
		open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(record)), nil }
		for _, o := range []unpack.RebuildOptions{
			{}, {HeadersOnly: true}, {NoOpenat2: true, Damaged: func(*unpack.EntryError) {}},
		} {
			var out bytes.Buffer
			err := unpack.Rebuild(t.Context(), d, open, limited{&out, 16 << 20}, o)
			if strings.Contains(out.String(), word) {
				t.Errorf("content from outside the directory, error %v", err)
			}
		}
		if got, err := os.ReadFile(secret); err != nil || string(got) != word {
			t.Errorf("the file outside: %q, %v", got, err)
		}
	})
}

var errEnough = errors.New("enough")

// limited refuses more than some bytes: a record of a few can stand for many.
type limited struct {
	out  *bytes.Buffer
	most int
}

func (l limited) Write(p []byte) (int, error) {
	if l.out.Len()+len(p) > l.most {
		return 0, errEnough
	}
	return l.out.Write(p)
}
