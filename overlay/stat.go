package overlay

import (
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
)

// lstatat looks at a name without following it. A file system in user space
// may interrupt even this.
func lstatat(dirfd int, name string, st *unix.Stat_t) error {
	_, err := rootfd.Retry(func() (int, error) {
		return 0, unix.Fstatat(dirfd, name, st, unix.AT_SYMLINK_NOFOLLOW)
	})
	return err
}
