package treecmp_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/byhand/byhand/internal/treecmp"
	"golang.org/x/sys/unix"
)

// build makes the tree that the cases change.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(os.MkdirAll(at("d/e"), 0o755), os.WriteFile(at("d/f"), []byte("content"), 0o644), os.Link(at("d/f"), at("h")),
		os.WriteFile(at("g"), []byte("other"), 0o644), os.Symlink("d/f", at("l")), unix.Mkfifo(at("p"), 0o600))
	for _, name := range []string{"d/e", "d/f", "d", "g", "p", "."} {
		err = errors.Join(err, os.Chtimes(at(name), time.Unix(1, 0), time.Unix(1, 0)))
	}
	ts := []unix.Timespec{{Sec: 1}, {Sec: 1}}
	err = errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, at("l"), ts, unix.AT_SYMLINK_NOFOLLOW))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCompare(t *testing.T) {
	tests := []struct {
		name   string
		change func(at func(string) string) error
		want   string // all differences, what and path
		o      treecmp.Options
	}{
		{"nothing", func(func(string) string) error { return nil }, "", treecmp.Options{}},
		{"content", func(at func(string) string) error {
			return errors.Join(os.WriteFile(at("g"), []byte("OTHER"), 0o644), os.Chtimes(at("g"), time.Unix(1, 0), time.Unix(1, 0)))
		}, "content g", treecmp.Options{}},
		{"time", func(at func(string) string) error { return os.Chtimes(at("g"), time.Unix(1, 0), time.Unix(1, 1)) }, "mtime g", treecmp.Options{}},
		{"time not asked for", func(at func(string) string) error { return os.Chtimes(at("g"), time.Unix(1, 0), time.Unix(1, 1)) }, "", treecmp.Options{NoModTime: true}},
		{"mode", func(at func(string) string) error { return os.Chmod(at("d/e"), 0o755|os.ModeSticky) }, "mode d/e", treecmp.Options{}},
		{"xattr", func(at func(string) string) error { return unix.Setxattr(at("g"), "user.a", []byte("b"), 0) }, "xattr user.a g", treecmp.Options{}},
		{"missing", func(at func(string) string) error { return os.Remove(at("p")) }, "only in the first p", treecmp.Options{NoDirTime: true}},
		{"extra", func(at func(string) string) error { return os.Mkdir(at("d/x"), 0o755) }, "only in the second d/x", treecmp.Options{NoDirTime: true}},
		{"skipped", func(at func(string) string) error { return os.Mkdir(at("d/x"), 0o755) }, "", treecmp.Options{NoDirTime: true, Skip: func(name string) bool { return name == "d/x" }}},
		{"type", func(at func(string) string) error {
			return errors.Join(os.Remove(at("p")), os.Symlink("x", at("p")))
		}, "type p", treecmp.Options{NoDirTime: true}},
		{"target", func(at func(string) string) error {
			return errors.Join(os.Remove(at("l")), os.Symlink("d/g", at("l")))
		}, "target l", treecmp.Options{NoModTime: true}},
		{"hard link", func(at func(string) string) error {
			return errors.Join(os.Remove(at("h")), os.WriteFile(at("h"), []byte("content"), 0o644))
		}, "hard link to d/f, hard link to h", treecmp.Options{NoModTime: true}},
		{"owner", func(at func(string) string) error {
			if os.Geteuid() != 0 {
				return os.Chmod(at("g"), 0o600)
			}
			return os.Chown(at("g"), 1, 2)
		}, map[bool]string{true: "owner g", false: "mode g"}[os.Geteuid() == 0], treecmp.Options{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := build(t), build(t)
			if err := tt.change(func(name string) string { return filepath.Join(b, name) }); err != nil {
				t.Fatal(err)
			}
			diffs, err := treecmp.Compare(a, b, tt.o)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range diffs {
				got = append(got, d.What+" "+d.Path)
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("got %v, want %q", diffs, tt.want)
			}
		})
	}
}
