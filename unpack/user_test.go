package unpack_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/unpack"
)

// TestAsUser runs the tests of this package again as an ordinary user.
func TestAsUser(t *testing.T) {
	if os.Geteuid() == 0 {
		asUser(t, "Test|Example")
	}
}

// asUser runs tests of this package as an ordinary user.
func asUser(t *testing.T, pattern string) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "unpack.test")
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(tmp, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(program, 0o755); err != nil { // whatever the umask
		t.Fatal(err)
	}
	for name := tmp; name != os.TempDir() && name != "/"; name = filepath.Dir(name) {
		if err := os.Chmod(name, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run="+pattern)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "HOME="+tmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{}}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as an ordinary user: %v\n%s", err, out)
	}
}

// TestSquash tells what an ordinary user's directory lacks, and that it is
// said once.
func TestSquash(t *testing.T) {
	if os.Geteuid() == 0 {
		asUser(t, "TestSquash")
		return
	}
	var owner int64
	archive := archiveOfOthers()
	dir, res, err := apply(t, archive, unpack.Options{Entry: func(e unpack.Entry) {
		if e.Name == "f" {
			owner = int64(e.UID)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if owner != 33 {
		t.Errorf("true owner told: %d, want 33", owner)
	}
	if st := lstat(t, filepath.Join(dir, "f")); int(st.Uid) != os.Geteuid() || st.Mode&0o7777 != 0o640 {
		t.Errorf("file has owner %d mode %o", st.Uid, st.Mode&0o7777)
	}
	kinds := make(map[unpack.SkipKind]int)
	for _, s := range res.Skipped {
		kinds[s.Kind] = s.Count
		if s.String() == "" || s.Name == "" {
			t.Errorf("summary %+v says too little", s)
		}
	}
	if kinds[unpack.SkipOwner] != 3 || kinds[unpack.SkipDevice] != 1 || kinds[unpack.SkipXattr] != 1 {
		t.Errorf("skipped %v, want 3 owners, 1 device, 1 attribute", res.Skipped)
	}
}

// TestSquashSetID: a file whose owner cannot be given does not run as whoever
// it is left to.
func TestSquashSetID(t *testing.T) {
	nobody := testtar.PAX("uid", "4294967295") // whoever unpacks
	own := testtar.Owner(os.Geteuid(), os.Getegid())
	archive := testtar.Tar(
		tFile("su", "", nobody, testtar.Mode(0o6755)), tFile("own", "", own, testtar.Mode(0o6755)),
		tDir("mail", nobody, testtar.Mode(0o3775)), testtar.Link("su2", "su"),
	)
	eachWay(t, func(t *testing.T, o unpack.Options) {
		o.Owners = unpack.Squash
		dir, _, err := apply(t, archive, o)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]uint32{"su": 0o755, "su2": 0o755, "own": 0o6755, "mail": 0o3775} {
			if st := lstat(t, filepath.Join(dir, name)); st.Mode&0o7777 != want {
				t.Errorf("mode of %s: %04o, want %04o", name, st.Mode&0o7777, want)
			}
		}
	})
}
