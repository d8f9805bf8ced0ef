package overlay_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/byhand/byhand/overlay"
)

// userTests are the tests that must hold for an ordinary user as well. They
// are run by root in the first place.
var userTests = []string{
	"TestAddAll", "TestStoreModes", "TestAddAllFailure", "TestAddAllRetry", "TestAddAllShares",
	"TestRestart", "TestSync", "TestBlob", "TestBlobResume", "TestImages", "TestRemove", "TestPrune",
	"TestProve", "TestVerifyUser", "TestUse", "TestUseMoved", "TestRemoveReadOnlyTree", "TestSweep", "TestKilled",
}

const userEnv = "BYHAND_TEST_USER"

func TestOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this user runs those tests directly")
	}
	out := runAsUser(t, "^("+strings.Join(userTests, "|")+")$")
	for _, name := range userTests {
		if !bytes.Contains(out, []byte("--- PASS: "+name+" ")) {
			t.Errorf("%s did not pass", name)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

// runAsUser runs tests of this binary as the user 65534, with no capability.
func runAsUser(t *testing.T, pattern string) []byte {
	t.Helper()
	home, err := os.MkdirTemp("/tmp", "byhand-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	const nobody = 65534
	if err := os.Chown(home, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run="+pattern, "-test.v", "-test.short")
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "TMPDIR="+home, "HOME="+home, userEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as user %d: %v\n%s", nobody, err, out)
	}
	return out
}

// A store of another user can be listed, no more.
func TestReadOnlyStore(t *testing.T) {
	if dir := os.Getenv(userEnv); dir != "" && dir != "1" {
		readOnly(t, dir)
		return
	}
	dir := t.TempDir()
	s := open(t, dir)
	src := whole("f")
	addAll(t, s, src)
	putImage(t, s, alpine, linuxAMD64, src)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		t.Skip("needs another user; root tests this")
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv(userEnv, dir)
	before := tree(t, dir)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestReadOnlyStore$", "-test.v")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS")) {
		t.Errorf("as another user: %v\n%s", err, out)
	}
	if after := tree(t, dir); len(after) != len(before) {
		t.Errorf("the store changed from %q to %q", before, after)
	}
}

// readOnly is the part of TestReadOnlyStore that runs as another user.
func readOnly(t *testing.T, dir string) {
	t.Helper()
	s := open(t, dir)
	imgs, err := s.Images(t.Context())
	if err != nil || len(imgs) != 1 {
		t.Fatalf("Images: %v, %v", imgs, err)
	}
	if _, err := s.DiffIDs(t.Context(), imgs[0]); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("DiffIDs: %v, want no permission: blobs are for the owner alone", err)
	}
	_, err = s.AddAll(t.Context(), sources(whole("g")), overlay.AddOptions{})
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("AddAll: %v, want a permission error", err)
	}
	if _, err := s.Remove(t.Context(), alpine); err == nil {
		t.Error("Remove of another user's image")
	}
}
