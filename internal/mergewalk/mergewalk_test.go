package mergewalk_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/mergewalk"
)

// file is a directory (kids), a symbolic link (link) or a plain file. It
// counts how often it is open.
type file struct {
	name string
	kids map[string]*file
	link string
	open int
}

func (f *file) IsDir() bool               { return f.kids != nil }
func (f *file) IsSymlink() bool           { return f.link != "" }
func (f *file) Readlink() (string, error) { return f.link, nil }
func (f *file) Self() (*file, error)      { return f, nil }
func (f *file) Close()                    { f.open-- }

func (f *file) Lookup(name string) (*file, bool, error) {
	if len(name) > unix.NAME_MAX {
		return nil, false, unix.ENAMETOOLONG
	}
	kid := f.kids[name]
	return kid, kid != nil, nil
}

func (f *file) Enter(kid *file) (*file, error) {
	kid.open++
	return kid, nil
}

func (f *file) stillOpen() int {
	n := f.open
	for _, kid := range f.kids {
		n += kid.stillOpen()
	}
	return n
}

// tree makes files of lines "path", "path/" for a directory, "path -> target".
func tree(lines ...string) *file {
	root := &file{kids: map[string]*file{}}
	for _, line := range lines {
		name, link, _ := strings.Cut(line, " -> ")
		at := root
		parts := strings.Split(name, "/")
		for i, part := range parts {
			if part == "" {
				break
			}
			if at.kids[part] == nil {
				at.kids[part] = &file{name: part, link: link}
				if i < len(parts)-1 {
					at.kids[part].kids = map[string]*file{}
				}
			}
			at = at.kids[part]
		}
	}
	return root
}

func TestResolve(t *testing.T) {
	root := tree("etc/passwd", "usr/lib/so", "lib -> usr/lib", "abs -> /etc", "up -> ../../../etc", "usr/lib/back -> ../../etc/passwd",
		"loop -> loop", "slash -> etc/passwd/", "long -> "+strings.Repeat("n", unix.NAME_MAX+1), "gone -> nowhere")
	for _, c := range []struct {
		path   string
		follow bool
		want   string // where it ends: the cursor's path, ":" and the name
		err    error
	}{
		{path: "etc/passwd", want: "etc:passwd"},
		{path: "/etc//./passwd", want: "etc:passwd"},
		{path: "", want: ".:"},
		{path: "..", want: ".:"},
		{path: "etc/../../usr", want: "usr:"},
		{path: "lib/so", want: "usr/lib:so"},
		{path: "lib", want: ".:lib"},
		{path: "lib", follow: true, want: "usr/lib:"},
		{path: "lib/", want: "usr/lib:"},
		{path: "lib/..", want: "usr:"},
		{path: "usr/lib/abs", err: unix.ENOENT},
		{path: "abs/passwd", want: "etc:passwd"},
		{path: "up", follow: true, want: "etc:"},
		{path: "lib/back", follow: true, want: "etc:passwd"},
		{path: "loop", want: ".:loop"},
		{path: "loop", follow: true, err: unix.ELOOP},
		{path: "etc/passwd/x", err: unix.ENOTDIR},
		{path: "etc/passwd/", err: unix.ENOTDIR},
		{path: "slash", follow: true, err: unix.ENOTDIR},
		{path: "long", follow: true, err: unix.ENAMETOOLONG},
		{path: "gone", follow: true, err: unix.ENOENT},
	} {
		cur := mergewalk.New[*file, *file](root)
		f, name, err := cur.Resolve(c.path, c.follow)
		switch {
		case !errors.Is(err, c.err):
			t.Errorf("%q, follow %t: error %v, want %v", c.path, c.follow, err, c.err)
		case err == nil && cur.Path()+":"+name != c.want:
			t.Errorf("%q, follow %t: ended at %s:%s, want %s", c.path, c.follow, cur.Path(), name, c.want)
		case err == nil && name != "" && f.name != name:
			t.Errorf("%q, follow %t: found the file %q", c.path, c.follow, f.name)
		}
		cur.Reset()
		if n := root.stillOpen(); n != 0 {
			t.Fatalf("%q, follow %t: %d directories are still open", c.path, c.follow, n)
		}
	}
}

// TestResolveLinks follows as many links as the kernel, and no more.
func TestResolveLinks(t *testing.T) {
	for _, c := range []struct {
		links int
		err   error
	}{{mergewalk.MaxLinks, nil}, {mergewalk.MaxLinks + 1, unix.ELOOP}} {
		lines := []string{"d/end"}
		for i := range c.links {
			next := "d"
			if i > 0 {
				next = strings.Repeat("l", i)
			}
			lines = append(lines, strings.Repeat("l", i+1)+" -> "+next)
		}
		cur := mergewalk.New[*file, *file](tree(lines...))
		_, _, err := cur.Resolve(strings.Repeat("l", c.links)+"/end", false)
		if !errors.Is(err, c.err) {
			t.Errorf("%d links: error %v, want %v", c.links, err, c.err)
		}
	}
}

func TestDescend(t *testing.T) {
	root := tree("a/b/c/", "a/file", "a/link -> b")
	for _, c := range []struct {
		names string
		want  string
		err   error
	}{
		{names: "a/b", want: "a/b"},
		{names: "./a//b/.", want: "a/b"},
		{names: "a/x", err: unix.ENOENT},
		{names: "a/file", err: unix.ENOTDIR},
		{names: "a/link/c", err: unix.ENOTDIR},
		{names: strings.Repeat("n", unix.NAME_MAX+1), err: unix.ENAMETOOLONG},
	} {
		cur := mergewalk.New[*file, *file](root)
		err := cur.Descend(strings.Split(c.names, "/"))
		if !errors.Is(err, c.err) || err == nil && cur.Path() != c.want {
			t.Errorf("%q: at %s, error %v; want %s, %v", c.names, cur.Path(), err, c.want, c.err)
		}
	}
}
