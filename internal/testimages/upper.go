package testimages

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// inode identifies a file with several names.
type inode struct{ dev, ino uint64 }

// upperWriter makes a layer of an overlay's upper dir.
type upperWriter struct {
	tw    *tar.Writer
	dir   string
	names map[inode]string
}

// writeUpper writes the layer tar of an overlay's upper dir: image-spec
// sections "Whiteouts" and "Opaque Whiteout".
func writeUpper(ctx context.Context, w io.Writer, dir string) error {
	u := &upperWriter{tw: tar.NewWriter(w), dir: dir, names: map[inode]string{}}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || name == "." {
			return err
		}
		return u.entry(path, name)
	})
	return errors.Join(err, u.tw.Close())
}

func (u *upperWriter) entry(path, name string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 {
		return u.marker(filepath.Join(filepath.Dir(name), ".wh."+filepath.Base(name)))
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Uname, h.Gname, h.Format = name, "", "", tar.FormatPAX
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{} // no builder records these
	if info.IsDir() {
		h.Name += "/"
	}
	opaque, err := addXattrs(h, path)
	if err != nil {
		return err
	}
	if first, again := u.names[inode{st.Dev, st.Ino}]; again && st.Nlink > 1 && !info.IsDir() {
		h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
	}
	u.names[inode{st.Dev, st.Ino}] = name
	if err := u.tw.WriteHeader(h); err != nil {
		return &fs.PathError{Op: "write entry", Path: name, Err: err}
	}
	if h.Typeflag == tar.TypeReg {
		return u.content(path)
	}
	if opaque {
		return u.marker(filepath.Join(name, ".wh..wh..opq"))
	}
	return nil
}

func (u *upperWriter) marker(name string) error {
	return u.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Format: tar.FormatPAX})
}

func (u *upperWriter) content(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = io.Copy(u.tw, f)
	return err
}

// addXattrs copies them to the header, except overlayfs's own.
func addXattrs(h *tar.Header, path string) (opaque bool, err error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		return false, &fs.PathError{Op: "llistxattr", Path: path, Err: err}
	}
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return false, &fs.PathError{Op: "lgetxattr", Path: path, Err: err}
		}
		switch {
		case name == "trusted.overlay.opaque":
			opaque = string(value[:n]) == "y"
		case strings.HasPrefix(name, "trusted.overlay."):
		default:
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords["SCHILY.xattr."+name] = string(value[:n])
		}
	}
	return opaque, nil
}
