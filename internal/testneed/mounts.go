package testneed

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

const insideEnv = "BYHAND_TEST_PRIVATE_MOUNTS"

// PrivateMounts runs the test binary once more in a mount namespace of its
// own, so that whatever tests mount is gone with it and seen by nobody else.
// TestMain calls it first: where again is true it ends with code, and else
// it is inside, or the caller is no root and mounts nothing.
func PrivateMounts() (code int, again bool) {
	if os.Geteuid() != 0 || os.Getenv(insideEnv) != "" {
		return 0, false
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, true
	case errors.As(err, &exit):
		return exit.ExitCode(), true
	}
	fmt.Fprintln(os.Stderr, "run tests in a private mount namespace:", err)
	return 1, true
}

// ShareMounts makes the mounts inside shared, as systemd has them: what one test
// unmounts is gone, too, from the namespaces that containers of other tests have
// made meanwhile, and would else be in use for as long as they last. It is for
// tests whose programs mount nothing in a namespace that is not a slave or
// private: that would be seen here.
func ShareMounts() error {
	if os.Geteuid() != 0 {
		return nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share the mounts of tests with one another: %w", err)
	}
	return nil
}
