// Package treecmp compares two directory trees entry by entry, for tests.
package treecmp

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Options leave things out of the comparison. The zero value compares all:
// type, mode, owner, size, content, link target, hard-link groups, device
// numbers, extended attributes and modification time.
type Options struct {
	NoOwner     bool
	NoMode      bool
	NoModTime   bool
	NoDirTime   bool                   // modification times of directories only
	NoLinks     bool                   // hard-link groups
	NoXattrs    bool                   // all extended attributes
	SkipXattr   func(attr string) bool // single ones
	Skip        func(name string) bool // a name, slash-separated, "." for the root, with all below it
	TimeTruncNS int64                  // times are compared after truncation to this many nanoseconds
	NoRoot      bool                   // the root directories themselves
	Rewrite     func(e *Entry)         // may rewrite an entry of either tree before it is compared
}

// Diff is one difference: A and B are what the trees hold, "" where nothing
// is.
type Diff struct {
	Path, What, A, B string
}

func (d Diff) String() string {
	return fmt.Sprintf("%q: %s: %s | %s", d.Path, d.What, or(d.A, "-"), or(d.B, "-"))
}

func or(s, t string) string {
	if s == "" {
		return t
	}
	return s
}

// Entry is what is known of a name.
type Entry struct {
	Path    string
	Type    string // file, dir, symlink, char, block, fifo, socket
	Mode    uint32 // permissions, setuid, setgid and sticky bits
	UID     uint32
	GID     uint32
	Size    int64 // of files
	ModTime time.Time
	Target  string // of a symbolic link
	Dev     string // device numbers
	Sum     string // of the content
	First   string // the name that sorts first among the hard links of the file in the tree, if there are others
	Xattrs  map[string]string

	node Inode
}

// Inode identifies a file while it exists.
type Inode struct{ dev, ino uint64 }

// Compare returns the differences between the trees a and b, sorted by path.
func Compare(a, b string, o Options) ([]Diff, error) {
	left, err := Read(a, o)
	if err != nil {
		return nil, err
	}
	right, err := Read(b, o)
	if err != nil {
		return nil, err
	}
	var diffs []Diff
	for name, l := range left {
		r := right[name]
		if r == nil {
			diffs = append(diffs, Diff{name, "only in the first", l.Type, ""})
			continue
		}
		diffs = append(diffs, compare(l, r, o)...)
	}
	for name, r := range right {
		if left[name] == nil {
			diffs = append(diffs, Diff{name, "only in the second", "", r.Type})
		}
	}
	sort.Slice(diffs, func(i, j int) bool {
		if diffs[i].Path != diffs[j].Path {
			return diffs[i].Path < diffs[j].Path
		}
		return diffs[i].What < diffs[j].What
	})
	return diffs, nil
}

func compare(l, r *Entry, o Options) []Diff {
	var diffs []Diff
	check := func(what, a, b string) {
		if a != b {
			diffs = append(diffs, Diff{l.Path, what, a, b})
		}
	}
	check("type", l.Type, r.Type)
	if l.Type != r.Type {
		return diffs
	}
	if !o.NoMode && l.Type != "symlink" {
		check("mode", fmt.Sprintf("%04o", l.Mode), fmt.Sprintf("%04o", r.Mode))
	}
	if !o.NoOwner {
		check("owner", fmt.Sprintf("%d:%d", l.UID, l.GID), fmt.Sprintf("%d:%d", r.UID, r.GID))
	}
	check("size", fmt.Sprint(l.Size), fmt.Sprint(r.Size))
	check("content", l.Sum, r.Sum)
	check("target", l.Target, r.Target)
	check("device", l.Dev, r.Dev)
	if !o.NoLinks {
		check("hard link to", l.First, r.First)
	}
	if !o.NoModTime && (l.Type != "dir" || !o.NoDirTime) {
		trunc := time.Duration(max(o.TimeTruncNS, 1))
		a, b := l.ModTime.Truncate(trunc), r.ModTime.Truncate(trunc)
		check("mtime", a.Format(time.RFC3339Nano), b.Format(time.RFC3339Nano))
	}
	for _, attr := range xattrNames(l, r) {
		a, inA := l.Xattrs[attr]
		b, inB := r.Xattrs[attr]
		check("xattr "+attr, quoteIf(a, inA), quoteIf(b, inB))
	}
	return diffs
}

