package overlay

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
)

// Walk calls fn for every file of the merged tree, the root "." first, a
// directory before what it holds, names in byte order. Entries carry the
// target of symbolic links and the extended attributes. An error of fn ends
// the walk and is returned.
func (v *View) Walk(ctx context.Context, fn func(*Entry) error) error {
	return v.walk(ctx, func(e *Entry, _ node) error { return fn(e) })
}

// walk is Walk with where the file is.
func (v *View) walk(ctx context.Context, fn func(*Entry, node) error) error {
	root := &mergedDir{parts: make([]part, 0, len(v.root.parts))}
	defer root.close()
	for _, p := range v.root.parts {
		fd, err := openDirAt(p.fd, ".")
		if err != nil {
			return entryError(".", "open directory", err)
		}
		root.parts = append(root.parts, part{layer: p.layer, fd: fd})
	}
	w := &viewWalk{fn: fn, buf: make([]byte, direntBuf)}
	top := node{name: ".", layer: root.parts[0].layer, fd: root.parts[0].fd, typ: unix.DT_DIR}
	if err := w.entry(top, "."); err != nil {
		return err
	}
	return w.dir(ctx, root, "")
}

type viewWalk struct {
	fn  func(*Entry, node) error
	buf []byte
}

// dir walks what d holds. rel ends in a slash, or is empty for the root.
func (w *viewWalk) dir(ctx context.Context, d *mergedDir, rel string) error {
	nodes, err := d.list(w.buf)
	if err != nil {
		return entryError(rel+".", "read directory", err)
	}
	for _, n := range nodes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.entry(n, rel+n.name); err != nil {
			return err
		}
		if n.typ != unix.DT_DIR {
			continue
		}
		sub, err := d.enter(n)
		if err != nil {
			return entryError(rel+n.name, "open directory", err)
		}
		err = w.dir(ctx, sub, rel+n.name+"/")
		sub.close()
		if err != nil {
			return err
		}
	}
	return nil
}

// entry describes one file to fn.
func (w *viewWalk) entry(n node, name string) error {
	var st unix.Stat_t
	if err := lstatat(n.fd, n.name, &st); err != nil {
		return entryError(name, "read", err)
	}
	e := newEntry(name, n.layer, &st)
	if n.typ == unix.DT_LNK {
		var err error
		if e.Link, err = rootfd.Readlinkat(n.fd, n.name); err != nil {
			return entryError(name, "read symbolic link", err)
		}
	}
	err := eachXattrAt(n.fd, n.name, func(attr string, value []byte) error {
		if e.Xattrs == nil {
			e.Xattrs = make(map[string]string)
		}
		e.Xattrs[attr] = string(value)
		return nil
	})
	if err != nil {
		return entryError(name, "read extended attributes", err)
	}
	return w.fn(e, n)
}
