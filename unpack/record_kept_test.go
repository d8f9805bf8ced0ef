package unpack

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestRecordRemembersSome: of files with further names only so many are
// remembered, and the content of others is there as often as they are deleted.
func TestRecordRemembersSome(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	for _, name := range []string{"a", "b", "c"} {
		err := errors.Join(os.WriteFile(filepath.Join(dir.Name(), name+"1"), []byte(name), 0o600),
			os.Link(filepath.Join(dir.Name(), name+"1"), filepath.Join(dir.Name(), name+"2")))
		if err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	r := newRecorder(t.Context(), &out, 1<<20)
	r.most = 1
	r.out = []byte(recordMagic)
	for _, name := range []string{"a1", "b1", "b2", "a2", "c1", "c2"} {
		if err := errors.Join(r.replaced(int(dir.Fd()), name, name), os.Remove(filepath.Join(dir.Name(), name))); err != nil {
			t.Fatal(err)
		}
		if len(r.keptAs) > r.most {
			t.Errorf("%d files are remembered, want %d at most", len(r.keptAs), r.most)
		}
	}
	r.op(opEnd)
	r.flush()
	var got, kept []string
	err = readRecord(t.Context(), func() (io.ReadCloser, error) { return io.NopCloser(&out), r.err }, recordVisitor{
		replaced: func(name string, in io.Reader, _ int64) error {
			content, err := io.ReadAll(in)
			kept = append(kept, string(content))
			got = append(got, name+" "+string(content))
			return err
		},
		again: func(name string, back int64, _ bool) error {
			got = append(got, name+" again "+kept[int64(len(kept))-back])
			return nil
		},
	})
	if want := []string{"a1 a", "b1 b", "b2 b", "a2 again a", "c1 c", "c2 again c"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}
