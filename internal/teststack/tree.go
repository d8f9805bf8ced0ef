package teststack

import (
	"maps"
	"path"
	"slices"
)

// tree lists what the model holds.
func (m *model) tree() map[string]File {
	out := map[string]File{}
	first := map[*inode]string{}
	group := map[*inode]int{}
	var count func(n *inode)
	count = func(n *inode) {
		for _, kid := range n.kids {
			group[kid]++
			count(kid)
		}
	}
	count(m.root)
	all := map[string]*inode{}
	var collect func(name string, n *inode)
	collect = func(name string, n *inode) {
		all[name] = n
		for kid, k := range n.kids {
			collect(path.Join(name, kid), k)
		}
	}
	collect(".", m.root)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		n := all[name]
		f := File{Kind: n.Kind, Mode: uint32(n.Mode), UID: uint32(n.UID), GID: uint32(n.GID), ModTime: n.Time, Mark: n.Xattr}
		switch n.Kind {
		case "file":
			f.Content = n.Target
		case "symlink":
			f.Target = n.Target
			f.Mode = 0o777
		case "char":
			f.Target = "1:3"
		}
		if !n.isDir() && group[n] > 1 {
			if first[n] == "" {
				first[n] = name
			}
			f.Group = first[n]
		}
		out[name] = f
	}
	return out
}
