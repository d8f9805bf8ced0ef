package imagetree_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testtar"
)

// TestExportShut has directories that nobody but root could put something
// into, as Fedora's root and many of Bazel's are: an ordinary user unpacks the
// tar all the same, and they are then what the image says.
func TestExportShut(t *testing.T) {
	testneed.Tool(t, "tar")
	testneed.Root(t)
	at := func(s int64) testtar.Option { return testtar.ModTime(time.Unix(s, 0)) }
	raw := export(t, build(t, entries{
		testtar.Dir("./", testtar.Mode(0o555), at(10)),
		testtar.Dir("ro", testtar.Mode(0o555), at(11)), testtar.File("ro/x", "1"),
		testtar.Dir("ro/none", testtar.Mode(0), at(12)), testtar.Dir("ro/none/only", testtar.Mode(0o500), at(13)), testtar.File("ro/none/only/y", "2"),
		testtar.Dir("ro/open", at(14)), testtar.File("ro/open/z", "3"),
		testtar.Dir("empty", testtar.Mode(0), at(15)),
	}))
	// World-readable parents, which t.TempDir does not promise.
	dir, err := os.MkdirTemp("", "byhand-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	const nobody = 65534
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "tar", "-xpf", "-")
	cmd.Dir, cmd.Stdin = dir, bytes.NewReader(raw)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, want := range map[string]string{
		".": "0555 10", "ro": "0555 11", "ro/none": "0000 12", "ro/none/only": "0500 13", "ro/open": "0755 14", "empty": "0000 15",
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := fmt.Sprintf("%04o %d", info.Mode()&fs.ModePerm, info.ModTime().Unix()); got != want {
			t.Errorf("%s: %s, expected %s", name, got, want)
		}
	}
	for _, name := range []string{"ro/x", "ro/none/only/y", "ro/open/z"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}
