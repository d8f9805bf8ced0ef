package overlay_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testtar"
)

// TestSettleMeets has what a layer puts through a link of a lower one meet
// what it puts there by the real name, on disk and in memory. Random stacks
// hardly ever do. The link is called a where it is followed before the real
// name is settled, z where after that.
func TestSettleMeets(t *testing.T) {
	testneed.Root(t)
	at := func(sec int64) testtar.Option { return testtar.ModTime(time.Unix(sec, 0)) }
	lower := []testtar.Entry{
		testtar.Dir("usr", at(5)), testtar.Dir("usr/d", testtar.Mode(0o711), testtar.Owner(3, 4), at(7), testtar.Xattr("user.k", "v")),
		testtar.File("usr/d/old", ""), testtar.Dir("usr/d/sub", testtar.Mode(0o700), at(8)), testtar.File("file", ""),
		testtar.Symlink("a", "usr"), testtar.Symlink("z", "usr"), testtar.Symlink("self", "."), testtar.Symlink("odd", "self/file"),
	}
	type entries = []testtar.Entry
	tests := map[string]struct {
		layer entries
		want  []string // lines of the merged tree
		not   []string // names that are not in it
	}{
		"whiteout through a link, directory by name": {
			entries{testtar.Whiteout("a/d"), testtar.File("usr/d/sub/f", "")},
			[]string{"usr/d 40755 0:0 0", "usr/d/sub 40755 0:0 0", "usr/d/sub/f "},
			[]string{"usr/d/old"},
		},
		"the same, after the directory was settled": {
			entries{testtar.Whiteout("z/d"), testtar.File("usr/d/sub/f", "")},
			[]string{"usr/d 40755 0:0 0", "usr/d/sub 40755 0:0 0", "usr/d/sub/f "},
			[]string{"usr/d/old"},
		},
		"the same, with an entry for the directory": {
			entries{testtar.Whiteout("z/d"), testtar.Dir("usr/d", testtar.Mode(0o705), at(9)), testtar.File("usr/d/f", "")},
			[]string{"usr/d 40705 0:0 9", "usr/d/f "},
			[]string{"usr/d/old"},
		},
		"directory through a link, whiteout by name": {
			entries{testtar.File("a/d/sub/f", ""), testtar.Whiteout("usr/d")},
			[]string{"usr/d 40755 0:0 0", "usr/d/sub 40755 0:0 0", "usr/d/sub/f "},
			[]string{"usr/d/old"},
		},
		"file through a link, whiteout by name": {
			entries{testtar.File("z/d/old", "new", at(9)), testtar.Whiteout("usr/d/old")},
			[]string{"usr/d 40711 3:4 7", "usr/d/old 100644 0:0 9"},
			nil,
		},
		"whiteout through a link, file by name": {
			entries{testtar.Whiteout("z/d/old"), testtar.File("usr/d/old", "new", at(9))},
			[]string{"usr/d 40711 3:4 7", "usr/d/old 100644 0:0 9"},
			nil,
		},
		"file both ways": {
			entries{testtar.File("z/d/old", "", at(9)), testtar.File("usr/d/old", "", at(10))},
			[]string{"usr/d/old 100644 0:0 10"},
			nil,
		},
		"directory through a link, file by name": {
			entries{testtar.File("z/d/sub/f", ""), testtar.File("usr/d", "", at(9))},
			[]string{"usr/d 100644 0:0 9"},
			[]string{"usr/d/sub"},
		},
		"entry through a link, none by name": {
			entries{testtar.Dir("z/d", testtar.Mode(0o750), at(9)), testtar.File("usr/d/f", "")},
			[]string{"usr/d 40750 0:0 9", "usr/d/f ", "usr/d/old "},
			nil,
		},
		"entry through a link and by name": {
			entries{testtar.Dir("z/d", testtar.Mode(0o750), at(9)), testtar.Dir("usr/d", testtar.Mode(0o705), at(10))},
			[]string{"usr/d 40705 0:0 10", "usr/d/old "},
			nil,
		},
		"opaque through a link": {
			entries{testtar.Opaque("z/d"), testtar.File("usr/d/sub/f", "")},
			[]string{"usr/d 40711 3:4 7", "usr/d/sub 40755 0:0 0", "usr/d/sub/f "},
			[]string{"usr/d/old"},
		},
		"a directory comes back to where one with the name came": {
			entries{testtar.File("odd/one", ""), testtar.File("self/odd/two", "")},
			[]string{"odd 40755 0:0 0", "odd/one ", "odd/two ", "self 120777", "file 100644"},
			nil,
		},
		"a directory comes back to where a file came": {
			entries{testtar.File("odd/one", ""), testtar.File("self/odd", "")},
			[]string{"odd 40755 0:0 0", "odd/one ", "self 120777", "file 100644"},
			nil,
		},
		"hard link through a link, file by name": {
			entries{testtar.Link("z/d/old", "file"), testtar.File("usr/d/old", "", at(9))},
			[]string{"usr/d/old 100644 0:0 9"},
			nil,
		},
		"hard link through a link, directory by name": {
			entries{testtar.Link("z/d", "file"), testtar.File("usr/d/f", "")},
			[]string{"usr/d 40711 3:4 7", "usr/d/f "},
			nil,
		},
		"hard link through a link to nothing yet": {
			entries{testtar.Link("z/new/../more/h", "file")},
			[]string{"usr/more 40755 0:0 0", "usr/more/h "},
			[]string{"usr/new"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			dirs := stack(t, dir, lower, test.layer)
			wantLines(t, dirs, test.want, test.not)
			want := flatTree(t, dirs, filepath.Join(dir, "flat"), false)
			inMemory := exportTree(t, [][]byte{testtar.Tar(lower...), testtar.Tar(test.layer...)})
			if diff := cmp.Diff(want, inMemory); diff != "" {
				t.Errorf("in memory (+) differs from on disk (-):\n%s", diff)
			}
		})
	}
}
