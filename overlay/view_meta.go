package overlay

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// Stat returns the entry as stat(2) has it, as far as an entry holds it: for
// those who take the Sys of an [fs.FileInfo] of a View without this package.
func (e *Entry) Stat() unix.Stat_t {
	t := unix.Timespec{Sec: e.ModTime.Unix(), Nsec: int64(e.ModTime.Nanosecond())} // a time beyond 2262 has no UnixNano
	st := unix.Stat_t{Mode: e.Mode, Uid: e.UID, Gid: e.GID, Size: e.Size, Dev: e.Dev, Ino: e.Ino, Atim: t, Mtim: t}
	st.Rdev = unix.Mkdev(e.Major, e.Minor)
	setNlink(&st.Nlink, e.Nlink)
	return st
}

// setNlink is for a field that is wider on some architectures.
func setNlink[N uint32 | uint64](field *N, n uint64) { *field = N(n) }

// Xattrs returns the extended attributes of name, without following a symbolic
// link at its end and without overlayfs's own.
func (v *View) Xattrs(name string) (map[string]string, error) {
	c, f, err := v.find("listxattr", name, false)
	if err != nil {
		return nil, err
	}
	defer c.Reset()
	attrs := map[string]string{}
	err = eachXattrAt(f.fd, f.name, func(attr string, value []byte) error {
		attrs[attr] = string(value)
		return nil
	})
	if err != nil {
		return nil, &fs.PathError{Op: "listxattr", Path: name, Err: err}
	}
	return attrs, nil
}
