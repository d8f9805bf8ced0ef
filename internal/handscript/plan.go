package handscript

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/tarstream"
)

// step is one call in the script: a command or function and its operands.
type step []string

// layerPlan is what it takes to make one lower dir of one layer's tar: GNU tar
// for all that it does as byhand does, and single commands for the rest.
type layerPlan struct {
	size        int64  // of the uncompressed tar in bytes
	compression string // gzip, zstd, bzip2 or "" for none

	tar     bool     // anything is left for tar to do
	exclude []string // members that tar leaves out, beside all .wh. names

	unlock    []step // directories that an ordinary user could not write to
	dirs      []step // directories that tar did not make
	moves     []step // files that belong elsewhere, and what they leave empty
	files     []step // files that tar did not make
	links     []step // hard links to files of lower layers
	whiteouts []step
	opaques   []step
	meta      []step // of directories that are implicit or were changed since
	flat      []step // what goes from the flat tree before the layer is added
}

// planner makes the plans of all layers, base first.
type planner struct {
	flat  bool
	homes map[imagetree.Content]string // a file's first place in lower/
}

// layer plans layer n. want is its lower dir as it has to become.
func (p *planner) layer(n int, a archive, want []imagetree.LowerEntry) layerPlan {
	barred := map[int64]bool{}
	for {
		d := newDraft(p, n, a, want)
		d.barred = barred
		conflict := d.run()
		if conflict == nil {
			p.remember(n, want)
			return d.plan
		}
		for _, c := range conflict {
			barred[c] = true
		}
	}
}

// remember notes where files are, for hard links of layers above.
func (p *planner) remember(n int, want []imagetree.LowerEntry) {
	for _, e := range want {
		if _, ok := p.homes[e.Content]; !ok && !e.IsDir() && !e.Whiteout {
			p.homes[e.Content] = lowerPath(n, e.Name)
		}
	}
}

// lowerPath names a file of a lower dir as seen from the bundle.
func lowerPath(n int, name string) string { return path.Join("lower", strconv.Itoa(n), name) }

// draft is the plan of one layer in the making.
type draft struct {
	*planner
	n      int
	a      archive
	want   []imagetree.LowerEntry
	index  map[string]*imagetree.LowerEntry
	places map[imagetree.Content][]string // of each file in want
	barred map[int64]bool                 // members that tar may not make
	plan   layerPlan

	// What the archive has, by clean name.
	count  map[string]int
	nonDir map[string]bool
	dirsOK map[string]bool // see throughDirs
	seen   map[string]bool // names that tar leaves out

	// What tar leaves behind.
	files    map[string]imagetree.Content
	explicit map[string]bool // directories; false for those without an entry

	dirty    map[string]bool // directories in which something was done since
	conflict []int64
}

func newDraft(p *planner, n int, a archive, want []imagetree.LowerEntry) *draft {
	d := &draft{
		planner: p, n: n, a: a, want: want,
		index:  make(map[string]*imagetree.LowerEntry, len(want)),
		places: map[imagetree.Content][]string{},
		count:  map[string]int{}, nonDir: map[string]bool{}, dirsOK: map[string]bool{".": true},
		seen: map[string]bool{}, files: map[string]imagetree.Content{}, explicit: map[string]bool{".": false},
		dirty: map[string]bool{},
	}
	for i := range want {
		e := &want[i]
		d.index[e.Name] = e
		if !e.IsDir() && !e.Whiteout {
			d.places[e.Content] = append(d.places[e.Content], e.Name)
		}
	}
	for _, m := range a.members {
		d.count[m.name]++
		if m.kind != tarstream.TypeDir && m.kind != tarstream.TypeDumpDir {
			d.nonDir[m.name] = true
		}
	}
	return d
}

// run fills the plan, or returns members that tar had better not make.
func (d *draft) run() []int64 {
	d.extract()
	d.makeDirs()
	d.move()
	d.removeDirs()
	d.makeFiles()
	d.describe()
	return d.conflict
}

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
			// Of a directory that is there for what is in it already, GNU
			// tar forgets the attributes.
			_, there := d.explicit[m.name]
			d.explicit[m.name] = !there || m.name == "."
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
	case !m.plain, d.a.global, d.barred[m.ordinal], d.count[m.name] != 1, hidden(m.name), !d.throughDirs(path.Dir(m.name)):
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

