package overlay_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/unpack"
)

// verifyLayers are three layers with a file of each kind, and something for
// settling to do: an opaque directory, whiteouts, links to lower files, and
// files that come through a symbolic link.
func verifyLayers() [][]byte {
	capability := testtar.Xattr("security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	old := testtar.ModTime(time.Unix(1e9, 5))
	return [][]byte{
		testtar.Tar(
			testtar.Dir("./", old), testtar.Dir("etc", old), testtar.File("etc/passwd", "root:x:0:0", old),
			testtar.File("bin/su", "program", testtar.Mode(0o4755)), testtar.File("bin/ping", "program", capability),
			testtar.File("bin/hard", "linked"), testtar.Link("bin/link", "bin/hard"), testtar.Symlink("lib", "usr/lib"),
			testtar.Dir("usr/lib"), testtar.File("usr/lib/a", "old a"), testtar.File("owned", "o", testtar.Owner(1000, 100)),
			testtar.File("attrs", "x", testtar.Xattr("user.k", "v")), testtar.Char("null", 1, 3), testtar.Fifo("fifo"),
			testtar.File("gone", "g"), testtar.Dir("hidden"), testtar.File("hidden/below", ""),
			testtar.File("sparse", "12345", testtar.PAX("GNU.sparse.major", "0"), testtar.PAX("GNU.sparse.minor", "1"),
				testtar.PAX("GNU.sparse.numblocks", "2"), testtar.PAX("GNU.sparse.map", "100,2,70000,3"), testtar.PAX("GNU.sparse.size", "80000")),
		),
		testtar.Tar(
			testtar.Whiteout("gone"), testtar.Opaque("hidden"), testtar.File("hidden/new", "n"),
			testtar.File("lib/b", "b through the link"), testtar.Link("etc/shared", "etc/passwd"),
			testtar.File("lib/lost", "through the link"), testtar.File("usr/lib/lost", "by its own name"),
		),
		testtar.Tar(
			testtar.File("twice", "first"), testtar.Link("kept", "twice"), testtar.File("twice", "second"),
			testtar.File("etc/hosts", "127.0.0.1"),
		),
	}
}

// damage is something that is done to a layer, and what must be found.
type damage struct {
	layer int
	do    func(diff string) error
	want  []string // differences, with parts that vary left out
	warn  bool     // only a warning
}

func flip(name string) func(string) error {
	return keepingTimes(name, func(path string) error {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		raw[len(raw)/2] ^= 1
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(raw)
		return errors.Join(err, f.Close())
	})
}

// keepingTimes hides that a file was touched.
func keepingTimes(name string, fn func(path string) error) func(string) error {
	return func(diff string) error {
		path := filepath.Join(diff, name)
		var file, dir unix.Stat_t
		if err := errors.Join(unix.Lstat(path, &file), unix.Lstat(filepath.Dir(path), &dir)); err != nil {
			return err
		}
		if err := fn(path); err != nil {
			return err
		}
		set := func(path string, st unix.Stat_t) error {
			err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
			if errors.Is(err, unix.ENOENT) {
				return nil
			}
			return err
		}
		return errors.Join(set(path, file), set(filepath.Dir(path), dir))
	}
}

// inDir does something in a directory and hides that it was touched.
func inDir(name string, fn func(dir string) error) func(string) error {
	return keepingTimes(name, fn)
}

func replaceBy(name string, make func(path string) error) func(string) error {
	return keepingTimes(name, func(path string) error {
		return errors.Join(os.RemoveAll(path), make(path))
	})
}

func damages() map[string]damage {
	write := func(content string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(content), 0o644) }
	}
	setattr := func(attr, value string) func(string) error {
		return func(path string) error { return unix.Lsetxattr(path, attr, []byte(value), 0) }
	}
	delattr := func(attr string) func(string) error {
		return func(path string) error { return unix.Lremovexattr(path, attr) }
	}
	own := func(uid, gid int) func(string) error {
		return func(path string) error { return os.Lchown(path, uid, gid) }
	}
	mode := func(m uint32) func(string) error {
		return func(path string) error { return unix.Chmod(path, m) }
	}
	node := func(name string, mode uint32, dev uint64) func(string) error {
		return func(dir string) error { return unix.Mknod(filepath.Join(dir, name), mode, int(dev)) }
	}
	one := func(s string) []string { return []string{s} }
	return map[string]damage{
		"flipped byte":           {layer: 1, do: flip("etc/passwd"), want: one("/etc/passwd: content: ")},
		"flipped byte in a link": {layer: 1, do: flip("bin/link"), want: one("/bin/hard: content: ")},
		"flipped where settled":  {layer: 2, do: flip("usr/lib/b"), want: one("/usr/lib/b: content: ")},
		"flipped beside settled": {layer: 2, do: flip("usr/lib/lost"), want: one("/usr/lib/lost: content: ")},
		"flipped, name lost":     {layer: 3, do: flip("kept"), want: one("/kept: content: ")},
		"truncated": {
			layer: 1, do: keepingTimes("bin/su", func(p string) error { return os.Truncate(p, 3) }),
			want: one("/bin/su: size: expected 7, found 3"),
		},
		"grown": {
			layer: 1, do: keepingTimes("gone", func(p string) error { return os.Truncate(p, 1<<40) }),
			want: one("/gone: size: expected 1, found 1099511627776"),
		},
		"data in a hole": {layer: 1, want: one("/sparse: content: "), do: keepingTimes("sparse", func(p string) error {
			f, err := os.OpenFile(p, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("x"), 40000)
			return errors.Join(err, f.Close())
		})},
		"mode":              {layer: 1, do: keepingTimes("gone", mode(0o666)), want: one("/gone: mode: expected 0644, found 0666")},
		"setuid lost":       {layer: 1, do: keepingTimes("bin/su", mode(0o755)), want: one("/bin/su: mode: expected 4755, found 0755")},
		"setuid added":      {layer: 3, do: keepingTimes("etc/hosts", mode(0o4644)), want: one("/etc/hosts: mode: expected 0644, found 4644")},
		"mode of directory": {layer: 1, do: keepingTimes("etc", mode(0o777)), want: one("/etc: mode: expected 0755, found 0777")},
		"mode of the root":  {layer: 1, do: keepingTimes(".", mode(0o700)), want: one("/: mode: expected 0755, found 0700")},
		"mode of a directory that the layer does not name": {layer: 3, do: keepingTimes("etc", mode(0o777)), want: one("/etc: mode: expected 0755, found 0777")},
		"owner":               {layer: 1, do: keepingTimes("owned", own(0, 0)), want: one("/owned: owner: expected 1000:100, found 0:0")},
		"owner of a link":     {layer: 1, do: keepingTimes("lib", own(7, 7)), want: one("/lib: owner: expected 0:0, found 7:7")},
		"attribute changed":   {layer: 1, do: keepingTimes("attrs", setattr("user.k", "w")), want: one(`/attrs: user.k: expected "v", found "w"`)},
		"attribute added":     {layer: 1, do: keepingTimes("attrs", setattr("user.l", "w")), want: one(`/attrs: user.l: expected nothing, found "w"`)},
		"attribute removed":   {layer: 1, do: keepingTimes("attrs", delattr("user.k")), want: one(`/attrs: user.k: expected "v", found nothing`)},
		"capability removed":  {layer: 1, do: keepingTimes("bin/ping", delattr("security.capability")), want: one(`/bin/ping: security.capability: expected `)},
		"file missing":        {layer: 1, do: inDir("etc", func(d string) error { return os.Remove(d + "/passwd") }), want: []string{"/etc/passwd: file: expected file, found nothing"}},
		"directory missing":   {layer: 1, do: replaceBy("hidden", func(string) error { return nil }), want: one("/hidden: file: expected directory, found nothing")},
		"file extra":          {layer: 1, do: inDir("etc", func(d string) error { return write("x")(d + "/new") }), want: one("/etc/new: file: expected nothing, found file")},
		"directory extra":     {layer: 2, do: inDir("usr", func(d string) error { return os.Mkdir(d+"/new", 0o755) }), want: one("/usr/new: file: expected nothing, found directory")},
		"link swapped":        {layer: 1, do: replaceBy("lib", func(p string) error { return os.Symlink("usr/evil", p) }), want: one("/lib: target: expected usr/lib, found usr/evil")},
		"link to the outside": {layer: 1, do: replaceBy("etc/passwd", func(p string) error { return os.Symlink("/etc/passwd", p) }), want: []string{"/etc/passwd: type: expected file, found symbolic link"}},
		"directory by a link": {layer: 1, do: replaceBy("etc", func(p string) error { return os.Symlink("/etc", p) }), want: one("/etc: type: expected directory, found symbolic link")},
		"file by a FIFO":      {layer: 3, do: replaceBy("etc/hosts", func(p string) error { return unix.Mkfifo(p, 0o644) }), want: one("/etc/hosts: type: expected file, found FIFO")},
		"file by a device":    {layer: 3, do: replaceBy("etc/hosts", func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))) }), want: one("/etc/hosts: type: expected file, found character device")},
		"file by a whiteout":  {layer: 3, do: replaceBy("etc/hosts", func(p string) error { return unix.Mknod(p, unix.S_IFCHR, 0) }), want: one("/etc/hosts: type: expected file, found whiteout")},
		"hard link copied":    {layer: 1, do: replaceBy("bin/link", write("linked")), want: one("/bin/link: hard link: expected the same file as /bin/hard of layer 1, found a file of its own")},
		"lower link copied":   {layer: 2, do: replaceBy("etc/shared", write("root:x:0:0")), want: one("/etc/shared: hard link: expected the same file as /etc/passwd of layer 1")},
		"hard link added":     {layer: 1, do: replaceBy("bin/su", func(p string) error { return os.Link(filepath.Dir(p)+"/ping", p) }), want: one("/bin/su: ")},
		"whiteout removed":    {layer: 2, do: inDir(".", func(d string) error { return os.Remove(d + "/gone") }), want: one("/gone: file: expected whiteout, found nothing")},
		"whiteout added":      {layer: 2, do: inDir(".", node("fifo", unix.S_IFCHR, 0)), want: one("/fifo: file: expected nothing, found whiteout")},
		"opaque removed":      {layer: 2, do: keepingTimes("hidden", delattr("trusted.overlay.opaque")), want: one("/hidden: opaque marker: expected set, found not set")},
		"opaque added":        {layer: 2, do: keepingTimes("etc", setattr("trusted.overlay.opaque", "y")), want: one("/etc: opaque marker: expected not set, found set")},
		"redirect added":      {layer: 2, do: keepingTimes("etc", setattr("trusted.overlay.redirect", "/bin")), want: one("/etc: trusted.overlay.redirect: expected nothing")},
		"device number": {layer: 1, do: replaceBy("null", func(p string) error {
			return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5)))
		}), want: one("/null: device: expected 1:3, found 1:5")},
		"time":               {layer: 1, warn: true, do: func(diff string) error { return os.Chtimes(diff+"/bin/su", time.Time{}, time.Unix(5, 0)) }, want: one("/bin/su: modification time: expected 2020-09-13T12:26:40Z, found 1970-01-01T00:00:05Z")},
		"name to be escaped": {layer: 1, do: inDir("etc", func(d string) error { return write("x")(d + "/a\x1b[2J\nb") }), want: one(`"/etc/a\x1b[2J\nb": file`)},

		"record damaged": {layer: 2, do: func(diff string) error { return flip("tar-record.s2")(filepath.Dir(diff)) }, want: one("tar-record.s2: ")},
		"record cut off": {layer: 2, do: func(diff string) error { return os.Truncate(filepath.Dir(diff)+"/tar-record.s2", 20) }, want: one("tar-record.s2: ")},
		"record by a FIFO": {layer: 2, do: func(diff string) error {
			return replaceBy("tar-record.s2", func(p string) error { return unix.Mkfifo(p, 0o644) })(filepath.Dir(diff))
		}, want: one("tar-record.s2: ")},
		"record missing": {layer: 2, do: func(diff string) error { return os.Remove(filepath.Dir(diff) + "/tar-record.s2") }},
		"record of another layer": {layer: 2, do: func(diff string) error {
			other := testtar.Tar(testtar.File("hidden/new", "n"), testtar.File("lib/b", "b through the link"))
			s, err := overlay.Open(context.Background(), diff+"-other", overlay.Options{})
			if err != nil {
				return err
			}
			l, err := s.AddAll(context.Background(), sources(source(other)), overlay.AddOptions{})
			if err != nil {
				return err
			}
			raw, err := os.ReadFile(filepath.Dir(l[0].Dir) + "/tar-record.s2")
			return errors.Join(err, s.Close(), os.WriteFile(filepath.Dir(diff)+"/tar-record.s2", raw, 0o644), os.RemoveAll(diff+"-other"))
		}, want: []string{"/gone: file: expected nothing", "/hidden: ", "/etc", "/usr/lib/lost: file"}},
		"link file":  {layer: 2, do: func(diff string) error { return write("X")(filepath.Dir(diff) + "/link") }, want: one(`link: content: expected "`)},
		"lower file": {layer: 2, do: func(diff string) error { return os.Remove(filepath.Dir(diff) + "/lower") }, want: one(`lower: content: expected "l/`)},
		"lower file by a FIFO": {layer: 2, do: func(diff string) error {
			return replaceBy("lower", func(p string) error { return unix.Mkfifo(p, 0o644) })(filepath.Dir(diff))
		}, want: one(`lower: content: expected "l/`)},
		"layer.json":     {layer: 2, do: func(diff string) error { return write("{}")(filepath.Dir(diff) + "/layer.json") }, want: one(`layer.json: content: expected facts about the layer, found none: its record is damaged`)},
		"diff by a link": {layer: 3, do: replaceBy(".", func(p string) error { return os.Symlink("/etc", p) })},
		"layer by a link": {layer: 3, do: func(diff string) error {
			return replaceBy(".", func(p string) error { return os.Symlink("/etc", p) })(filepath.Dir(diff))
		}},
		"layer missing altogether": {layer: 3, do: func(diff string) error { return os.RemoveAll(filepath.Dir(diff)) }},
	}
}

