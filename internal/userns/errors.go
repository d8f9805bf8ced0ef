package userns

import (
	"bytes"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// UnavailableError says that this process cannot have a user namespace that
// is of use, why, and what would change that.
type UnavailableError struct {
	Op     string // what was tried
	Err    error  // what the kernel answered
	Reason string // what on this machine forbids it, where that is known
	Remedy string // what to type, where there is something
}

func (e *UnavailableError) Error() string {
	text := e.Op + ": " + e.Err.Error()
	if e.Reason != "" {
		text += " (" + e.Reason + ")"
	}
	if e.Remedy != "" {
		text += "; " + e.Remedy
	}
	return text
}

func (e *UnavailableError) Unwrap() error { return e.Err }

func unavailable(op string, err error) error {
	reason, remedy := diagnose(err, os.ReadFile)
	return &UnavailableError{Op: op, Err: err, Reason: reason, Remedy: remedy}
}

// diagnose looks for what made the kernel refuse a user namespace or the
// capabilities in it. read reads a file of /proc.
func diagnose(err error, read func(string) ([]byte, error)) (reason, remedy string) {
	value := func(name string) string {
		text, readErr := read("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
		if readErr != nil {
			return ""
		}
		return strings.TrimSpace(string(text))
	}
	switch {
	case value("user.max_user_namespaces") == "0":
		return "sysctl user.max_user_namespaces is 0", "an administrator can type: sysctl user.max_user_namespaces=15000"
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EUSERS):
		return "the limit of user namespaces is reached", "an administrator can raise sysctl user.max_user_namespaces"
	case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS):
		return "the kernel has no user namespaces", "run byhand as root"
	case value("kernel.unprivileged_userns_clone") == "0":
		return "sysctl kernel.unprivileged_userns_clone is 0", "an administrator can type: sysctl kernel.unprivileged_userns_clone=1"
	case value("kernel.apparmor_restrict_unprivileged_userns") == "1":
		return "AppArmor restricts user namespaces",
			"an administrator can type: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or load an AppArmor profile for byhand with the rule userns,"
	case underSeccomp(read):
		return "a seccomp filter is active, as in a container", "start the container with --security-opt seccomp=unconfined, or run byhand outside it"
	case errors.Is(err, unix.EPERM):
		return "", "in a chroot, leave it; in a container, give it CAP_SYS_ADMIN; or run byhand as root"
	}
	return "", ""
}

// underSeccomp says whether a filter decides on this process's system calls.
func underSeccomp(read func(string) ([]byte, error)) bool {
	text, err := read("/proc/self/status")
	return err == nil && bytes.Contains(text, []byte("\nSeccomp:\t2"))
}
