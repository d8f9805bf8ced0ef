package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/byhand/byhand/internal/testimages"
	"github.com/byhand/byhand/internal/testuser"
)

// TestVerifyAsUsers has root, a user with subordinate ids and one without pull
// and unpack a Debian, and verify it: silent, until a file is changed. What
// the unpacked layers are exported as is the same for all of them.
func TestVerifyAsUsers(t *testing.T) {
	image := testimages.Get(t, testimages.Debian())
	shared := t.TempDir() // the cache is not for other users to read
	if out, err := exec.CommandContext(t.Context(), "cp", "-r", image, filepath.Join(shared, "image")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ref := registry(t, nil, "lab/debian:v1=oci:"+filepath.Join(shared, "image")) + "/lab/debian:v1"
	with, without := testuser.WithSubids(t), testuser.WithoutSubids(t)
	program := filepath.Join(filepath.Dir(testuser.Program(t)), "byhand")
	if err := os.Rename(filepath.Join(filepath.Dir(program), "program"), program); err != nil {
		t.Fatal(err)
	}
	var digests []string
	for _, tt := range []struct {
		name       string
		credential *syscall.Credential
		env        []string
		home       string
		notes      int
	}{
		{"root", nil, without.Env(), t.TempDir(), 0},
		{"with subids", with.Credential(), with.Env(), with.Home, 0},
		{"without subids", without.Credential(), without.Env(), without.Home, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run := func(code int, args ...string) string {
				t.Helper()
				var out, log bytes.Buffer
				cmd := exec.CommandContext(t.Context(), program, append([]string{"--store", filepath.Join(tt.home, "store")}, args...)...)
				cmd.Env = append(tt.env, "HOME="+tt.home)
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: tt.credential}
				cmd.Dir, cmd.Stdout, cmd.Stderr = tt.home, &out, &log
				if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
					t.Fatalf("%q: %v, want exit code %d: %s", args, err, code, log.Bytes())
				}
				return out.String()
			}
			report := func(code int) (r verifyReport) {
				t.Helper()
				if err := json.Unmarshal([]byte(run(code, "--json", "verify", ref)), &r); err != nil {
					t.Fatal(err)
				}
				return r
			}
			run(0, "unpack", ref)
			if r := report(0); !r.OK || len(r.Differences) > 0 || len(r.Notes) != tt.notes {
				t.Errorf("untouched: %+v", r.Report)
			}
			digests = append(digests, run(0, "--limit", "attempts=1", "export", ref, "-o", "out.tar"))
			names, err := filepath.Glob(filepath.Join(tt.home, "store/layers/*/diff/etc/debian_version"))
			if err != nil || len(names) == 0 {
				t.Fatalf("no file to change: %v", err)
			}
			if err := os.WriteFile(names[0], []byte("another\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			r := report(3)
			if len(r.Differences) == 0 || r.Differences[0].Name != "/etc/debian_version" {
				t.Errorf("a changed file: %+v", r.Report)
			}
			run(0, "verify", "--repair", ref)
			if r := report(0); !r.OK || len(r.Differences) > 0 {
				t.Errorf("repaired: %+v", r.Report)
			}
		})
	}
	for _, d := range digests {
		if d != digests[0] || !strings.HasPrefix(d, "sha256:") {
			t.Errorf("exports have the digests %q", digests)
			break
		}
	}
}