// TestVerifyDamage does damage of each kind and demands that it is found and
// named, and nothing else, and that a repair heals it.
func TestVerifyDamage(t *testing.T) {
	if !isolated(t) {
		return
	}
	root := tmpfs(t)
	for name, d := range damages() {
		t.Run(name, func(t *testing.T) {
			s, err := overlay.Open(t.Context(), filepath.Join(root, strings.ReplaceAll(name, "/", "_")), overlay.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			var srcs []*fakeSource
			for _, raw := range verifyLayers() {
				srcs = append(srcs, source(raw))
			}
			layers := addAll(t, s, srcs...)
			img := putImage(t, s, "img", linuxAMD64, srcs...)
			if err := d.do(layers[d.layer-1].Dir); err != nil {
				t.Fatal(err)
			}
			r := verify(t, s, img)
			checkDamage(t, r, d)
			repair(t, s, img, srcs)
			if again := verify(t, s, img); !d.warn && (!again.OK() || len(again.Differences) > 0) {
				t.Errorf("after the repair: %+v", *again)
			}
		})
	}
}

func checkDamage(t *testing.T, r *overlay.Report, d damage) {
	t.Helper()
	if r.OK() != d.warn {
		t.Errorf("OK is %v: %+v", r.OK(), r.Checks)
	}
	var got []string
	for _, diff := range r.Differences {
		if diff.Warning != d.warn {
			t.Errorf("warning is %v: %s", diff.Warning, diff)
		}
		got = append(got, diff.String())
	}
	for _, want := range d.want {
		if !strings.HasPrefix(want, "layer ") {
			want = fmt.Sprintf("layer %d: %s", d.layer, want)
		}
		i := slices.IndexFunc(got, func(s string) bool { return strings.HasPrefix(s, want) })
		if i < 0 {
			t.Errorf("%q is not among %q", want, got)
			continue
		}
		got = slices.Delete(got, i, i+1)
	}
	got = slices.DeleteFunc(got, func(s string) bool { // all that is said of the one file
		return slices.ContainsFunc(d.want, func(w string) bool { return strings.HasSuffix(w, ": ") && strings.Contains(s, w) })
	})
	if len(got) > 0 {
		t.Errorf("found besides: %q", got)
	}
}

// repair replaces the layers that fail until none does.
func repair(t *testing.T, s *overlay.Store, img overlay.Image, srcs []*fakeSource) {
	t.Helper()
	for range 3 {
		var bad []int
		for _, c := range verify(t, s, img).Failed() {
			bad = append(bad, c.Layer)
		}
		if len(bad) == 0 {
			return
		}
		if _, err := s.Repair(t.Context(), sources(srcs...), bad, overlay.AddOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestVerifySetIDLost: where owners cannot be given, programs are without the
// bits that would make them run as their owner. That is no damage; the bits
// on another file are.
func TestVerifySetIDLost(t *testing.T) {
	s := openWith(t, t.TempDir(), overlay.Options{UserXattr: true, Owners: unpack.Squash})
	nobody := testtar.PAX("uid", "4294967295") // whoever unpacks
	src := source(testtar.Tar(testtar.Dir("./"), testtar.File("su", "s", nobody, testtar.Mode(0o4755)), testtar.File("sh", "s", nobody, testtar.Mode(0o755))))
	layers := addAll(t, s, src)
	img := putImage(t, s, "img", linuxAMD64, src)
	if r := verify(t, s, img); !r.OK() {
		t.Errorf("as unpacked: %+v", r.Checks)
	}
	if err := os.Chmod(filepath.Join(layers[0].Dir, "sh"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	checkDamage(t, verify(t, s, img), damage{layer: 1, want: []string{"/sh: mode: expected 0755, found 4755"}})
}
