package peers_test

import (
	"time"

	"github.com/byhand/byhand/internal/testtar"
)

// stack is an image and what the peers make of it.
type stack struct {
	layers                   [][]testtar.Entry
	whole                    bool    // also what a peer treats its own way in every image
	umoci, overlayfs, native outcome // the last two are containerd's snapshotters
}

// outcome is how a peer's tree differs from byhand's.
type outcome struct {
	differ  []string // "path: what", sorted
	refuses string   // part of what it says when it refuses the image
}

func differs(what ...string) outcome { return outcome{differ: what} }

func refuses(message string) outcome { return outcome{refuses: message} }

func (o outcome) same() bool { return len(o.differ) == 0 && o.refuses == "" }

// stacks are named as in docs/differences.md.
func stacks() map[string]stack {
	at := func(sec int64) testtar.Option { return testtar.ModTime(time.Unix(sec, 0)) }
	root := testtar.Dir("./", at(3))
	d := testtar.Dir("d", testtar.Mode(0o2750), testtar.Owner(3, 4), at(7), testtar.Xattr("user.k", "v"))
	return map[string]stack{
		"ordinary entries": {layers: [][]testtar.Entry{
			{
				root, d, testtar.File("d/f", "1", testtar.Mode(0o4711), testtar.Owner(5, 6), testtar.Xattr("user.k", "v")), testtar.Link("d/h", "d/f", testtar.Mode(0o4711), testtar.Owner(5, 6)),
				testtar.Symlink("s", "d/f"), testtar.Char("null", 1, 3), testtar.Fifo("p"), testtar.File("gone", ""), testtar.Dir("o", at(5)), testtar.File("o/old", ""),
				testtar.File("time", "", testtar.ModTime(time.Unix(1_700_000_000, 123_456_789))),
			},
			{root, testtar.Whiteout("gone"), testtar.Dir("o", at(6)), testtar.Opaque("o"), testtar.File("o/new", ""), testtar.Dir("n", at(8)), testtar.File("n/f", "2")},
		}},
		"root directory": {
			layers:    [][]testtar.Entry{{testtar.Dir("./", testtar.Mode(0o1700), testtar.Owner(1, 2), at(3), testtar.Xattr("user.k", "v")), testtar.File("f", "")}, {testtar.File("g", "")}},
			whole:     true,
			overlayfs: differs(".: mode", ".: mtime", ".: owner", ".: xattr user.k"),
			native:    differs(".: mode", ".: mtime", ".: owner", ".: xattr user.k"),
		},
		"directories of lower layers": {
			layers:    [][]testtar.Entry{{root, d, testtar.File("d/f", "")}, {root}},
			whole:     true,
			overlayfs: differs(".: mtime"),
			native:    differs(".: mtime", "d: mtime"),
		},
		"types replaced": {layers: [][]testtar.Entry{
			{root, testtar.File("a", "1"), testtar.Dir("b"), testtar.File("b/x", ""), testtar.Symlink("c", "b"), testtar.Fifo("e"), testtar.Symlink("g", "b")},
			{root, testtar.Dir("a"), testtar.File("a/y", ""), testtar.File("b", "2"), testtar.File("c", "3"), testtar.Symlink("e", "a"), testtar.Dir("g"), testtar.File("g/z", "")},
		}},
		"implicit parent": {
			layers:    [][]testtar.Entry{{root, d}, {root, testtar.File("d/f", "")}},
			overlayfs: differs("d: mtime"),
		},
		"implicit parent that nobody knows": {
			layers:    [][]testtar.Entry{{root}, {root, testtar.File("x/f", "")}},
			umoci:     differs(".: mtime", "x: mtime"),
			overlayfs: differs("x: mtime"),
		},
		"implicit root": {layers: [][]testtar.Entry{{testtar.File("f", "")}}},
		"implicit parent is a lower link": {
			layers: [][]testtar.Entry{
				{root, testtar.Symlink("lib", "usr/lib"), testtar.Dir("usr", at(4)), testtar.Dir("usr/lib", at(5))}, {root, testtar.File("lib/f", "")},
			},
			overlayfs: differs("lib/f: only in the second", "lib: type", "usr/lib/f: only in the first"),
		},
		"implicit parent is a lower link to nothing": {
			layers: [][]testtar.Entry{
				{root, testtar.Symlink("lib", "usr/lib")}, {root, testtar.File("lib/f", "")},
			},
			umoci:     differs(".: mtime", "usr/lib: mtime", "usr: mtime"),
			overlayfs: differs("lib/f: only in the second", "lib: type", "usr/lib/f: only in the first", "usr/lib: only in the first", "usr: only in the first"),
		},
		"implicit parent is a lower file": {
			layers:    [][]testtar.Entry{{root, testtar.File("a", "")}, {root, testtar.File("a/f", "")}},
			umoci:     refuses("not a directory"),
			overlayfs: differs("a: mtime"),
			native:    refuses("not a directory"),
		},
		"whiteout after the file": {
			layers:    [][]testtar.Entry{{root, testtar.File("f", "old")}, {root, testtar.File("f", "new"), testtar.Whiteout("f")}},
			overlayfs: refuses(`whiteout file \".wh.f\": file exists`),
			native:    differs("f: only in the first"),
		},
		"whiteout before the file": {layers: [][]testtar.Entry{{root, testtar.File("f", "old")}, {root, testtar.Whiteout("f"), testtar.File("f", "new")}}},
		"whiteout after the directory": {
			layers: [][]testtar.Entry{
				{root, testtar.Dir("d"), testtar.File("d/old", "")}, {root, testtar.Dir("d"), testtar.File("d/new", ""), testtar.Whiteout("d")},
			},
			umoci:     differs("d: mtime"),
			overlayfs: refuses(`whiteout file \".wh.d\": file exists`),
			native:    refuses("UtimesNanoAt"),
		},
		"opaque marker after its siblings": {layers: [][]testtar.Entry{
			{root, testtar.Dir("d"), testtar.File("d/old", ""), testtar.File("d/both", "old")}, {root, testtar.Dir("d"), testtar.File("d/both", "new"), testtar.Opaque("d"), testtar.File("d/new", "")},
		}},
		"opaque root": {
			layers:    [][]testtar.Entry{{root, testtar.File("old", "")}, {root, testtar.Opaque("."), testtar.File("new", "")}},
			overlayfs: differs("old: only in the second"),
		},
		"whiteout of nothing": {layers: [][]testtar.Entry{{root}, {root, testtar.Whiteout("nothing"), testtar.Dir("x"), testtar.Whiteout("x/nothing")}}},
		"hard link to a lower file": {
			layers: [][]testtar.Entry{
				{root, testtar.File("f", "1"), testtar.Link("g", "f")}, {root, testtar.Link("h", "f")},
			},
			overlayfs: refuses("no such file or directory"),
		},
		"hard link to a lower file that the layer deletes": {
			layers: [][]testtar.Entry{
				{root, testtar.File("f", "1")}, {root, testtar.Whiteout("f"), testtar.Link("h", "f")},
			},
			umoci:     refuses("unpack entry: h: link: no such file"),
			overlayfs: differs("h: only in the first"),
			native:    refuses("no such file or directory"),
		},
		"hard link to a name that comes later": {
			layers:    [][]testtar.Entry{{root, testtar.Link("h", "f"), testtar.File("f", "1")}},
			umoci:     refuses("unpack entry: h: link: no such file"),
			overlayfs: refuses("no such file or directory"),
			native:    refuses("no such file or directory"),
		},
		"lower hard links that are no regular files": {
			layers: [][]testtar.Entry{{
				root, testtar.Symlink("s", "t", at(5)), testtar.Link("h", "s", at(5)), testtar.Fifo("p", at(5)), testtar.Link("q", "p", at(5), testtar.Mode(0o600)),
			}, {root}},
			native: differs("h: hard link to", "p: hard link to", "q: hard link to", "s: hard link to"),
		},
		"hard link to itself": {
			layers:    [][]testtar.Entry{{root, testtar.File("f", "1")}, {root, testtar.Link("f", "f")}},
			umoci:     refuses("unpack entry: f: link: no such file"),
			overlayfs: refuses("no such file or directory"),
			native:    refuses("no such file or directory"),
		},
		"time before 1970": {
			layers:    [][]testtar.Entry{{root, testtar.File("f", "", testtar.ModTime(time.Unix(-14182940, 500_000_000)))}},
			overlayfs: differs("f: mtime"),
			native:    differs("f: mtime"),
		},
		"hard link to a link": {layers: [][]testtar.Entry{{root, testtar.Symlink("s", "t", at(5)), testtar.Link("h", "s", at(5))}}},
		"hard link's own metadata": {
			layers: [][]testtar.Entry{
				{root, testtar.File("f", "1", testtar.Mode(0o640), at(5)), testtar.Link("h", "f", testtar.Mode(0o4777), testtar.Owner(9, 9), at(6))},
			},
			overlayfs: differs("f: mode", "f: mtime", "f: owner", "h: mode", "h: mtime", "h: owner"),
			native:    differs("f: mode", "f: mtime", "f: owner", "h: mode", "h: mtime", "h: owner"),
		},
		"extended attribute that a layer no longer names": {
			layers: [][]testtar.Entry{{root, d}, {root, testtar.Dir("d", at(8))}},
			native: differs("d: xattr user.k"),
		},
		"overlayfs attributes": {
			layers:    [][]testtar.Entry{{root, testtar.Dir("d", testtar.Xattr("trusted.overlay.opaque", "y"), testtar.Xattr("user.overlay.x", "y"))}},
			umoci:     differs("d: xattr user.overlay.x"),
			overlayfs: differs("d: xattr user.overlay.x"),
			native:    differs("d: xattr user.overlay.x"),
		},
		"device 0:0": {
			layers:    [][]testtar.Entry{{root, testtar.File("f", "1")}, {root, testtar.Char("f", 0, 0), testtar.Char("g", 0, 0)}},
			umoci:     differs("f: type", "g: only in the second"),
			overlayfs: differs("f: only in the first"),
			native:    differs("f: type", "g: only in the second"),
		},
		"AUFS leftovers": {
			layers:    [][]testtar.Entry{{root, testtar.File(".wh..wh.aufs", ""), testtar.Dir(".wh..wh.plnk"), testtar.File(".wh..wh.plnk/1.2", "x"), testtar.Link("f", ".wh..wh.plnk/1.2")}},
			umoci:     differs(".: mtime", ".wh..wh.plnk/1.2: only in the second", ".wh..wh.plnk: only in the second", "f: hard link to"),
			overlayfs: differs(".wh..wh.plnk/1.2: only in the second", ".wh..wh.plnk: only in the second", "f: hard link to"),
			native:    differs(".wh..wh.plnk/1.2: only in the second", ".wh..wh.plnk: only in the second", "f: hard link to"),
		},
		"twice the same name":              {layers: [][]testtar.Entry{{root, testtar.File("f", "1"), testtar.File("f", "2"), testtar.Dir("d", at(4)), testtar.File("d/x", ""), testtar.Dir("d", at(5)), testtar.File("a", ""), testtar.Dir("a", at(6))}}},
		"path through a link of the layer": {layers: [][]testtar.Entry{{root, testtar.Dir("r", at(5)), testtar.Symlink("s", "r"), testtar.File("s/f", "1")}}},
	}
}
