package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/moby/sys/capability"
	"github.com/moby/sys/userns"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// Host is what Spec has to know about the machine.
type Host struct {
	Arch     string   // as in GOARCH
	UID, GID int      // the caller's effective IDs
	Known    []string // the capabilities that the kernel has
	Bounding []string // those in the caller's bounding set

	// UserNamespace says that the caller is in a user namespace other than the
	// machine's first, which has UIDMappings and GIDMappings.
	UserNamespace            bool
	UIDMappings, GIDMappings []specs.LinuxIDMapping
	SetgroupsDenied          bool // by that namespace, user_namespaces(7)

	CgroupV2          bool // cgroup v2 alone, neither v1 nor both
	Seccomp           bool // the kernel has seccomp filters
	RecursiveReadOnly bool // mount_setattr(2), Linux 5.12
	NetSysctls        bool // the net.ipv4 sysctls that Spec sets

	ThermalThrottle []string   // thermal_throttle directories, to be masked
	ResolvConf      SourceFile // /etc/resolv.conf
	Hosts           SourceFile // /etc/hosts
	Devices         []specs.LinuxDevice
}

// SourceFile is a file or directory of the machine that is mounted into the
// container.
type SourceFile struct {
	Path  string   // without symbolic links; empty if there is none
	Flags []string // the flags of its mount that a user namespace cannot clear
}

// DetectHost looks at this machine. What it cannot find out it leaves at the
// value that asks least of the runtime.
func DetectHost() *Host {
	h := &Host{Arch: runtime.GOARCH, UID: os.Geteuid(), GID: os.Getegid()}
	known, err := capability.ListSupported()
	if err != nil {
		known = nil
	}
	for _, c := range known {
		name := "CAP_" + strings.ToUpper(c.String())
		h.Known = append(h.Known, name)
		if bound, err := capability.GetBound(c); err == nil && bound {
			h.Bounding = append(h.Bounding, name)
		}
	}
	h.UIDMappings, h.GIDMappings = ownMappings("/proc/self/uid_map"), ownMappings("/proc/self/gid_map")
	h.UserNamespace = userns.RunningInUserNS()
	setgroups, _ := os.ReadFile("/proc/self/setgroups")
	h.SetgroupsDenied = strings.TrimSpace(string(setgroups)) == "deny"
	var st unix.Statfs_t
	h.CgroupV2 = sys.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
	// Asked for with a null filter, a kernel that has filters says EFAULT.
	h.Seccomp = errors.Is(unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, 0, 0, 0), unix.EFAULT)
	// Without a path the kernel says EINVAL or EBADF; one that lacks the call
	// says ENOSYS, and a filter that hides it EPERM.
	err = unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	h.RecursiveReadOnly = errors.Is(err, unix.EBADF) || errors.Is(err, unix.EINVAL)
	h.NetSysctls = exists("/proc/sys/net/ipv4/ip_unprivileged_port_start") && exists("/proc/sys/net/ipv4/ping_group_range")
	h.ThermalThrottle, _ = filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle")
	h.ResolvConf = sourceFile("/etc/resolv.conf")
	h.Hosts = sourceFile("/etc/hosts")
	h.Devices = hostDevices("/dev")
	return h
}

// ownMappings reads a map of user_namespaces(7).
func ownMappings(path string) []specs.LinuxIDMapping {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var list []specs.LinuxIDMapping
	for line := range strings.Lines(string(data)) {
		var m specs.LinuxIDMapping
		if _, err := fmt.Sscan(line, &m.ContainerID, &m.HostID, &m.Size); err == nil {
			list = append(list, m)
		}
	}
	return list
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// sourceFile resolves path on the machine: runtimes mount what a link points
// to, but differ in how they treat the link.
func sourceFile(path string) SourceFile {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return SourceFile{}
	}
	return SourceFile{Path: target, Flags: lockedFlags(target)}
}

// lockedFlags lists the mount flags that a remount in a user namespace must
// repeat, or be refused (mount_namespaces(7)).
func lockedFlags(path string) []string {
	var st unix.Statfs_t
	if sys.Statfs(path, &st) != nil {
		return nil
	}
	var flags []string
	for _, f := range []struct {
		bit  int64
		name string
	}{{unix.ST_NOSUID, "nosuid"}, {unix.ST_NODEV, "nodev"}, {unix.ST_NOEXEC, "noexec"}, {unix.ST_NOATIME, "noatime"}} {
		if int64(st.Flags)&f.bit != 0 {
			flags = append(flags, f.name)
		}
	}
	return flags
}

// hostDevices lists the device nodes below dir, except those that each
// container has of its own.
func hostDevices(dir string) []specs.LinuxDevice {
	var devices []specs.LinuxDevice
	own := []string{"pts", "shm", "fd", "mqueue", "console", "ptmx", "null", "zero", "full", "tty", "random", "urandom"}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // a directory that cannot be read has no devices to offer
		}
		if filepath.Dir(path) == dir && slices.Contains(own, d.Name()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		var st unix.Stat_t
		if d.Type()&fs.ModeDevice == 0 || sys.Lstat(path, &st) != nil {
			return nil
		}
		t := "b"
		if d.Type()&fs.ModeCharDevice != 0 {
			t = "c"
		}
		mode, uid, gid := fs.FileMode(st.Mode&0o7777), st.Uid, st.Gid
		devices = append(devices, specs.LinuxDevice{
			Path: path, Type: t, Major: int64(unix.Major(uint64(st.Rdev))), Minor: int64(unix.Minor(uint64(st.Rdev))),
			FileMode: &mode, UID: &uid, GID: &gid,
		})
		return nil
	})
	return devices
}
