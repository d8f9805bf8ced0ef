// Package testneed states what a test needs of the machine. A need that is
// not met skips the test with the reason, except in CI (CI=true), where
// it fails: a check that silently does not run proves nothing.
package testneed

import (
	"os"
	"os/exec"
	"testing"
)

// Tool requires every named program on PATH.
func Tool(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			Missing(t, name+" is not on PATH")
		}
	}
}

// Root requires effective user ID 0.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root") // CI runs the suite as root
	}
}

// Missing skips the test because of reason, or fails it in CI.
func Missing(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("needed in CI: %s", reason)
	}
	t.Skip(reason)
}
