package overlay

import (
	"io/fs"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// Entry is one file of a merged tree.
type Entry struct {
	Name    string // slash-separated, "." for the root
	Layer   int    // the layer that it comes from; 1 is the base
	Mode    uint32 // type and permission bits as in stat(2)
	UID     uint32
	GID     uint32
	Size    int64
	ModTime time.Time
	Major   uint32 // of devices
	Minor   uint32
	Nlink   uint64
	Dev     uint64 // Dev and Ino are equal for the names of one file
	Ino     uint64

	Link   string            // target of a symbolic link; only from Walk
	Xattrs map[string]string // without overlayfs's own; only from Walk
}

func newEntry(name string, layer int, st *unix.Stat_t) *Entry {
	return &Entry{
		Name: name, Layer: layer + 1, Mode: st.Mode, UID: st.Uid, GID: st.Gid, Size: st.Size,
		ModTime: time.Unix(st.Mtim.Unix()), Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev),
		Nlink: uint64(st.Nlink), Dev: st.Dev, Ino: st.Ino,
	}
}

// info is the fs.FileInfo of an Entry.
type info struct{ entry *Entry }

func newInfo(name string, layer int, st *unix.Stat_t) *info {
	return &info{entry: newEntry(name, layer, st)}
}

func (i *info) Name() string       { return path.Base(i.entry.Name) }
func (i *info) Size() int64        { return i.entry.Size }
func (i *info) ModTime() time.Time { return i.entry.ModTime }
func (i *info) IsDir() bool        { return i.Mode().IsDir() }
func (i *info) Sys() any           { return i.entry }

func (i *info) Mode() fs.FileMode {
	m := i.entry.Mode
	mode := fs.FileMode(m & 0o777)
	for bit, goBit := range map[uint32]fs.FileMode{
		unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky,
	} {
		if m&bit != 0 {
			mode |= goBit
		}
	}
	switch m & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case unix.S_IFBLK:
		mode |= fs.ModeDevice
	}
	return mode
}
