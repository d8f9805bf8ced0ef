package overlay_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/overlay"
)

// An overlay that somebody mounted by hand, of which the store knows nothing,
// keeps its layers, in this mount namespace or in another.
func TestMountsKeepLayers(t *testing.T) {
	if !isolated(t) {
		return
	}
	ways := map[string]func(dir, target string, l []overlay.Layer) error{
		"fsconfig": func(_, target string, l []overlay.Layer) error {
			return overlay.MountNew(overlay.MountOptions{Lower: []string{l[0].Dir, l[1].Dir}, Target: target, ReadOnly: true})
		},
		"mount": func(_, target string, l []overlay.Layer) error {
			// util-linux splits at commas and the kernel at colons.
			esc := strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`)
			return unix.Mount("overlay", target, "overlay", unix.MS_RDONLY, "lowerdir="+esc.Replace(l[1].Dir)+":"+esc.Replace(l[0].Dir))
		},
		"short links": func(dir, target string, l []overlay.Layer) error {
			lower := "l/" + filepath.Base(l[1].Link) + ":l/" + filepath.Base(l[0].Link)
			cmd := exec.Command("mount", "-t", "overlay", "overlay", "-o", "ro,lowerdir="+lower, target)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				return errors.New(string(out))
			}
			return nil
		},
	}
	for name, mount := range ways {
		for _, odd := range []string{"plain", `a,b:c\d` + "\n e"} {
			t.Run(name+" "+odd[:1], func(t *testing.T) {
				dir, target := filepath.Join(tmpfs(t), odd), t.TempDir()
				a, b := twoImages(t, dir)
				if err := mount(dir, target, a); err != nil {
					t.Fatal(err)
				}
				s := open(t, dir)
				_, err := s.Remove(t.Context(), "a:1")
				if e := as[*overlay.InUseError](t, err); len(e.Users) != 1 || e.Users[0] != "the overlay mount on "+target {
					t.Errorf("users %q, want the mount on %s", e.Users, target)
				}
				if _, err := s.Remove(t.Context(), "b:1"); err != nil {
					t.Error(err)
				}
				if got := has(s, a[0], a[1], b[1]); !got[0] || !got[1] || got[2] {
					t.Errorf("layers: %v", got)
				}
				if err := unix.Unmount(target, 0); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Remove(t.Context(), "a:1"); err != nil {
					t.Error(err)
				}
			})
		}
	}
	t.Run("here, and copied elsewhere", func(t *testing.T) {
		dir, target := t.TempDir(), t.TempDir()
		a, _ := twoImages(t, dir)
		if err := overlay.Mount(overlay.MountOptions{Lower: []string{a[0].Dir, a[1].Dir}, Target: target, ReadOnly: true}); err != nil {
			t.Fatal(err)
		}
		mountElsewhere(t, 0, "true")
		mountElsewhere(t, 0, "true")
		s := open(t, dir)
		_, err := s.Remove(t.Context(), "a:1")
		if e := as[*overlay.InUseError](t, err); len(e.Users) != 1 || e.Users[0] != "the overlay mount on "+target {
			t.Errorf("users %q, want the mount on %s alone", e.Users, target)
		}
		if err := unix.Unmount(target, 0); err != nil {
			t.Fatal(err)
		}
		_, err = s.Remove(t.Context(), "a:1")
		if e := as[*overlay.InUseError](t, err); len(e.Users) != 1 || !strings.Contains(e.Users[0], "of process ") {
			t.Errorf("users %q, want one process", e.Users)
		}
	})
	t.Run("elsewhere", func(t *testing.T) {
		dir, target := t.TempDir(), t.TempDir()
		a, _ := twoImages(t, dir)
		end := mountElsewhere(t, 0, overlay.MountCommand(overlay.MountOptions{Lower: []string{a[0].Dir, a[1].Dir}, Target: target, ReadOnly: true}))
		s := open(t, dir)
		_, err := s.Remove(t.Context(), "a:1")
		if e := as[*overlay.InUseError](t, err); !strings.Contains(e.Error(), "of process ") {
			t.Errorf("users %q, want a process", e.Users)
		}
		end()
		if _, err := s.Remove(t.Context(), "a:1"); err != nil {
			t.Error(err)
		}
	})
}

// What a damaged layer's link leads to may be mounted by anybody.
func TestMountsOfLinkKeepNothing(t *testing.T) {
	if !isolated(t) {
		return
	}
	dir, outside, target := t.TempDir(), t.TempDir(), t.TempDir()
	a, _ := twoImages(t, dir)
	if err := overlay.Mount(overlay.MountOptions{Lower: []string{outside, t.TempDir()}, Target: target, ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(a[1].Dir, a[1].Dir+".old"), os.Symlink(outside, a[1].Dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, dir).Remove(t.Context(), "a:1"); err != nil {
		t.Error(err)
	}
	if err := overlay.Unmount(target); err != nil {
		t.Fatal(err)
	}
}

// Others' mounts may have names that lead, here, to a file system that never
// answers. Nobody waits for it, and such a name still keeps a layer.
func TestMountsNeverAnswering(t *testing.T) {
	if !isolated(t) {
		return
	}
	dir, theirs, target := t.TempDir(), t.TempDir(), t.TempDir()
	a, _ := twoImages(t, dir)
	silent := t.TempDir()
	for _, name := range []string{"theirs/a", "theirs/b", "store"} {
		if err := os.MkdirAll(filepath.Join(silent, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	store := filepath.Join(silent, "store")
	if err := unix.Mount(dir, store, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	mount := func(base, top, target string) string {
		return fmt.Sprintf("mount -t overlay -o ro,lowerdir=%s:%s overlay %s", top, base, target)
	}
	moved := func(l overlay.Layer) string { return store + strings.TrimPrefix(l.Dir, dir) }
	const nobody = 65534
	mountElsewhere(t, nobody, mount(filepath.Join(silent, "theirs/a"), filepath.Join(silent, "theirs/b"), theirs))
	mountElsewhere(t, nobody, mount(moved(a[0]), moved(a[1]), target))
	if err := unix.Unmount(store, 0); err != nil {
		t.Fatal(err)
	}
	neverAnswers(t, silent)
	ended := make(chan error, 1)
	go func() {
		s := open(t, dir)
		_, err := s.Remove(t.Context(), "a:1")
		ended <- err
	}()
	select {
	case err := <-ended:
		if e := as[*overlay.InUseError](t, err); len(e.Users) != 1 || !strings.HasPrefix(e.Users[0], "the overlay mount on "+target+" of process ") {
			t.Errorf("users %q, want the mount on %s", e.Users, target)
		}
	case <-time.After(time.Minute):
		t.Error("Remove waits for a file system that never answers")
	}
}

// A bundle may be where a file system does not answer. Nobody waits for it for
// long, and its layers are kept.
func TestBundleNeverAnswering(t *testing.T) {
	if !isolated(t) {
		return
	}
	dir, bundle := t.TempDir(), t.TempDir()
	a, _ := twoImages(t, dir)
	s := open(t, dir)
	prepare(t, s, bundle, a)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	neverAnswers(t, bundle)
	var said []string
	o := options()
	o.Observe = func(e overlay.Event) {
		if e.Kind == overlay.EventWarning {
			said = append(said, e.Message)
		}
	}
	s = openWith(t, dir, o)
	s.SetPatience(time.Millisecond)
	ended := make(chan error, 1)
	go func() {
		_, err := s.Remove(t.Context(), "a:1")
		ended <- err
	}()
	select {
	case err := <-ended:
		if e := as[*overlay.InUseError](t, err); len(e.Users) != 1 || e.Users[0] != "bundle "+bundle {
			t.Errorf("users %q, want the bundle", e.Users)
		}
		if len(said) != 1 || said[0] != "look at bundle "+bundle+": its file system does not answer; its layers are kept" {
			t.Errorf("warnings %q", said)
		}
	case <-time.After(time.Minute):
		t.Error("Remove waits for a file system that never answers")
	}
}

// neverAnswers mounts a FUSE file system without a server. What asks it waits
// until the test ends.
func neverAnswers(t *testing.T, dir string) {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		testneed.Missing(t, "/dev/fuse: "+err.Error())
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount("silent", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Close(fd), unix.Unmount(dir, unix.MNT_DETACH)); err != nil { // Close wakes all who wait
			t.Error(err)
		}
	})
}

// mountElsewhere mounts in the namespace of a process of the user uid that lives
// until end.
func mountElsewhere(t *testing.T, uid int, command string) (end func()) {
	t.Helper()
	script := fmt.Sprintf("%s && exec setpriv --reuid=%d sh -c 'echo mounted && exec sleep 600'", command, uid)
	cmd := exec.Command("sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(end)
	if n, err := out.Read(make([]byte, 8)); n == 0 {
		t.Fatalf("not mounted: %v", err)
	}
	return end
}

// A bundle whose directory was deleted around its mount is a user still.
func TestMountedBundleHalfDeleted(t *testing.T) {
	if !isolated(t) {
		return
	}
	dir, bundle := t.TempDir(), tmpfs(t)
	a, _ := twoImages(t, dir)
	s := open(t, dir)
	prepare(t, s, bundle, a)
	o, err := overlay.BundleMount(bundle)
	if err == nil {
		err = overlay.Mount(o)
	}
	if err == nil {
		err = os.RemoveAll(filepath.Join(bundle, "lower"))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	_, err = s.Remove(t.Context(), "a:1")
	if e := as[*overlay.InUseError](t, err); len(e.Users) != 1 || e.Users[0] != "bundle "+bundle {
		t.Errorf("users %q, want the bundle", e.Users)
	}
	if err := overlay.Unmount(o.Target); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Remove(t.Context(), "a:1"); err != nil {
		t.Error(err)
	}
}
