package teststack

import (
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"time"
)

// gen makes random layers out of few names, so that they meet.
type gen struct{ *rand.Rand }

func (g *gen) name() string {
	elems := make([]string, 1+g.IntN(3))
	for i := range elems {
		elems[i] = string("abc"[g.IntN(3)])
	}
	return strings.Join(elems, "/")
}

func (g *gen) layer(m *model) []Op {
	ops := make([]Op, g.IntN(9))
	for i := range ops {
		ops[i] = g.op(m)
	}
	if g.IntN(20) == 0 {
		return ops
	}
	// Most layers shall be such as can be meant: one kind of entry for a
	// name, and no path through a file.
	kinds := map[string]string{}
	return slices.DeleteFunc(ops, func(o Op) bool {
		if o.Kind == "whiteout" {
			return through(kinds, path.Dir(o.Name))
		}
		if o.Kind == "opaque" {
			return through(kinds, o.Name)
		}
		if through(kinds, path.Dir(o.Name)) || kinds[o.Name] != "" && (kinds[o.Name] != "dir" || o.Kind != "dir") {
			return true
		}
		for name := range kinds {
			if o.Kind != "dir" && strings.HasPrefix(name, o.Name+"/") {
				return true
			}
		}
		for dir := path.Dir(o.Name); dir != "."; dir = path.Dir(dir) {
			kinds[dir] = "dir"
		}
		kinds[o.Name] = o.Kind
		return o.Kind == "link" && (kinds[o.Target] == "dir" || through(kinds, path.Dir(o.Target)))
	})
}

// through tells whether a path leads through something that is no directory.
func through(kinds map[string]string, dir string) bool {
	for ; dir != "."; dir = path.Dir(dir) {
		if k := kinds[dir]; k != "" && k != "dir" {
			return true
		}
	}
	return false
}

func (g *gen) op(m *model) Op {
	kinds := []string{"dir", "dir", "dir", "file", "file", "file", "symlink", "symlink", "link", "whiteout", "opaque", "fifo", "char"}
	o := Op{Kind: kinds[g.IntN(len(kinds))], Name: g.name()}
	o.Mode = []int64{0o755, 0o700, 0o644, 0o4755, 0o2711, 0o1777, 0, 0o555}[g.IntN(8)]
	o.UID = []int{0, 1, 1000, 70000}[g.IntN(4)]
	o.GID = []int{0, 5, 1000}[g.IntN(3)]
	o.Time = time.Unix([]int64{1, 1_700_000_000, 1_600_000_000}[g.IntN(3)], int64(g.IntN(2))*123_456_789)
	if g.IntN(4) == 0 && (o.Kind == "dir" || o.Kind == "file") {
		o.Xattr = g.word()
	}
	switch o.Kind {
	case "dir":
		if g.IntN(12) == 0 {
			o.Name = "."
		}
	case "opaque":
		if g.IntN(6) == 0 {
			o.Name = "."
		}
	case "file":
		o.Target = g.word()
	case "symlink":
		o.Target = []string{g.name(), "/" + g.name(), "../" + g.name(), ".", "..", "/", "a/", "missing", "missing/more"}[g.IntN(9)]
	case "link":
		o.Target = g.linkTarget(m)
	}
	return o
}

func (g *gen) word() string { return strings.Repeat(string(rune('k'+g.IntN(8))), 1+g.IntN(5)) }

// linkTarget is mostly a file that there is.
func (g *gen) linkTarget(m *model) string {
	if g.IntN(5) > 0 {
		var files []string
		for name, f := range m.tree() {
			if f.Kind != "dir" {
				files = append(files, name)
			}
		}
		if len(files) > 0 {
			slices.Sort(files)
			return files[g.IntN(len(files))]
		}
	}
	return g.name()
}
