package handscript

import (
	"path"
	"strconv"

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
func (p *planner) layer(n int, a archive, want []imagetree.LowerFile) layerPlan {
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
func (p *planner) remember(n int, want []imagetree.LowerFile) {
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
	want   []imagetree.LowerFile
	index  map[string]*imagetree.LowerFile
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

func newDraft(p *planner, n int, a archive, want []imagetree.LowerFile) *draft {
	d := &draft{
		planner: p, n: n, a: a, want: want,
		index:  make(map[string]*imagetree.LowerFile, len(want)),
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
