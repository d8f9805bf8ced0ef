package bundle

import (
	"fmt"

	"github.com/moby/profiles/seccomp"
)

// seccomp adds Docker's default filter, computed for this kernel, this
// architecture and the final capabilities: a capability opens the system calls
// that it is for. It has to come after them.
func (d *draft) seccomp() error {
	if d.o.NoSeccomp || d.o.Privileged {
		return nil
	}
	if !d.host.Seccomp {
		d.warn("seccomp filter left out: the kernel has none")
		return nil
	}
	filter, err := seccomp.GetDefaultProfile(d.spec)
	if err != nil {
		return fmt.Errorf("compute seccomp filter: %w", err)
	}
	if filter == nil || len(filter.Architectures) == 0 {
		d.warn("seccomp filter left out: the default profile does not know this machine's architecture")
		return nil
	}
	d.spec.Linux.Seccomp = filter
	d.from("linux.seccomp", "default profile for the final capabilities")
	return nil
}
