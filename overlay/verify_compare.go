package overlay

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/sys"
	"github.com/byhand/byhand/unpack"
)

// comparer walks one lower dir beside what it should be.
type comparer struct {
	v    *verifier
	p    *layerProof
	tree *imagetree.Tree
	kept notKept // of this layer and those below
	dev  uint64  // of the lower dir
	buf  []byte
}

// compare finds what of the layer's files differs.
func (v *verifier) compare(ctx context.Context, p *layerProof, tree *imagetree.Tree) error {
	c := &comparer{v: v, p: p, tree: tree, kept: p.facts.NotKept, buf: make([]byte, direntBuf)}
	for _, below := range v.proofs[:p.index] {
		c.kept.merge(below.facts.NotKept)
	}
	fd := int(p.dir.diff.Fd())
	var st unix.Stat_t
	if err := sys.Fstat(fd, &st); err != nil {
		return fmt.Errorf("verify layer %d: %w", p.index+1, err)
	}
	c.dev = st.Dev
	root := tree.Lower(p.index + 1)
	err := c.meta(fd, ".", &root, &st)
	if err == nil {
		err = c.dir(ctx, fd, root)
	}
	if err != nil {
		return fmt.Errorf("verify layer %d: %w", p.index+1, err)
	}
	for name, err := range p.content { // what the walk did not come to
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			continue // it lies in what is missing or of another type
		}
		c.content(name, err)
	}
	return nil
}

// dir compares what an open directory holds.
func (c *comparer) dir(ctx context.Context, fd int, want imagetree.LowerFile) error {
	var found []string
	err := readDir(fd, c.buf, func(name string, _ uint8) error {
		found = append(found, name)
		return nil
	})
	if err != nil {
		return entryError(want.Name, "read directory", err)
	}
	slices.Sort(found)
	kids := c.tree.LowerDir(c.p.index+1, want)
	for len(kids) > 0 || len(found) > 0 {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		var order int
		switch {
		case len(kids) == 0:
			order = 1
		case len(found) == 0:
			order = -1
		default:
			order = cmp.Compare(path.Base(kids[0].Name), found[0])
		}
		switch {
		case order < 0:
			c.missing(&kids[0])
			kids = kids[1:]
		case order > 0:
			if err := c.extra(fd, found[0], path.Join(want.Name, found[0])); err != nil {
				return err
			}
			found = found[1:]
		default:
			if err := c.entry(ctx, fd, found[0], &kids[0]); err != nil {
				return err
			}
			kids, found = kids[1:], found[1:]
		}
	}
	return nil
}

func slashed(name string) string { return path.Join("/", name) }

func (c *comparer) differ(name, attribute, expected, found string) {
	c.p.differ(slashed(name), attribute, expected, found)
}

// missing reports a file that is not there.
func (c *comparer) missing(want *imagetree.LowerFile) {
	delete(c.p.content, want.Name)
	c.differ(want.Name, "file", kindOf(want.Mode, want.Whiteout), "nothing")
}

// extra reports a file that the layer does not have.
func (c *comparer) extra(fd int, base, name string) error {
	var st unix.Stat_t
	if err := lstatat(fd, base, &st); err != nil {
		return entryError(name, "read", err)
	}
	if c.p.copies[name] {
		return nil // settling put the copy of a lower file here
	}
	c.differ(name, "file", "nothing", kindOf(st.Mode, isWhiteout(&st)))
	return nil
}

