package ociruntime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupDirs returns every directory that a runtime may make for a container
// called id: in each mounted hierarchy below the root, below this process's
// own group (version 1), and beside it (version 2, where a group with
// processes may have no groups in it).
func cgroupDirs(id string) ([]string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("find control groups: %w", err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find control groups: %w", err)
	}
	var dirs []string
	for _, m := range cgroupMounts(string(mounts)) {
		dirs = append(dirs, m.dirs(string(own), id)...)
	}
	return dirs, nil
}

// dirs returns the directories that id may have in one hierarchy.
func (m cgroupMount) dirs(cgroup, id string) []string {
	dirs := []string{filepath.Join(m.point, id)}
	path := m.own(cgroup)
	if path == "" {
		return dirs
	}
	for _, parent := range []string{path, filepath.Dir(path)} {
		rel, err := filepath.Rel(m.root, parent)
		if err == nil && rel != "." && filepath.IsLocal(rel) {
			dirs = append(dirs, filepath.Join(m.point, rel, id))
		}
	}
	return dirs
}

// cgroupMount is a mounted hierarchy.
type cgroupMount struct {
	root, point string
	v2          bool
	options     string // of the superblock: controllers, or name=
}

// cgroupMounts picks the cgroup file systems from mountinfo, proc_pid_mountinfo(5).
func cgroupMounts(mountinfo string) []cgroupMount {
	var found []cgroupMount
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 6 || len(right) < 3 {
			continue
		}
		if right[0] == "cgroup" || right[0] == "cgroup2" {
			found = append(found, cgroupMount{
				root: unescape(left[3]), point: unescape(left[4]), v2: right[0] == "cgroup2", options: right[2],
			})
		}
	}
	return found
}

// own returns this process's group in the hierarchy, from /proc/self/cgroup.
func (m cgroupMount) own(cgroup string) string {
	for line := range strings.Lines(cgroup) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if m.v2 && parts[1] == "" || !m.v2 && parts[1] != "" && m.has(parts[1]) {
			return parts[2]
		}
	}
	return ""
}

// has says whether the superblock's options name the controllers of one line.
func (m cgroupMount) has(controllers string) bool {
	for c := range strings.SplitSeq(controllers, ",") {
		for o := range strings.SplitSeq(m.options, ",") {
			if c == o {
				return true
			}
		}
	}
	return false
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// removeCgroups removes the directories that exist, groups within them first.
// Only rmdir(2) is used, which takes nothing but empty groups. Killed processes
// take a moment to leave theirs.
func removeCgroups(dirs []string) error {
	const longest = 256 * time.Millisecond
	for pause := time.Millisecond; ; pause *= 2 {
		var failed error
		for _, dir := range dirs {
			var st unix.Statfs_t
			if unix.Statfs(dir, &st) == nil && (st.Type == unix.CGROUP_SUPER_MAGIC || st.Type == unix.CGROUP2_SUPER_MAGIC) {
				failed = errors.Join(failed, removeGroup(dir))
			}
		}
		if failed == nil || !errors.Is(failed, unix.EBUSY) || pause > longest {
			return failed
		}
		time.Sleep(pause)
	}
}

func removeGroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove control group: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeGroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove control group %s: %w", dir, err)
	}
	return nil
}

// hybridCgroup names the mount that keeps runtime from running, or nothing:
// crun refuses machines that mount both versions of control groups, and finds
// the second by this name. Covered by a tmpfs it passes for none, and the
// directory that crun makes there all the same is gone with the cover.
func hybridCgroup(runtime string) string {
	const unified = "/sys/fs/cgroup/unified"
	if !strings.Contains(filepath.Base(runtime), "crun") {
		return ""
	}
	var st unix.Statfs_t
	if unix.Statfs(unified, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		return ""
	}
	return unified
}

// removeState removes a runtime's state directory of a run without a mount
// namespace: plain files of ours, two levels deep.
func removeState(dir string) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return
	}
	_ = root.RemoveAll("root") // what stays is swept by the next run
	_ = root.RemoveAll("log")
	_ = root.RemoveAll("pid")
	_ = root.RemoveAll("console")
	_ = root.Close()
	_ = unix.Rmdir(dir)
}
