package layername_test

import (
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/layername"
)

func TestClean(t *testing.T) {
	for name, want := range map[string]string{
		"a": "a", "./a": "a", "././/a/": "a", "/a/b": "a/b", "a//b/./c/..": "a/b", "/..": ".", "/../a": "a",
		".": ".", "./": ".", "/": ".", "": ".", "..a": "..a", "a/..": ".", ".//..a": "..a",
	} {
		if got, err := layername.Clean(name); got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"..", "../a", "a/../../b", "./..", "./../a"} {
		if got, err := layername.Clean(name); !errors.Is(err, layername.ErrEscape) {
			t.Errorf("%q leads out, and is %q", name, got)
		}
	}
}

func TestWhiteout(t *testing.T) {
	for base, want := range map[string]string{".wh.a": "a", ".wh.": "", ".wh...": "..", ".wh..wh": ".wh", ".wh.wh.a": "wh.a"} {
		if got, ok := layername.Whiteout(base); got != want || !ok {
			t.Errorf("%q hides %q, %t; want %q", base, got, ok, want)
		}
	}
	for _, base := range []string{"a", ".wh", ".wh..wh..opq", ".wh..wh.plnk", "a.wh.b"} {
		if got, ok := layername.Whiteout(base); ok {
			t.Errorf("%q is no whiteout, and hides %q", base, got)
		}
	}
}

func TestIsAUFS(t *testing.T) {
	for name, want := range map[string]bool{
		".wh..wh.aufs": true, "a/.wh..wh.orph/b": true, ".wh..wh.plnk/a": false, ".wh..wh.plnk": false, "a/.wh..wh.plnk/b": true,
		"a/.wh..wh..opq": false, ".wh..wh..opq": false, ".wh..wh..opq/a": true, "a/.wh.b": false, "b.wh..wh.": false,
	} {
		if got := layername.IsAUFS(name); got != want {
			t.Errorf("%q: %t", name, got)
		}
	}
}

// FuzzClean compares with the definition: the name in a root directory.
func FuzzClean(f *testing.F) {
	for _, name := range []string{"./a/../b", "//x", ".///./..", ""} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, err := layername.Clean(name)
		ok := err == nil
		if rel := path.Clean(name); ok == (rel == ".." || strings.HasPrefix(rel, "../")) {
			t.Fatalf("%q: %q, %t", name, got, ok)
		}
		if want := path.Clean("/" + name)[1:]; ok && got != want && !(want == "" && got == ".") {
			t.Fatalf("%q: %q, want %q", name, got, want)
		}
		dir, base := layername.Split(got)
		if ok && (strings.Contains(base, "/") || dir != "" && dir+"/"+base != got || dir == "" && base != got) {
			t.Fatalf("%q is split into %q and %q", got, dir, base)
		}
	})
}
