package sys

import (
	"os"
	"strconv"
	"strings"
)

// Umask reads the process's umask without changing it, which umask(2) cannot.
// Where /proc does not tell, every bit is set.
func Umask() uint32 {
	const unknown = 0o777
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return unknown
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "Umask:"); ok {
			if m, err := strconv.ParseUint(strings.TrimSpace(v), 8, 32); err == nil {
				return uint32(m)
			}
		}
	}
	return unknown
}
