package e2e_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testneed"
)

// TestInterruptedBundle ends byhand bundle at every moment of its work. Killed,
// it leaves a directory that is a whole bundle or none; interrupted, one that
// is whole or nothing. The same command then succeeds, and rm takes either.
func TestInterruptedBundle(t *testing.T) {
	testneed.Root(t)
	l := newLab(t)
	image := "oci:" + shared.image + ":v1"
	l.must(l.byhand("unpack", image))
	start := time.Now()
	l.must(l.byhand("bundle", "--no-mount", image, l.path("first")))
	whole := time.Since(start)
	const steps = 12
	seen := map[string]int{}
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGINT} {
		for _, rootfs := range []string{"overlay", "flat"} {
			for i := range steps {
				dir := l.path(fmt.Sprintf("b-%d-%s-%d", sig, rootfs, i))
				l.bundleFor(whole*time.Duration(i)/steps, sig, rootfs, image, dir)
				_, dirErr := os.Lstat(dir)
				_, configErr := os.Lstat(filepath.Join(dir, "config.json"))
				switch {
				case configErr == nil:
					seen["whole"]++
				case errors.Is(dirErr, fs.ErrNotExist):
					seen["nothing"]++
				case sig == unix.SIGINT:
					t.Errorf("%v after %d/%d of the time: a directory without config.json is left", sig, i, steps)
				default:
					seen["begun"]++
				}
				if configErr != nil && i%2 == 0 {
					l.must(l.byhand("bundle", "--no-mount", "--rootfs", rootfs, image, dir))
				}
				if configErr == nil || i%2 == 0 {
					checkLook(t, l.byhand("run", dir))
				}
				if _, err := os.Lstat(dir); err == nil {
					l.removeBegun(dir)
				}
			}
		}
	}
	t.Logf("%v", seen)
	l.must(l.byhand("rm", l.path("first")))
	l.must(l.byhand("prune"))
	if left := names(t, l.path("store/bundles")); len(left) > 0 {
		t.Errorf("records of bundles: %v", left)
	}
}

// bundleFor makes a bundle and sends sig after some time.
func (l lab) bundleFor(after time.Duration, sig unix.Signal, rootfs, image, dir string) {
	l.t.Helper()
	cmd := exec.Command(shared.byhand, "--store", l.path("store"), "--quiet", "bundle", "--no-mount", "--rootfs", rootfs, image, dir)
	cmd.Env = append(os.Environ(), "HOME="+l.dir)
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	time.Sleep(after)
	_ = cmd.Process.Signal(sig) // it may have ended
	_ = cmd.Wait()
}

// removeBegun removes a bundle, whole or begun. One that was killed before it
// had a name to go by is an empty directory.
func (l lab) removeBegun(dir string) {
	l.t.Helper()
	if os.Remove(dir) == nil {
		return
	}
	if r := l.byhand("rm", dir); r.code != 0 {
		l.t.Errorf("rm %s: exit %d: %s; it has %v", dir, r.code, r.stderr, names(l.t, dir))
	}
}
