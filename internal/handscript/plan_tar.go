package handscript

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/tarstream"
)

// extract decides member by member what tar does, and notes what that makes.
func (d *draft) extract() {
	for _, m := range d.a.members {
		if !d.byTar(m) {
			if !d.seen[m.raw] && !hidden(m.name) {
				d.plan.exclude = append(d.plan.exclude, m.raw)
			}
			d.seen[m.raw] = true
			continue
		}
		d.plan.tar = true
		d.parents(m.name)
		switch m.kind {
		case tarstream.TypeDir:
			d.explicit[m.name] = true
		case tarstream.TypeLink:
			d.files[m.name] = d.files[m.link]
		default:
			d.files[m.name] = imagetree.Content{Layer: d.n, Ordinal: m.ordinal}
		}
	}
	if !d.plan.tar || excludeSize(d.plan.exclude) > maxExclude {
		d.plan.tar, d.plan.exclude = false, nil
		d.files, d.explicit = map[string]imagetree.Content{}, map[string]bool{".": false}
	}
}

// maxExclude is how many bytes of names tar is told on its command line. The
// kernel takes 2 MiB, environment included (execve(2)), but nobody reads that.
const maxExclude = 128 << 10

func excludeSize(names []string) int {
	sum := 0
	for _, n := range names {
		sum += len(n) + len(" --exclude=''")
	}
	return sum
}

// parents notes the directories that tar makes on the way to name.
func (d *draft) parents(name string) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, ok := d.explicit[dir]; ok {
			break
		}
		d.explicit[dir] = false
	}
}

// byTar says whether tar makes of m what byhand makes of it, though perhaps
// not at the right place.
func (d *draft) byTar(m member) bool {
	switch {
	case !m.plain, d.a.ambiguous, d.barred[m.ordinal], d.count[m.name] != 1, hidden(m.name), !d.throughDirs(path.Dir(m.name)):
		return false
	}
	e := d.index[m.name]
	self := imagetree.Content{Layer: d.n, Ordinal: m.ordinal}
	switch m.kind {
	case tarstream.TypeDir:
		return e != nil && e.IsDir() && !e.Implicit && e.Content == self
	case tarstream.TypeLink:
		target, ok := d.files[m.link]
		return ok && e != nil && e.Content == target && !e.IsDir() && e.Mode&unix.S_IFMT == unix.S_IFREG
	case tarstream.TypeChar, tarstream.TypeBlock:
		return !d.flat && len(d.places[self]) > 0
	case tarstream.TypeReg, tarstream.TypeSymlink, tarstream.TypeFIFO:
		return len(d.places[self]) > 0 && !(d.flat && m.locked)
	}
	return false
}

// hidden knows the names that --exclude='.wh.*' takes away.
func hidden(name string) bool {
	return strings.HasPrefix(name, ".wh.") || strings.Contains(name, "/.wh.")
}

// throughDirs says whether the archive has nothing but directories on the way
// to dir and at it.
func (d *draft) throughDirs(dir string) bool {
	ok, known := d.dirsOK[dir]
	if !known {
		ok = !d.nonDir[dir] && d.throughDirs(path.Dir(dir))
		d.dirsOK[dir] = ok
	}
	return ok
}
