// Package testuser makes ordinary users for tests that run as root and have to
// see what such a user sees.
package testuser

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/byhand/byhand/internal/testneed"
)

// User is an ordinary user that lasts as long as the test.
type User struct {
	Name     string
	UID, GID uint32
	// Home is a directory of the user's.
	Home string
}

// WithSubids makes a user with ranges in /etc/subuid and /etc/subgid.
func WithSubids(t testing.TB) User { return add(t, true) }

// WithoutSubids makes a user with none.
func WithoutSubids(t testing.TB) User { return add(t, false) }

func add(t testing.TB, subids bool) User {
	t.Helper()
	testneed.Root(t)
	testneed.Tool(t, "useradd", "userdel")
	var random [4]byte
	_, _ = rand.Read(random[:])
	name := "byhand-" + hex.EncodeToString(random[:])
	args := []string{"--no-create-home", "--user-group", "--home-dir", "/nonexistent", name}
	if !subids {
		args = append([]string{"--system"}, args...) // system users get no ranges
	}
	edit(t, "useradd", args...)
	t.Cleanup(func() { edit(t, "userdel", "--force", name) })
	if has := hasSubids(t, name); has != subids {
		if !subids {
			t.Fatalf("useradd gave %s subordinate ids", name)
		}
		edit(t, "usermod", "--add-subuids", "900000000-900065535", "--add-subgids", "900000000-900065535", name)
	}
	found, err := user.Lookup(name)
	must(t, err)
	uid, err := strconv.ParseUint(found.Uid, 10, 32)
	must(t, err)
	gid, err := strconv.ParseUint(found.Gid, 10, 32)
	must(t, err)
	u := User{Name: name, UID: uint32(uid), GID: uint32(gid), Home: t.TempDir()}
	open(t, u.Home)
	must(t, os.Chown(u.Home, int(uid), int(gid)))
	return u
}

// Credential is for SysProcAttr.
func (u User) Credential() *syscall.Credential {
	return &syscall.Credential{Uid: u.UID, Gid: u.GID}
}

// Env is an environment as a login would have it.
func (u User) Env() []string {
	return []string{"HOME=" + u.Home, "USER=" + u.Name, "LOGNAME=" + u.Name, "PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C"}
}

// Program copies the running test binary to where every user may run it: the
// go command keeps it in a directory that only its own user can search.
func Program(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	in, err := os.Open("/proc/self/exe")
	must(t, err)
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	must(t, err)
	_, err = io.Copy(out, in)
	must(t, err)
	must(t, out.Close())
	must(t, os.Chmod(path, 0o755)) // whatever the umask
	open(t, filepath.Dir(path))
	return path
}

// open lets every user search the test's temporary directory.
func open(t testing.TB, dir string) {
	t.Helper()
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
}

// edit runs a program of shadow-utils, which gives up when another one has the
// files locked.
func edit(t testing.TB, name string, args ...string) {
	t.Helper()
	var out []byte
	var err error
	for end := time.Now().Add(2 * time.Minute); ; {
		if out, err = exec.Command(name, args...).CombinedOutput(); err == nil {
			return
		}
		if !bytes.Contains(out, []byte("lock")) || time.Now().After(end) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
}

func hasSubids(t testing.TB, name string) bool {
	t.Helper()
	text, err := os.ReadFile("/etc/subuid")
	if os.IsNotExist(err) {
		return false
	}
	must(t, err)
	return strings.HasPrefix(string(text), name+":") || strings.Contains(string(text), "\n"+name+":")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
