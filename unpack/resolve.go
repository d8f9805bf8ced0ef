package unpack

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
)

// maxLinks is the kernel's bound on symbolic links in a path
// (path_resolution(7)).
const maxLinks = 40

// parent returns the directory that a clean path leads to, making those that
// are missing.
func (a *applier) parent(dir string) (*node, error) {
	if dir == "" {
		return a.tree.root, nil
	}
	if dir == a.lastDir && a.lastNode != nil {
		return a.lastNode, nil
	}
	n, rest, err := a.walk(dir, true)
	if err != nil {
		return nil, err
	}
	if rest != "" {
		return nil, unix.ENOTDIR
	}
	a.lastDir, a.lastNode = dir, n
	return n, nil
}

// walk resolves path inside the layer. Without create it stops before the
// first component that is no directory and returns it with what follows.
func (a *applier) walk(path string, create bool) (n *node, rest string, err error) {
	n, rest = a.tree.root, path
	for links := 0; rest != ""; {
		comp, after, _ := strings.Cut(rest, "/")
		switch comp {
		case "", ".":
			rest = after
			continue
		case "..":
			if n.parent != nil {
				n = n.parent
			}
			rest = after
			continue
		}
		if kid := n.kids[comp]; kid != nil {
			n, rest = kid, after
			continue
		}
		target, err := a.linkAt(n, comp)
		if err != nil {
			return nil, "", err
		}
		if target == "" {
			if !create {
				return n, rest, nil
			}
			if n, err = a.implicit(n, comp); err != nil {
				return nil, "", err
			}
			rest = after
			continue
		}
		if links++; links > maxLinks {
			return nil, "", unix.ELOOP
		}
		if target[0] == '/' {
			n = a.tree.root
		}
		rest = target
		if after != "" {
			rest += "/" + after
		}
	}
	return n, "", nil
}

// linkAt returns the target of the symbolic link base in n, "" if there is
// something else or nothing.
func (a *applier) linkAt(n *node, base string) (string, error) {
	fd, err := a.tree.fd(n)
	if err != nil {
		return "", err
	}
	target, err := rootfd.Readlinkat(fd, base)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return "", nil
	}
	return target, err
}

// implicit makes the directory base in n for want of an entry.
func (a *applier) implicit(n *node, base string) (*node, error) {
	if _, ok := a.linkAs[linkKey{n, base}]; ok {
		return nil, unix.ENOTDIR
	}
	if n.marks[base] {
		if err := a.clear(n, base); err != nil {
			return nil, err
		}
	}
	kid, err := a.makeDir(n, base, 0o755)
	if errors.Is(err, unix.EEXIST) {
		return nil, unix.ENOTDIR
	}
	if err != nil {
		return nil, err
	}
	a.res.Counts.Implicit++
	if err := a.remember(nameCost + kid.size); err != nil {
		return nil, err
	}
	return kid, a.countEntry()
}
