package rootfd_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/testneed"
)

func TestMain(m *testing.M) {
	if code, again := testneed.PrivateMounts(); again {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// TestRemoveMountRace mounts a canary of the same file system into a tree
// while it is being deleted.
func TestRemoveMountRace(t *testing.T) {
	testneed.Root(t)
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	const rounds = 10
	met := 0
	for range rounds {
		base := t.TempDir()
		build(t, base, "keep/f")
		for i := range dirs {
			build(t, base, fmt.Sprintf("root/t/%d/d/", i), fmt.Sprintf("root/t/%d/f", i))
		}
		if raceOnce(t, base) {
			met++
		}
		if _, err := os.Stat(filepath.Join(base, "keep/f")); err != nil {
			t.Fatalf("the canary is gone: %v", err)
		}
	}
	t.Logf("the deletion met a mount in %d of %d rounds", met, rounds)
	if met == 0 {
		t.Error("no mount came in time: the test tests nothing")
	}
}

// dirs is how many directories there are to mount on.
const dirs = 150

// raceOnce deletes base/root/t while somebody mounts in it. It says whether
// the deletion met a mount.
func raceOnce(t *testing.T, base string) (met bool) {
	t.Helper()
	root, err := os.Open(filepath.Join(base, "root"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	begun, mounted := make(chan struct{}), make(chan string)
	go func() {
		close(begun)
		for i := range dirs {
			target := filepath.Join(base, "root/t", fmt.Sprint(dirs-1-i), "d")
			if unix.Mount(filepath.Join(base, "keep"), target, "", unix.MS_BIND, "") == nil && i > 1 {
				mounted <- target
				return
			}
		}
		mounted <- ""
	}()
	<-begun
	err = rootfd.RemoveAllAt(int(root.Fd()), "t")
	last := <-mounted
	for i := range dirs {
		_ = unix.Unmount(filepath.Join(base, "root/t", fmt.Sprint(i), "d"), unix.MNT_DETACH)
	}
	var mount *rootfd.MountError
	switch {
	case errors.As(err, &mount):
		return true
	case err != nil:
		t.Error(err)
	case last != "":
		if _, err := os.Lstat(filepath.Dir(last)); err == nil {
			t.Errorf("%s is left without an error", last)
		}
	}
	return false
}

// TestRemoveMountElsewhere deletes a tree in which another mount namespace has
// something mounted. The kernel lets that happen, and takes the mount away.
func TestRemoveMountElsewhere(t *testing.T) {
	testneed.Root(t)
	base := t.TempDir()
	build(t, base, "keep/f", "root/t/a/d/")
	mounted, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with its namespace
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount(filepath.Join(base, "keep"), filepath.Join(base, "root/t/a/d"), "", unix.MS_BIND, "")
		}
		mounted <- err
		<-done
	}()
	defer close(done)
	if err := <-mounted; err != nil {
		t.Fatal(err)
	}
	r, err := rootfd.Open(filepath.Join(base, "root"), rootfd.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if err := rootfd.RemoveAllAt(r.FD(), "t"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(base, "keep/f")); err != nil {
		t.Errorf("the canary is gone: %v", err)
	}
}
