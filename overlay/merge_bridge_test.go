package overlay

import (
	"context"
	"os"
	"time"

	"github.com/byhand/byhand/unpack"
)

// Settle is settleLayer for the tests of this directory.
func Settle(ctx context.Context, staging *os.File, parents []string, p unpack.Pending, userXattr bool) error {
	return settleLayer(ctx, staging, parents, p, userXattr, nil)
}

// SetPatience is how long a bundle's file system may take to answer.
func (s *Store) SetPatience(d time.Duration) { s.patience = d }

// MountNew mounts with fsconfig(2) or not at all.
func MountNew(o MountOptions) error {
	o, err := absolute(o)
	if err == nil {
		err = check(o)
	}
	if err == nil {
		err = mountNew(o)
	}
	return err
}

// MountClassic mounts with mount(2).
func MountClassic(o MountOptions) error {
	o, err := absolute(o)
	if err == nil {
		err = check(o)
	}
	if err == nil {
		err = mountClassic(o)
	}
	return err
}

// StageName is the name of the directory that dst is made in.
func StageName(dst string) string { return stageName(dst) }
