package imagetree

import (
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/mergewalk"
)

// parent returns the directory that a clean path leads to, making those that
// are missing.
func (l *reader) parent(dir string) (*node, error) {
	if dir == "" {
		return l.root, nil
	}
	if dir == l.lastDir && l.lastNode != nil {
		return l.lastNode, nil
	}
	n, rest, err := l.walk(dir, true)
	if err != nil {
		return nil, err
	}
	if rest != "" {
		return nil, unix.ENOTDIR
	}
	l.lastDir, l.lastNode = dir, n
	return n, nil
}

// walk resolves path inside the layer. Without create it stops before the
// first component that is no directory and returns it with what follows.
func (l *reader) walk(path string, create bool) (n *node, rest string, err error) {
	n, rest = l.root, path
	for links := 0; rest != ""; {
		comp, after, _ := strings.Cut(rest, "/")
		switch comp {
		case "", ".":
			rest = after
			continue
		case "..":
			if w := n.dir.work; w.parent != nil {
				n = w.parent
			}
			rest = after
			continue
		}
		if err := checkName(comp); err != nil {
			return nil, "", err
		}
		kid := n.dir.kids[comp]
		if kid != nil && kid.isDir() {
			n, rest = kid, after
			continue
		}
		if kid == nil || !kid.isSymlink() {
			if !create {
				return n, rest, nil
			}
			if n, err = l.implicit(n, comp); err != nil {
				return nil, "", err
			}
			rest = after
			continue
		}
		if links++; links > mergewalk.MaxLinks {
			return nil, "", unix.ELOOP
		}
		if kid.link[0] == '/' {
			n = l.root
		}
		rest = kid.link
		if after != "" {
			rest += "/" + after
		}
	}
	return n, "", nil
}

// implicit makes the directory base in n for want of an entry.
func (l *reader) implicit(n *node, base string) (*node, error) {
	if _, ok := l.linkAs[linkKey{n, base}]; ok {
		return nil, unix.ENOTDIR
	}
	if n.dir.work.marks[base] {
		l.clear(n, base)
	}
	if n.dir.kids[base] != nil {
		return nil, unix.ENOTDIR
	}
	kid, err := l.makeDir(n, base)
	if err != nil {
		return nil, err
	}
	if err := l.remember(nameCost + kid.dir.work.size); err != nil {
		return nil, err
	}
	l.counts.Implicit++
	return kid, l.countEntry()
}

// join returns the name of base in the directory n of a layer being read.
func join(n *node, base string) string {
	names := []string{base}
	for w := n.dir.work; w.parent != nil; w = w.parent.dir.work {
		names = append(names, w.name)
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

func sortedTrue(set map[string]bool) []string {
	var names []string
	for name, is := range set {
		if is {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func sortedDirs(kids map[string]*node) []string {
	var names []string
	for name, kid := range kids {
		if kid.isDir() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func sortedNames(kids map[string]*node) []string { return slices.Sorted(maps.Keys(kids)) }
