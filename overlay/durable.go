package overlay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// lockShared is the shared flock(2).
const lockShared = unix.LOCK_SH

// noBoot stands for the boot ID where /proc does not tell it.
const noBoot = "unknown"

// bootID names this boot of the machine (random(4)).
func bootID() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	id := strings.TrimSpace(string(raw))
	if err != nil || !isBoot(id) {
		return noBoot
	}
	return id
}

// mustSync reports whether layers reach the disk before they are named.
func (s *Store) mustSync() bool { return s.opts.Sync || s.boot == noBoot }

// writeFile replaces the document at path: a temporary file, fsync, rename,
// fsync of the directory. Readers see the old content or the new.
func (s *Store) writeFile(path string, raw []byte, mode fs.FileMode) error {
	o, err := s.own()
	if err != nil {
		return err
	}
	temp := o.work(s.layout)
	err = writeNew(temp, raw, mode, true)
	if err == nil {
		err = takePlace(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// takePlace renames a file to path, also where somebody has made an empty
// directory of that name.
func takePlace(from, path string) error {
	err := os.Rename(from, path)
	if !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.EISDIR) {
		return err
	}
	if err := rmdir(path); err != nil {
		return &CorruptError{Path: path, Reason: "not a file, but a directory that is not empty", Remedy: "move it away"}
	}
	return os.Rename(from, path)
}

func rmdir(path string) error { return sys.Unlinkat(unix.AT_FDCWD, path, unix.AT_REMOVEDIR) }

// writeNew writes a file that must not exist yet.
func writeNew(path string, raw []byte, mode fs.FileMode, sync bool) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err == nil {
		err = f.Chmod(mode) // whatever the umask
	}
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes the entries of a directory durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// syncFS writes out everything on the file system that holds path.
func syncFS(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync file system: %w", err)
	}
	defer func() { _ = d.Close() }()
	if err := sys.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync file system of %s: %w", path, err)
	}
	return nil
}

// quietDirty is how much unwritten data the machine may have, in bytes, for a
// sync of the file system to be no wait worth speaking of: a disk writes it in
// well under a second, an SSD in some 10 ms.
const quietDirty = 16 << 20

// quiet reports whether next to nothing waits to be written, so that a sync
// costs next to nothing. The kernel writes dirty pages out after 30 s by
// itself (vm.dirty_expire_centisecs), so this is the usual case.
func quiet() bool {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	var kib int64
	seen := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		if name != "Dirty" && name != "Writeback" {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return false
		}
		kib += n
		seen++
	}
	return seen == 2 && kib<<10 < quietDirty
}

// readFull reads until buf is full or the file ends.
func readFull(r io.Reader, buf []byte) (int, error) {
	n, err := io.ReadFull(r, buf)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}
