package overlay

import "fmt"

// MountError is a mount or unmount that the kernel, or the look at its
// arguments beforehand, refused.
type MountError struct {
	Target string // the mount point
	Op     string // what was being done
	Detail string // what the kernel said about it, or what to do; may be empty
	Err    error
}

func (e *MountError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("%s %s: %v", e.Op, e.Target, e.Err)
	}
	return fmt.Sprintf("%s %s: %v: %s", e.Op, e.Target, e.Err, e.Detail)
}

func (e *MountError) Unwrap() error { return e.Err }

// LowerDirError names a lower dir that is not there, or is no directory.
type LowerDirError struct {
	Layer int    // 1 is the base
	Dir   string // where it was looked for
	Err   error
}

func (e *LowerDirError) Error() string {
	return fmt.Sprintf("open layer %d at %s: %v; unpack the image again to restore it", e.Layer, e.Dir, e.Err)
}

func (e *LowerDirError) Unwrap() error { return e.Err }
