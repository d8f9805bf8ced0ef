package tempfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/tempfile"
)

func TestUnnamed(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	f, err := tempfile.Unnamed("x-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if got := filepath.Dir(f.Name()); got != dir {
		t.Errorf("in %s, expected %s", got, dir)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("left %v, %v", names, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Nlink != 0 {
		t.Errorf("%d names, %v", st.Nlink, err)
	}
	if _, err := f.WriteAt([]byte("ok"), 0); err != nil {
		t.Error(err)
	}
	t.Setenv("TMPDIR", filepath.Join(dir, "nosuch"))
	_, err = tempfile.Unnamed("x-")
	var none *tempfile.Error
	if !errors.As(err, &none) || none.Dir != filepath.Join(dir, "nosuch") || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("where there is no directory: %v", err)
	}
}
