package sys

import (
	"time"

	"golang.org/x/sys/unix"
)

// CPUTime returns what this process has taken of all processors, in the kernel
// too (getrusage(2)).
func CPUTime() (time.Duration, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
