package ociruntime_test

import (
	"os/exec"
	"testing"

	"github.com/byhand/byhand/internal/ociruntime"
	"github.com/byhand/byhand/internal/testbundle"
	"github.com/byhand/byhand/internal/testneed"
)

// BenchmarkRun runs /bin/true; the sub-benchmark named runtime is the same with
// the runtime's own command line, for comparison.
func BenchmarkRun(b *testing.B) {
	testneed.Root(b)
	testneed.Tool(b, "runc")
	bundle := testbundle.Make(b, testbundle.Options{})
	state := shortDir(b)
	b.Run("byhand", func(b *testing.B) {
		for b.Loop() {
			if code, err := ociruntime.Run(b.Context(), ociruntime.Options{Runtime: "runc", Bundle: bundle, StateDir: state + "/s"}); code != 0 || err != nil {
				b.Fatal(code, err)
			}
		}
	})
	b.Run("runtime", func(b *testing.B) {
		for b.Loop() {
			cmd := exec.Command("runc", "--root", state+"/r", "run", "--bundle", bundle, "bench-"+randomName())
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
	})
}
