package testneed

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// CPUTime returns the processor time that this process has had, or would have
// had without the race detector. A test that something does not take the square
// of its input measures by it: the time of the clock is that of a busy machine's
// other processes as well.
func CPUTime(t testing.TB) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano()+u.Stime.Nano()) / raceFactor
}