// makeDirs makes the directories that tar did not.
func (d *draft) makeDirs() {
	for _, e := range d.want {
		if _, ok := d.explicit[e.Name]; ok || !e.IsDir() {
			continue
		}
		if c, ok := d.files[e.Name]; ok {
			d.conflict = append(d.conflict, c.Ordinal)
			continue
		}
		d.explicit[e.Name] = false
		d.plan.dirs = append(d.plan.dirs, d.made(e.Name, step{"mkdir", d.at(e.Name)})...)
	}
}

func (d *draft) at(name string) string { return lowerPath(d.n, name) }

// made marks the directory that name is in, and frees a new file of the
// access control list that a directory may give to what is made in it.
func (d *draft) made(name string, s step) []step {
	d.dirty[path.Dir(name)] = true
	steps := []step{s}
	if p := d.index[path.Dir(name)]; p != nil && slices.ContainsFunc(p.Xattrs, isDefaultACL) {
		steps = append(steps, step{"no_list", d.at(name)})
	}
	return steps
}

func isDefaultACL(x tarstream.Xattr) bool { return x.Name == "system.posix_acl_default" }

// move brings files to where they belong.
func (d *draft) move() {
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		c := d.files[name]
		if e := d.index[name]; e != nil && !e.IsDir() && !e.Whiteout && e.Content == c {
			continue
		}
		to := d.free(c)
		_, isDir := d.explicit[to]
		_, isFile := d.files[to]
		if to == "" || isDir || isFile {
			d.conflict = append(d.conflict, c.Ordinal)
			continue
		}
		delete(d.files, name)
		d.files[to] = c
		d.dirty[path.Dir(name)], d.dirty[path.Dir(to)] = true, true
		d.plan.moves = append(d.plan.moves, step{"mv", d.at(name), d.at(to)})
	}
}

// free returns the first name of a file where it is not yet, or "".
func (d *draft) free(c imagetree.Content) string {
	for _, name := range d.places[c] {
		if have, ok := d.files[name]; !ok || have != c {
			return name
		}
	}
	return ""
}

// removeDirs takes away what the moves have left empty.
func (d *draft) removeDirs() {
	names := slices.SortedFunc(maps.Keys(d.explicit), func(a, b string) int { return cmp.Compare(b, a) })
	for _, name := range names {
		if e := d.index[name]; e == nil || !e.IsDir() {
			delete(d.explicit, name)
			d.dirty[path.Dir(name)] = true
			d.plan.moves = append(d.plan.moves, step{"rmdir", d.at(name)})
		}
	}
}

// makeFiles makes all that is no directory and not there yet.
func (d *draft) makeFiles() {
	have := map[imagetree.Content]string{}
	for name, c := range d.files {
		if first, ok := have[c]; !ok || name < first {
			have[c] = name
		}
	}
	for i := range d.want {
		e := &d.want[i]
		if c, ok := d.files[e.Name]; e.IsDir() || ok && c == e.Content {
			continue
		}
		first, there := have[e.Content]
		home, lower := d.homes[e.Content]
		switch {
		case e.Whiteout:
			if !d.flat {
				d.plan.whiteouts = append(d.plan.whiteouts, d.made(e.Name, step{"whiteout", d.at(e.Name)})[0])
			}
			continue
		case lower:
			d.plan.links = append(d.plan.links, step{"hard_link", home, d.at(e.Name)})
			d.dirty[path.Dir(e.Name)] = true
			continue
		case there:
			d.plan.files = append(d.plan.files, step{"hard_link", d.at(first), d.at(e.Name)})
			d.dirty[path.Dir(e.Name)] = true
			continue
		}
		have[e.Content] = e.Name
		d.plan.files = append(d.plan.files, d.file(e)...)
	}
}

// file makes one file from nothing but the tar's bytes.
func (d *draft) file(e *imagetree.LowerEntry) []step {
	at := d.at(e.Name)
	var steps []step
	switch e.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		m := d.a.members[e.Content.Ordinal]
		steps = d.made(e.Name, step{"truncate", "-s", strconv.FormatInt(m.size, 10), at})
		segments, offset := m.sparse, m.offset
		if segments == nil && m.size > 0 {
			segments = []tarstream.Segment{{Length: m.size}}
		}
		for _, s := range segments {
			if s.Length > 0 {
				steps = append(steps, step{"piece", strconv.FormatInt(offset, 10), strconv.FormatInt(s.Length, 10), strconv.FormatInt(s.Offset, 10), at})
			}
			offset += s.Length
		}
	case unix.S_IFLNK:
		steps = d.made(e.Name, step{"ln", "-s", "--", e.Link, at})[:1]
	case unix.S_IFIFO:
		steps = d.made(e.Name, step{"mkfifo", at})
	default:
		return d.device(e, at)
	}
	return append(steps, attributes(e.Entry, at, d.flat)...)
}

