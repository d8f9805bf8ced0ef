package ociruntime

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Exit codes of a container that did not start, as docker run has them.
const (
	CodeFailed    = 125 // this program or the runtime failed
	CodeNotExec   = 126 // the container's program cannot be executed
	CodeNotFound  = 127 // the container's program was not found
	codeSignalled = 128 // plus the number of the signal
)

// OpPrepare is the Op of a [StartError] that the caller's preparation made.
const OpPrepare = "prepare bundle"

// StartError says that the container did not start. Code is the exit code
// that docker run would end with.
type StartError struct {
	Code   int
	Op     string // what was being done
	Detail string // what the runtime or the kernel said
}

func (e *StartError) Error() string {
	if e.Detail == "" {
		return e.Op + ": it did not say why; is it an OCI runtime?"
	}
	return e.Op + ": " + e.Detail
}

// MissingError says that no usable runtime is installed.
type MissingError struct {
	Runtime string // the one asked for, or empty
	Err     error  // why the file that was named is none, or nil
}

func (e *MissingError) Error() string {
	const remedy = "install one (apt-get install runc, dnf install runc, apk add runc)"
	switch {
	case e.Runtime == "":
		return "find OCI runtime: neither of " + strings.Join(defaultRuntimes, ", ") + " is installed; " + remedy
	case e.Err == nil:
		return fmt.Sprintf("find OCI runtime %s: no such program is installed; %s, or name another with --runtime", e.Runtime, remedy)
	case errors.Is(e.Err, fs.ErrNotExist):
		return fmt.Sprintf("find OCI runtime %s: there is no such file; %s, or name another with --runtime", e.Runtime, remedy)
	case errors.Is(e.Err, fs.ErrPermission):
		return fmt.Sprintf("find OCI runtime %s: it is no file that may be executed; name another with --runtime", e.Runtime)
	}
	return fmt.Sprintf("find OCI runtime %s: %v; name another with --runtime", e.Runtime, e.Err)
}

func (e *MissingError) Unwrap() error { return e.Err }
