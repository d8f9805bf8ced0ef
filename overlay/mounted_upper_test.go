package overlay_test

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/shell"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
)

// TestUpperUser: a container has its root still when the bundle's overlay was
// unmounted. A copy of the mount, in a namespace that was made meanwhile, is none.
func TestUpperUser(t *testing.T) {
	if !isolated(t) {
		return
	}
	user := func(o overlay.MountOptions) string {
		t.Helper()
		name, err := overlay.UpperUser(o.Upper)
		if err != nil {
			t.Error(err)
		}
		return name
	}
	for _, name := range []string{"plain", `a,b: c\d\`, strings.Repeat("long/", 60)} {
		for how, mount := range mounters {
			for _, uid := range []int{0, 65534} {
				root := tmpfs(t)
				dirs := stack(t, root, []testtar.Entry{testtar.File("a", "1")}, []testtar.Entry{testtar.File("b", "2")})
				o, other := bundle(t, filepath.Join(root, name, "bundle"), dirs), bundle(t, filepath.Join(root, "other"), dirs)
				if err := mount(o); err != nil {
					t.Fatal(err)
				}
				mountElsewhere(t, 0, "true")
				if got := user(o); got != "" {
					t.Errorf("%s %q: a copy is %q", how, name, got)
				}
				end := mountElsewhere(t, uid, "mount --move "+shell.Quote(o.Target)+" /")
				if err := unix.Unmount(o.Target, 0); err != nil {
					t.Fatal(err)
				}
				if got := user(o); !strings.HasPrefix(got, "the overlay mount on / of process ") {
					t.Errorf("%s %q: a container of user %d is %q", how, name, uid, got)
				}
				if got := user(other); got != "" {
					t.Errorf("%s %q: another bundle has %q", how, name, got)
				}
				end()
				if got := user(o); got != "" {
					t.Errorf("%s %q: after its end there is %q", how, name, got)
				}
			}
		}
	}
	if got := user(overlay.MountOptions{Upper: filepath.Join(t.TempDir(), "missing")}); got != "" {
		t.Errorf("of nothing there is %q", got)
	}
}
