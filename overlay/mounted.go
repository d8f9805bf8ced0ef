package overlay

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// stacked is an overlay mount of some mount namespace.
type stacked struct {
	target string // as the process sees it
	pid    int    // a process that has the mount, 0 for this one
	alien  bool   // that process is an ordinary user's
	major  int    // of the overlay's own device number
	minor  int
	lower  []string
	upper  string // "" without one
}

// sameMount is what a mount and its copies in other namespaces have in common.
type sameMount struct {
	target       string
	alien        bool
	major, minor int
}

func (m stacked) String() string {
	if m.pid == 0 {
		return "the overlay mount on " + m.target
	}
	return fmt.Sprintf("the overlay mount on %s of process %d", m.target, m.pid)
}

// same tells whether o is the same overlay, wherever it is mounted or moved to.
func (m stacked) same(o stacked) bool { return o.major == m.major && o.minor == m.minor }

// overlays lists the overlay mounts of all mount namespaces that this process
// may look into: for root those of every container on the machine.
func overlays() ([]stacked, error) {
	own, err := os.Readlink("/proc/thread-self/ns/mnt")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no /proc
	}
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	infos, err := mountinfo.GetMounts(isOverlay)
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	mounts := stackedOf(infos, 0)
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	seen := map[string]bool{own: true}
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		// What belongs to another user, or has ended, cannot be read.
		ns, err := os.Readlink(filepath.Join("/proc", p.Name(), "ns/mnt"))
		if err != nil || seen[ns] {
			continue
		}
		list, ok := overlaysOf(pid)
		seen[ns] = ok // if it has ended just now, another may be in the same one
		mounts = append(mounts, list...)
	}
	return withoutCopies(mounts), nil
}

// withoutCopies leaves the first of each mount: a new mount namespace has a copy
// of all that the old one has, and who is to unmount something wants to hear
// where it was mounted.
func withoutCopies(mounts []stacked) []stacked {
	seen := map[sameMount]bool{}
	return slices.DeleteFunc(mounts, func(m stacked) bool {
		key := sameMount{m.target, m.alien, m.major, m.minor}
		defer func() { seen[key] = true }()
		return seen[key]
	})
}

// overlaysOf lists those of a process's mount namespace, if it is there to be
// asked.
func overlaysOf(pid int) (mounts []stacked, ok bool) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		return nil, false
	}
	defer func() { _ = f.Close() }()
	infos, err := mountinfo.GetMountsFromReader(f, isOverlay)
	if err != nil {
		return nil, false
	}
	mounts = stackedOf(infos, pid)
	var st unix.Stat_t
	if err := sys.Fstat(int(f.Fd()), &st); err == nil && st.Uid == 0 {
		return mounts, true
	}
	for i := range mounts {
		mounts[i].alien = true
	}
	return mounts, true
}

func isOverlay(m *mountinfo.Info) (skip, stop bool) { return m.FSType != "overlay", false }

func stackedOf(infos []*mountinfo.Info, pid int) []stacked {
	mounts := make([]stacked, 0, len(infos))
	for _, m := range infos {
		mounts = append(mounts, stacked{
			target: m.Mountpoint, pid: pid, major: m.Major, minor: m.Minor,
			lower: lowerOf(m.VFSOptions), upper: upperOf(m.VFSOptions),
		})
	}
	return mounts
}

// lowerOf returns the lower dirs that the options of an overlay mount name, as
// they were given: lowerdir=A:B of mount(2), or lowerdir+=A of fsconfig(2).
func lowerOf(options string) []string {
	var dirs []string
	for o := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "lowerdir+", "datadir+":
			dirs = append(dirs, unescapeOctal(value))
		case "lowerdir":
			dirs = append(dirs, splitLower(unescapeOctal(value))...)
		}
	}
	return dirs
}

// upperOf returns the upper dir as it was given.
func upperOf(options string) string {
	for o := range strings.SplitSeq(options, ",") {
		if dir, ok := strings.CutPrefix(o, "upperdir="); ok {
			return unescapeOctal(dir)
		}
	}
	return ""
}

// splitLower splits at the colons that no backslash protects.
func splitLower(value string) []string {
	var dirs []string
	var dir strings.Builder
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\' && i+1 < len(value):
			i++
			dir.WriteByte(value[i])
		case c == ':':
			dirs = append(dirs, dir.String())
			dir.Reset()
		default:
			dir.WriteByte(c)
		}
	}
	return append(dirs, dir.String())
}

// unescapeOctal takes back what the kernel does to odd bytes in mountinfo
// (proc_pid_mountinfo(5)).
func unescapeOctal(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// mountedAlready tells whether the overlay of o is on its target. Something
// else there is an error.
func mountedAlready(o MountOptions) (bool, error) {
	if mounted, err := mountRoot(o.Target); err != nil || !mounted {
		return false, nil // Mount says what is wrong with the target
	}
	real, err := filepath.EvalSymlinks(o.Target)
	if err != nil {
		return false, &MountError{Target: o.Target, Op: "mount overlay", Err: err}
	}
	infos, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) { return m.Mountpoint != real, false })
	if err != nil {
		return false, &MountError{Target: o.Target, Op: "mount overlay", Err: err}
	}
	busy := &MountError{Target: o.Target, Op: "mount overlay", Err: unix.EBUSY, Detail: "something is mounted there already; unmount it first"}
	if len(infos) == 0 {
		return false, busy
	}
	m := infos[len(infos)-1] // the topmost
	if m.FSType != "overlay" || len(lowerOf(m.VFSOptions)) != len(stack(o)) {
		return false, busy
	}
	readOnly := slices.Contains(strings.Split(m.Options, ","), "ro") || slices.Contains(strings.Split(m.VFSOptions, ","), "ro")
	if readOnly != o.ReadOnly {
		busy.Detail = "it is mounted there read-only already; unmount it first"
		if o.ReadOnly {
			busy.Detail = "it is mounted there for writing already; unmount it first"
		}
		return false, busy
	}
	return true, nil
}

// bundleUser is how a bundle that uses a layer is named.
func bundleUser(dir string) string { return "bundle " + dir }
