package peers_test

import (
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/byhand/byhand/internal/teststack"
)

// ordinary writes a random stack as tools write layers: a directory's entry
// before what is in it, and its markers before all else there; a hard link
// after its file, with that file's attributes. Every directory that a path
// passes through has an entry; if terse, only those that no layer below has.
// Left is what all tools agree on, but for what quirks tells.
func ordinary(s teststack.Stack, terse bool) [][]teststack.Op {
	var layers [][]teststack.Op
	there := map[string]teststack.Op{} // in all layers so far
	for _, l := range s.Layers {
		layers = append(layers, one(l.Ops, there, terse))
	}
	return layers
}

// one puts the entries of a layer in order. There are the names of the layers
// below, and afterwards also its own.
func one(ops []teststack.Op, there map[string]teststack.Op, terse bool) []teststack.Op {
	dirs, files := map[string]teststack.Op{}, map[string]teststack.Op{}
	for _, o := range ops {
		switch o.Kind {
		case "dir":
			dirs[o.Name] = o
		case "opaque", "whiteout", "link":
		default:
			files[o.Name] = o
		}
	}
	passed := map[string]bool{} // has no entry of its own
	for _, o := range ops {
		for dir := o.Name; dir != "."; {
			if dir = path.Dir(dir); dirs[dir].Kind == "" {
				dirs[dir] = teststack.Op{Kind: "dir", Name: dir, Mode: 0o755, Time: time.Unix(2, 0)}
				passed[dir] = terse && there[dir].Kind == "dir"
			}
		}
		if _, dir := dirs[o.Name]; o.Kind == "opaque" && !dir {
			dirs[o.Name] = teststack.Op{Kind: "dir", Name: o.Name, Mode: 0o755, Time: time.Unix(2, 0)}
		}
	}
	markers := marked(ops, dirs, files)
	for _, o := range markers {
		hide(there, o)
	}
	all := slices.Concat(slices.Collect(maps.Values(dirs)), markers, slices.Collect(maps.Values(files)))
	all = slices.DeleteFunc(all, func(o teststack.Op) bool { return o.Kind == "dir" && passed[o.Name] && there[o.Name].Kind == "dir" })
	slices.SortFunc(all, func(a, b teststack.Op) int { return strings.Compare(place(a), place(b)) })
	for _, o := range all {
		if o.Kind == "whiteout" || o.Kind == "opaque" {
			continue
		}
		if there[o.Name].Kind != "dir" || o.Kind != "dir" {
			hide(there, teststack.Op{Kind: "whiteout", Name: o.Name})
		}
		there[o.Name] = o
	}
	var links []teststack.Op
	for _, o := range ops {
		file, ok := there[o.Target]
		_, dir := dirs[o.Name]
		_, twice := files[o.Name]
		if o.Kind != "link" || !ok || file.Kind == "dir" || dir || twice || o.Target == o.Name {
			continue
		}
		o.Mode, o.UID, o.GID, o.Time, o.Xattr = file.Mode, file.UID, file.GID, file.Time, file.Xattr
		links, files[o.Name] = append(links, o), file
	}
	for _, o := range links {
		hide(there, teststack.Op{Kind: "whiteout", Name: o.Name})
		there[o.Name] = files[o.Name]
	}
	return append(all, links...)
}

// place is what entries are sorted by.
func place(o teststack.Op) string {
	switch o.Kind {
	case "opaque":
		return path.Join("/", o.Name) + "/\x00"
	case "whiteout":
		return path.Join("/", path.Dir(o.Name)) + "/\x01" + path.Base(o.Name)
	}
	return path.Join("/", o.Name)
}

// marked lists the markers that say something: where a whiteout's name comes
// again there is none, but if it is a directory that is an opaque one.
func marked(ops []teststack.Op, dirs, files map[string]teststack.Op) []teststack.Op {
	var markers []teststack.Op
	seen := map[string]bool{}
	for _, o := range ops {
		if o.Kind != "whiteout" && o.Kind != "opaque" {
			continue
		}
		if _, dir := dirs[o.Name]; dir {
			o.Kind = "opaque"
		}
		if _, file := files[o.Name]; file || seen[o.Name] {
			continue
		}
		seen[o.Name] = true
		markers = append(markers, o)
	}
	return markers
}

// hide takes away what a marker hides.
func hide(there map[string]teststack.Op, marker teststack.Op) {
	maps.DeleteFunc(there, func(name string, _ teststack.Op) bool {
		return name == marker.Name && marker.Kind == "whiteout" || strings.HasPrefix(name, marker.Name+"/") ||
			marker.Name == "." && name != "."
	})
}

// quirks names the cases of TestDifferences that a stack runs into with a
// peer.
func quirks(layers [][]teststack.Op, peer string) []string {
	found := map[string]bool{}
	marks, special := map[string]bool{}, map[string]bool{}
	for _, ops := range layers {
		named := map[string]bool{}
		for _, o := range ops {
			named[o.Name] = o.Kind != "opaque" && o.Kind != "whiteout"
			switch {
			case peer == "overlayfs" && o.Kind == "opaque" && o.Name == ".":
				found["opaque root"] = true
			case peer == "overlayfs" && o.Kind == "link" && !named[o.Target]:
				found["hard link to a lower file"] = true
			case peer == "native" && o.Kind == "dir" && o.Xattr == "" && marks[o.Name]:
				found["extended attribute that a layer no longer names"] = true
			}
			switch o.Kind {
			case "link":
				special[o.Name] = special[o.Target]
				if peer == "native" && special[o.Target] {
					found["lower hard links that are no regular files"] = true
				}
			default:
				special[o.Name] = o.Kind != "file"
			}
			marks[o.Name] = marks[o.Name] || o.Xattr != ""
		}
	}
	return slices.Sorted(maps.Keys(found))
}
