package ociruntime

import (
	"fmt"
	"strings"
)

// Exit codes of a container that did not start, as docker run has them.
const (
	CodeFailed    = 125 // this program or the runtime failed
	CodeNotExec   = 126 // the container's program cannot be executed
	CodeNotFound  = 127 // the container's program was not found
	codeSignalled = 128 // plus the number of the signal
)

// StartError says that the container did not start. Code is the exit code
// that docker run would end with.
type StartError struct {
	Code   int
	Op     string // what was being done
	Detail string // what the runtime or the kernel said
}

func (e *StartError) Error() string { return e.Op + ": " + e.Detail }

// MissingError says that no usable runtime is installed.
type MissingError struct {
	Runtime string // the one asked for, or empty
}

func (e *MissingError) Error() string {
	if e.Runtime != "" {
		return fmt.Sprintf("find OCI runtime %s: not installed; install it, or name another with --runtime", e.Runtime)
	}
	return "find OCI runtime: neither of " + strings.Join(defaultRuntimes, ", ") +
		" is installed; install one (apt-get install runc, dnf install runc, apk add runc)"
}