func quoteIf(s string, is bool) string {
	if !is {
		return ""
	}
	return fmt.Sprintf("%q", s)
}

func xattrNames(l, r *Entry) []string {
	seen := make(map[string]bool)
	var names []string
	for _, m := range []map[string]string{l.Xattrs, r.Xattrs} {
		for name := range m {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	sort.Strings(names)
	return names
}

// Read describes the tree dir, by slash-separated name, "." for the root.
func Read(dir string, o Options) (map[string]*Entry, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read tree: %w", err)
	}
	defer func() { _ = root.Close() }()
	entries := make(map[string]*Entry)
	if err := readDir(root, dir, ".", o, entries); err != nil {
		return nil, fmt.Errorf("read tree: %w", err)
	}
	if o.NoRoot {
		delete(entries, ".")
	}
	linkGroups(entries)
	for _, e := range entries {
		if o.Rewrite != nil {
			o.Rewrite(e)
		}
	}
	return entries, nil
}

// readDir reads a directory with all below. Each directory is opened in its
// parent, so that no name is too long.
func readDir(root *os.Root, dir, name string, o Options, entries map[string]*Entry) error {
	e, err := readEntry(dir, ".", name, o)
	if err != nil {
		return err
	}
	entries[name] = e
	list, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, item := range list {
		child := path.Join(name, item.Name())
		if o.Skip != nil && o.Skip(child) {
			continue
		}
		if !item.IsDir() {
			e, err := readEntry(dir, item.Name(), child, o)
			if err != nil {
				return err
			}
			entries[child] = e
			continue
		}
		if err := enter(root, item.Name(), child, o, entries); err != nil {
			return err
		}
	}
	return nil
}

func enter(root *os.Root, base, child string, o Options, entries map[string]*Entry) error {
	sub, err := root.OpenRoot(base)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Close() }()
	f, err := sub.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return readDir(sub, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), child, o, entries)
}

func readEntry(dir, base, name string, o Options) (*Entry, error) {
	full := dir + "/" + base
	var st unix.Stat_t
	if err := unix.Lstat(full, &st); err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	e := &Entry{
		Path: name, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid,
		ModTime: time.Unix(st.Mtim.Unix()).UTC(),
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Type, e.Size = "file", st.Size
		e.Sum, err = sum(full)
	case unix.S_IFDIR:
		e.Type = "dir"
	case unix.S_IFLNK:
		e.Type = "symlink"
		e.Target, err = os.Readlink(full)
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Type = map[bool]string{true: "char", false: "block"}[st.Mode&unix.S_IFMT == unix.S_IFCHR]
		e.Dev = fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	case unix.S_IFIFO:
		e.Type = "fifo"
	default:
		e.Type = "socket"
	}
	if err != nil {
		return nil, err
	}
	if e.Type != "dir" && st.Nlink > 1 {
		e.node = Inode{uint64(st.Dev), st.Ino}
	}
	if !o.NoXattrs {
		e.Xattrs, err = xattrs(full, o)
	}
	return e, err
}

func sum(name string) (string, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrPermission) {
		return "no permission to read", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func xattrs(name string, o Options) (map[string]string, error) {
	size, err := unix.Llistxattr(name, nil)
	if errors.Is(err, unix.ENOTSUP) || err == nil && size == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "listxattr", Path: name, Err: err}
	}
	list := make([]byte, size)
	if size, err = unix.Llistxattr(name, list); err != nil {
		return nil, &fs.PathError{Op: "listxattr", Path: name, Err: err}
	}
	all := make(map[string]string)
	for attr := range strings.SplitSeq(strings.TrimRight(string(list[:size]), "\x00"), "\x00") {
		// overlayfs counts attributes into the size that it leaves out of the list.
		if attr == "" || o.SkipXattr != nil && o.SkipXattr(attr) {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(name, attr, value)
		if err != nil {
			return nil, &fs.PathError{Op: "getxattr " + attr, Path: name, Err: err}
		}
		all[attr] = string(value[:n])
	}
	return all, nil
}

// linkGroups gives each file with several names in the tree the first of
// them.
func linkGroups(entries map[string]*Entry) {
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	sort.Strings(names)
	first := make(map[Inode]*Entry)
	for _, name := range names {
		e := entries[name]
		if e.node == (Inode{}) {
			continue
		}
		if f := first[e.node]; f != nil {
			f.First, e.First = f.Path, f.Path
		} else {
			first[e.node] = e
		}
	}
}