// entry compares one file and what is in it.
func (c *comparer) entry(ctx context.Context, dirfd int, base string, want *imagetree.LowerFile) error {
	var st unix.Stat_t
	if err := lstatat(dirfd, base, &st); err != nil {
		return entryError(want.Name, "read", err)
	}
	damage := c.p.content[want.Name]
	delete(c.p.content, want.Name)
	if st.Mode&unix.S_IFMT != want.Mode&unix.S_IFMT || isWhiteout(&st) != want.Whiteout {
		c.differ(want.Name, "type", kindOf(want.Mode, want.Whiteout), kindOf(st.Mode, isWhiteout(&st)))
		return nil
	}
	if st.Dev != c.dev {
		c.differ(want.Name, "file system", "that of the layer", "another one, mounted here")
		return nil
	}
	if want.Whiteout {
		return nil // overlayfs looks at nothing else of it
	}
	if damage != nil {
		c.content(want.Name, damage)
	}
	if err := c.special(dirfd, base, want, &st); err != nil {
		return entryError(want.Name, "read", err)
	}
	if !want.IsDir() {
		c.p.links = append(c.p.links, linkedName{key: want.Key(), name: want.Name, id: fileID{st.Dev, st.Ino}, nlink: uint64(st.Nlink)})
		return entryError(want.Name, "read", c.meta(dirfd, base, want, &st))
	}
	fd, err := openDirAt(dirfd, base)
	if err != nil {
		return entryError(want.Name, "open directory", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := c.meta(fd, ".", want, &st); err != nil {
		return entryError(want.Name, "read", err)
	}
	return c.dir(ctx, fd, *want)
}

// special compares what only some types have.
func (c *comparer) special(dirfd int, base string, want *imagetree.LowerFile, st *unix.Stat_t) error {
	switch {
	case want.IsRegular():
		return c.leftover(dirfd, base, want)
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		target, err := rootfd.Readlinkat(dirfd, base)
		if err != nil {
			return err
		}
		if target != want.Link {
			c.differ(want.Name, "target", want.Link, target)
		}
	case isDevice(st.Mode):
		found := [2]uint32{unix.Major(st.Rdev), unix.Minor(st.Rdev)}
		if found != [2]uint32{want.Major, want.Minor} {
			c.differ(want.Name, "device", fmt.Sprintf("%d:%d", want.Major, want.Minor), fmt.Sprintf("%d:%d", found[0], found[1]))
		}
	}
	return nil
}

// leftover compares a file that the layer's tar cannot be made of, because
// the name of its entry is gone: a hard link that is left of it.
func (c *comparer) leftover(dirfd int, base string, want *imagetree.LowerFile) error {
	if want.Content.Layer != c.p.index+1 {
		return nil
	}
	index, ok := c.tree.FileIndex(want.Content)
	gone, lost := c.p.gone[index]
	if !ok || !lost {
		return nil
	}
	f, err := openRegular(dirfd, base)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, gone.size+1))
	switch {
	case err != nil:
		return err
	case n != gone.size:
		c.differ(want.Name, "size", fmt.Sprint(gone.size), "another one")
	case !bytes.Equal(h.Sum(nil), gone.sum[:]):
		c.differ(want.Name, "content", "that of the layer", "something else")
	}
	return nil
}

// content reports a file that could not be read as it was written.
func (c *comparer) content(name string, err *unpack.EntryError) {
	var size *unpack.SizeError
	switch {
	case errors.As(err, &size):
		c.differ(name, "size", fmt.Sprint(size.Want), fmt.Sprint(size.Got))
	case errors.Is(err, unpack.ErrContent):
		c.differ(name, "content", "that of the layer", "something else")
	default:
		c.differ(name, "content", "that of the layer", err.Err.Error())
	}
}

func isDevice(mode uint32) bool {
	return mode&unix.S_IFMT == unix.S_IFCHR || mode&unix.S_IFMT == unix.S_IFBLK
}

// kindOf names a type of file for people.
func kindOf(mode uint32, whiteout bool) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "symbolic link"
	case unix.S_IFCHR:
		if whiteout {
			return "whiteout"
		}
		return "character device"
	case unix.S_IFBLK:
		return "block device"
	case unix.S_IFIFO:
		return "FIFO"
	case unix.S_IFSOCK:
		return "socket"
	}
	return fmt.Sprintf("type %#o", mode>>12)
}