// device makes a device with all that belongs to it, or, for an ordinary user,
// nothing.
func (d *draft) device(e *imagetree.LowerEntry, at string) []step {
	kind := "c"
	if e.Mode&unix.S_IFMT == unix.S_IFBLK {
		kind = "b"
	}
	steps := d.made(e.Name, step{
		"device", at, kind, strconv.Itoa(int(e.Major)), strconv.Itoa(int(e.Minor)), owner(e.Entry), mode(e.Entry), timestamp(e.Entry),
	})[:1]
	for _, x := range e.Xattrs {
		steps = append(steps, step{"attribute", at, x.Name, hexValue(x.Value)})
	}
	return steps
}

func owner(e imagetree.Entry) string {
	return strconv.FormatUint(uint64(e.UID), 10) + ":" + strconv.FormatUint(uint64(e.GID), 10)
}

// mode is written in five digits, for with fewer GNU chmod leaves a directory
// the setgid bit that it was given by its parent.
func mode(e imagetree.Entry) string { return fmt.Sprintf("%05o", e.Mode&0o7777) }

// attributes gives a file its owner, mode, attributes and time, in an order in
// which one does not undo the other: chown clears setuid bits and file
// capabilities. In a flat tree, which an ordinary user may make, the mode comes
// after what it could forbid.
func attributes(e imagetree.Entry, at string, flat bool) []step {
	steps := []step{{"own", owner(e), at}}
	change := step{"chmod", mode(e), at}
	if e.Mode&unix.S_IFMT == unix.S_IFLNK {
		change = nil
	}
	if !flat && change != nil {
		steps = append(steps, change)
	}
	for _, x := range e.Xattrs {
		steps = append(steps, step{"attribute", at, x.Name, hexValue(x.Value)})
	}
	if flat && change != nil {
		steps = append(steps, change)
	}
	return append(steps, stamp(e, at))
}

// hexValue is a value as setfattr(1) takes it.
func hexValue(v string) string {
	if v == "" {
		return ""
	}
	const digits = "0123456789abcdef"
	b := []byte("0x")
	for i := range len(v) {
		b = append(b, digits[v[i]>>4], digits[v[i]&15])
	}
	return string(b)
}

func stamp(e imagetree.Entry, at string) step { return step{"stamp", timestamp(e), at} }

// timestamp is a time as touch(1) of GNU takes it after an @: decimal seconds,
// the fraction counted away from zero.
func timestamp(e imagetree.Entry) string {
	sec, nsec, sign := e.ModTime.Unix(), e.ModTime.Nanosecond(), ""
	if sec < 0 && nsec > 0 {
		sec, nsec, sign = -(sec + 1), 1e9-nsec, "-"
	}
	s := sign + strconv.FormatInt(sec, 10)
	if nsec > 0 {
		frac := strconv.Itoa(nsec)
		s += "." + strings.Repeat("0", 9-len(frac)) + frac
	}
	return s
}

// describe finishes the directories, after all that happens in them.
func (d *draft) describe() {
	for _, e := range d.want {
		if !e.IsDir() {
			continue
		}
		at := d.at(e.Name)
		if e.Opaque && !d.flat {
			d.plan.opaques = append(d.plan.opaques, step{"opaque", at})
		}
		locked := d.flat && e.Mode&0o700 != 0o700 && d.explicit[e.Name] && d.dirty[e.Name]
		if locked {
			d.plan.unlock = append(d.plan.unlock, step{"chmod", "u+rwx", at})
		}
		switch {
		case !d.explicit[e.Name], locked:
			d.plan.meta = append(d.plan.meta, attributes(e.Entry, at, d.flat)...)
		case d.dirty[e.Name]:
			d.plan.meta = append(d.plan.meta, stamp(e.Entry, at))
		}
	}
}
