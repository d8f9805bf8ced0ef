package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// check looks for one thing that a runtime would refuse, or worse, accept.
type check func(*draft) error

// optionChecks look at what the caller asks for, and need no image.
func optionChecks() []check {
	return []check{checkNames, checkUser, checkArgs, checkEnv, checkWorkdirOption, checkNetwork, checkCapabilities, checkVolumes}
}

// configChecks need no root filesystem.
func configChecks() []check { return []check{checkOS, checkArch, checkImageUser} }

// rootChecks look at the finished spec and the root filesystem.
func rootChecks() []check {
	return []check{checkMapped, checkRuntimeDirs, checkDestinations, checkKinds, checkWorkdir}
}

func (d *draft) run(list []check) error {
	for _, c := range list {
		if err := c(d); err != nil {
			return err
		}
	}
	return nil
}

// checkOS takes an image that names no system for a Linux one: early images
// do not.
func checkOS(d *draft) error {
	os := d.image.OS
	if os == "" || os == "linux" {
		return nil
	}
	return &PlatformError{Want: "linux", Got: strings.TrimSpace(os + "/" + d.image.Architecture + " " + d.image.OSVersion)}
}

// checkArch only warns: binfmt_misc may run any architecture.
func checkArch(d *draft) error {
	arch, host := d.image.Architecture, d.host.Arch
	if arch == "" || arch == host || arch == "386" && host == "amd64" || arch == "arm" && host == "arm64" {
		return nil
	}
	d.warn(fmt.Sprintf("the image is for %s and this machine is %s: its programs will not start without an emulator", arch, host))
	return nil
}

func checkImageUser(d *draft) error {
	user := d.image.Config.User
	if part, want := malformedUser(user); want != "" && d.o.User == "" {
		return &UserError{User: user, Part: part, Want: want, Got: quoteShort(part)}
	}
	return nil
}

// checkRuntimeDirs refuses a link where a runtime mounts its own file systems:
// some runtimes follow one under /dev (CVE-2026-41579).
func checkRuntimeDirs(d *draft) error {
	if d.root.fsys == nil {
		return nil
	}
	for _, name := range []string{"proc", "sys", "dev"} {
		info, err := d.root.lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return &RootError{Path: "/" + name, Err: err}
		}
		if !info.IsDir() {
			return &RootError{Path: "/" + name, Want: "a directory or nothing", Got: kind(info.Mode())}
		}
	}
	return nil
}

// checkDestinations refuses a mount over the root itself, directly or through
// a link: runtimes refuse it, or hide the whole image.
func checkDestinations(d *draft) error {
	for _, m := range d.spec.Mounts {
		at, _, err := d.root.resolve(m.Destination)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // the runtime makes it
		case errors.Is(err, syscall.ELOOP):
			return &RootError{Path: m.Destination, Err: err}
		case err != nil:
			return &RootError{Path: m.Destination, Err: err}
		case at == ".":
			return &RootError{Path: m.Destination, Want: "a mount point other than /", Got: "a link to /"}
		}
	}
	return nil
}

// checkKinds refuses a bind of a file on a directory, or of a directory on a
// file, and one below a file: the kernel does, and runtimes only pass on what it
// says.
func checkKinds(d *draft) error {
	if d.root.fsys == nil {
		return nil
	}
	for i, m := range d.spec.Mounts {
		if m.Type != "bind" || !path.IsAbs(m.Source) || d.covered(i) {
			continue
		}
		src, err := os.Stat(m.Source)
		if err != nil {
			continue // the runtime says so
		}
		if err := d.suits(m, src.Mode()); err != nil {
			return err
		}
	}
	return nil
}

// suits refuses the bind m of a source with the mode src, if the image has
// something else in its place, or a file where a directory on the way has to be.
func (d *draft) suits(m specs.Mount, src fs.FileMode) error {
	want := "a file or nothing"
	if src.IsDir() {
		want = "a directory or nothing"
	}
	at, dst, err := d.root.resolve(m.Destination)
	fits := err != nil || dst.IsDir() == src.IsDir()
	if errors.Is(err, fs.ErrNotExist) {
		want = "a directory"
		for (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)) && at != "." {
			at = path.Dir(at)
			dst, err = d.root.lstat(at)
		}
		fits = err != nil || dst.IsDir()
	}
	if fits {
		return nil
	}
	return &MountError{Source: m.Source, Kind: kind(src), Destination: m.Destination, At: "/" + at, Want: want, Got: kind(dst.Mode())}
}

// covered says whether another mount decides what is at the destination of
// mount i.
func (d *draft) covered(i int) bool {
	at := d.place(d.spec.Mounts[i].Destination)
	for j, m := range d.spec.Mounts {
		if j != i && under(at, d.place(m.Destination)) {
			return true
		}
	}
	return false
}

func checkWorkdir(d *draft) error {
	cwd := d.spec.Process.Cwd
	_, info, err := d.root.resolve(cwd)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the runtime makes it
	}
	if err != nil {
		return &RootError{Path: cwd, Err: err}
	}
	if !info.IsDir() {
		return &RootError{Path: cwd, Want: "a working directory", Got: kind(info.Mode())}
	}
	return nil
}

// quoteShort shows foreign text on one line of bounded length.
func quoteShort(s string) string {
	const most = 60
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.Quote(s)
}
