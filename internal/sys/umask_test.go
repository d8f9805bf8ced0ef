package sys_test

import (
	"syscall"
	"testing"

	"github.com/byhand/byhand/internal/sys"
)

func TestUmask(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	for _, want := range []int{0, 0o022, 0o077, 0o777} {
		syscall.Umask(want)
		if got := sys.Umask(); got != uint32(want) {
			t.Errorf("umask %03o, expected %03o", got, want)
		}
	}
}
