package rootfd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// checkMounts refuses the tree base in the directory dirfd when something is
// mounted on it or in it, as far as this mount namespace has it. What is
// mounted later, or where /proc is not there to tell, is met on the way.
func checkMounts(dirfd int, base string) error {
	// The thread, not the process: it may have a namespace of its own.
	parent, err := os.Readlink(fmt.Sprintf("/proc/thread-self/fd/%d", dirfd))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for mounts: %w", err)
	}
	tree := filepath.Join(parent, base)
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		found := m.Mountpoint == tree || strings.HasPrefix(m.Mountpoint, tree+"/")
		return !found, found
	})
	if err != nil {
		return fmt.Errorf("look for mounts: %w", err)
	}
	if len(mounts) == 0 {
		return nil
	}
	rel, err := filepath.Rel(parent, mounts[0].Mountpoint)
	if err != nil {
		rel = mounts[0].Mountpoint
	}
	return &MountError{Name: rel}
}
