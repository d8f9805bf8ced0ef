package handscript

import (
	"cmp"
	"maps"
	"path"
	"slices"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/tarstream"
)

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
