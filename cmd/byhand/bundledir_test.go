package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/byhand/byhand/internal/testneed"
)

// TestMakePrivate: a bundle's directory is its owner's alone, and what others
// made is never taken for made here.
func TestMakePrivate(t *testing.T) {
	top := t.TempDir()
	file := filepath.Join(top, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	there := filepath.Join(top, "there")
	if err := os.Mkdir(there, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(top, "link")
	if err := os.Symlink(there, link); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		dir     string
		created bool
		mode    os.FileMode // 0: an error
	}{
		"new":              {filepath.Join(top, "new"), true, 0o700},
		"new, with parent": {filepath.Join(top, "a/b"), true, 0o700},
		"slash at the end": {filepath.Join(top, "c/d") + "/", true, 0o700},
		"there":            {there, false, 0o755},
		"link":             {link, false, 0o755},
		"file":             {file, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			created, err := makePrivate(tt.dir)
			if created != tt.created || (err != nil) != (tt.mode == 0) {
				t.Fatalf("created %v, error %v", created, err)
			}
			if info, err := os.Stat(tt.dir); tt.mode != 0 && (err != nil || info.Mode().Perm() != tt.mode) {
				t.Errorf("mode %v, error %v; want %v", info.Mode(), err, tt.mode)
			}
		})
	}
}

// TestIsBundle: a word that could name an image is a directory only if nobody
// else decides what is in it.
func TestIsBundle(t *testing.T) {
	testneed.Root(t) // for files of others
	const other = 65534
	ours := func(t *testing.T, dir string, mode os.FileMode) {
		t.Helper()
		must(t, os.Mkdir(dir, 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o644))
		must(t, os.Chmod(dir, mode))
	}
	for name, tt := range map[string]struct {
		make func(t *testing.T)
		want bool
	}{
		"ours":           {func(t *testing.T) { ours(t, "alpine", 0o755) }, true},
		"a link of ours": {func(t *testing.T) { ours(t, "b", 0o755); must(t, os.Symlink("b", "alpine")) }, true},
		"no config":      {func(t *testing.T) { must(t, os.Mkdir("alpine", 0o755)) }, false},
		"nothing":        {func(*testing.T) {}, false},
		"a file":         {func(t *testing.T) { must(t, os.WriteFile("alpine", nil, 0o600)) }, false},
		"theirs":         {func(t *testing.T) { ours(t, "alpine", 0o755); must(t, os.Lchown("alpine", other, other)) }, false},
		"their config":   {func(t *testing.T) { ours(t, "alpine", 0o755); must(t, os.Lchown("alpine/config.json", other, other)) }, false},
		"all may write":  {func(t *testing.T) { ours(t, "alpine", 0o777|os.ModeSticky) }, false},
		"their link to ours": {func(t *testing.T) {
			ours(t, "b", 0o755)
			must(t, os.Symlink("b", "alpine"))
			must(t, os.Lchown("alpine", other, other))
		}, false},
		"their group may write": {func(t *testing.T) {
			ours(t, "alpine", 0o775)
			must(t, os.Lchown("alpine", 0, other))
		}, false},
		"theirs, with a link to a config of ours": {func(t *testing.T) {
			ours(t, "b", 0o755)
			must(t, os.Mkdir("alpine", 0o755))
			must(t, os.Symlink("../b/config.json", "alpine/config.json"))
			must(t, os.Lchown("alpine", other, other))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			tt.make(t)
			if got := isBundle("alpine"); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
