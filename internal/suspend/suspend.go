// Package suspend stops this process as Ctrl-Z does, though it takes that
// signal itself.
package suspend

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Self stops this process as SIGTSTP does to a program that does not handle
// it: not at all where no shell controls jobs. It returns when the process is
// continued. os/signal cannot give a signal its default action back, so
// that is asked of the kernel.
func Self() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var byDefault, former sigaction
	if !sigactionTSTP(&byDefault, &former) {
		return
	}
	// To this very thread, so that it takes effect before the next line.
	_ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGTSTP)
	sigactionTSTP(&former, nil)
}

// sigaction is the kernel's struct of that name on amd64 and arm64, which is
// only kept: handler, flags, restorer, mask.
type sigaction [4]uint64

func sigactionTSTP(to, former *sigaction) bool {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGTSTP),
		uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(former)), unsafe.Sizeof(to[3]), 0, 0)
	return errno == 0
}
