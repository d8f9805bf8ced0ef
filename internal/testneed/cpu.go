package testneed

import (
	"testing"
	"time"

	"github.com/byhand/byhand/internal/sys"
)

// CPUTime returns the processor time that this process has had, or would have
// had without the race detector. A test that something does not take the square
// of its input measures by it: the time of the clock is that of a busy machine's
// other processes as well.
func CPUTime(t testing.TB) time.Duration {
	t.Helper()
	took, err := sys.CPUTime()
	if err != nil {
		t.Fatal(err)
	}
	return took / raceFactor
}
