package overlay

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// classic is one call of mount(2) or mount(8): the directory to be in, the
// options, and the target as seen from there.
type classic struct {
	dir    string // absolute; every relative name below starts here
	data   string // lowerdir=…,upperdir=…,workdir=…[,userxattr]
	full   string // the same with the whole names of upper and work dir
	target string
}

// mountClassic mounts with mount(2).
func mountClassic(o MountOptions) error {
	c := plan(o)
	if len(c.full) < os.Getpagesize() {
		c.data = c.full // what mountinfo shows says more then, to UpperUser too
	}
	if len(c.data) >= os.Getpagesize() {
		return &MountError{
			Target: o.Target, Op: "mount overlay", Err: unix.E2BIG,
			Detail: fmt.Sprintf("the options need %d bytes and mount(2) takes %d; use a flat root filesystem, or Linux 6.8", len(c.data), os.Getpagesize()-1),
		}
	}
	var flags uintptr
	if o.ReadOnly {
		flags = unix.MS_RDONLY
	}
	err := inDir(c.dir, func() error {
		return sys.Mount("overlay", c.target, "overlay", flags, c.data)
	})
	if err != nil {
		return &MountError{Target: o.Target, Op: "mount overlay", Err: err}
	}
	return nil
}

// inDir runs fn on a thread of its own whose working directory is dir. The
// thread ends with the goroutine, because it is never unlocked, so that the
// rest of the process keeps its working directory.
func inDir(dir string, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = sys.Chdir(dir)
		}
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	return <-done
}

// plan shortens the names of o as far as they can be shortened safely.
func plan(o MountOptions) classic {
	lower := stack(o)
	c := classic{dir: commonDir(lower)}
	up := realParent(c.dir)
	names := make([]string, 0, len(lower))
	for i := len(lower) - 1; i >= 0; i-- { // topmost first
		names = append(names, escape(relative(c.dir, up, lower[i])))
	}
	options := func(upper, work string) string {
		var opts []string
		if o.ReadOnly {
			opts = append(opts, "ro")
		}
		opts = append(opts, "lowerdir="+strings.Join(names, ":"))
		if !o.ReadOnly {
			opts = append(opts, "upperdir="+escape(upper), "workdir="+escape(work))
		}
		if o.UserXattr {
			opts = append(opts, "userxattr")
		}
		return strings.Join(opts, ",")
	}
	c.data = options(relative(c.dir, up, o.Upper), relative(c.dir, up, o.Work))
	c.full = options(o.Upper, o.Work)
	c.target = relative(c.dir, up, o.Target)
	return c
}

// commonDir returns the deepest directory that all paths lie below.
func commonDir(paths []string) string {
	dir := filepath.Dir(paths[0])
	for _, p := range paths[1:] {
		for !below(dir, p) {
			dir = filepath.Dir(dir)
		}
	}
	return dir
}

func below(dir, path string) bool {
	return dir == "/" || strings.HasPrefix(path, dir+"/")
}

// realParent returns the directory that ".." means inside dir, or "" where
// dir is a symbolic link, so that its parent is somewhere else.
func realParent(dir string) string {
	info, err := os.Lstat(dir)
	if dir == "/" || err != nil || !info.IsDir() {
		return ""
	}
	return filepath.Dir(dir)
}

// relative names path as seen from dir, whose parent is up.
func relative(dir, up, path string) string {
	switch {
	case dir == "/":
		return path
	case below(dir, path):
		return strings.TrimPrefix(path, dir+"/")
	case up != "" && up != "/" && below(up, path):
		return "../" + strings.TrimPrefix(path, up+"/")
	}
	return path
}

// escape protects what separates options and layers.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`, `:`, `\:`).Replace(path)
}
