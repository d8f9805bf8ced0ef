package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/byhand/byhand/internal/testuser"
)

// TestExportAsUser has an ordinary user without subordinate ids export an
// image whose files have several owners: the bytes are root's.
func TestExportAsUser(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	buildDemo(t, image)
	ref := registry(t, nil, "lab/demo:v1=oci:"+image) + "/lab/demo:v1"
	user := testuser.WithoutSubids(t)
	program := filepath.Join(filepath.Dir(testuser.Program(t)), "byhand")
	if err := os.Rename(filepath.Join(filepath.Dir(program), "program"), program); err != nil {
		t.Fatal(err)
	}
	export := func(credential *syscall.Credential, home string) []byte {
		var out, log bytes.Buffer
		cmd := exec.CommandContext(t.Context(), program, "--store", filepath.Join(home, "store"), "export", ref, "-o", "-")
		cmd.Env = append(user.Env(), "HOME="+home)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential}
		cmd.Dir, cmd.Stdout, cmd.Stderr = home, &out, &log
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v: %s", err, log.Bytes())
		}
		if bytes.Contains(log.Bytes(), []byte("warning")) {
			t.Errorf("%s", log.Bytes())
		}
		return out.Bytes()
	}
	roots := export(nil, dir)
	if len(roots) < 10_000 {
		t.Fatalf("root exported %d bytes", len(roots))
	}
	if !bytes.Equal(roots, export(user.Credential(), user.Home)) {
		t.Error("the user's tar is another one than root's")
	}
}
