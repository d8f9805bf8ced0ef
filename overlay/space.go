package overlay

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/sys"
)

// Space returns how many bytes this process may still write to the store's
// file system.
func (s *Store) Space() (int64, error) { return space(s.layout.root) }

// CheckSpace returns a [SpaceError] when need bytes would not fit on the
// store's file system. It reserves nothing.
func (s *Store) CheckSpace(need int64) error {
	have, err := s.Space()
	if err != nil {
		return err
	}
	if need > have {
		return &SpaceError{Path: s.layout.root, Need: need, Have: have}
	}
	return nil
}

func space(path string) (int64, error) {
	var st unix.Statfs_t
	if err := sys.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("read free space of %s: %w", path, err)
	}
	if st.Blocks == 0 || st.Bsize <= 0 {
		return math.MaxInt64, nil // a file system that keeps no count
	}
	if st.Bavail > uint64(math.MaxInt64/st.Bsize) {
		return math.MaxInt64, nil
	}
	return int64(st.Bavail) * st.Bsize, nil
}
