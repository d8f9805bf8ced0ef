package bundle_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/byhand/byhand/bundle"
)

// testHost is a machine that is the same everywhere.
func testHost() *bundle.Host {
	known := []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
		"CAP_SETUID", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_MODULE",
		"CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_AUDIT_WRITE", "CAP_SETFCAP", "CAP_BPF",
	}
	return &bundle.Host{
		Arch: "amd64", UID: 1000, GID: 1000, Known: known, Bounding: slices.Clone(known),
		CgroupV2: true, Seccomp: true, RecursiveReadOnly: true, NetSysctls: true,
		ThermalThrottle: []string{"/sys/devices/system/cpu/cpu0/thermal_throttle"},
		ResolvConf:      bundle.SourceFile{Path: "/run/resolv.conf", Flags: []string{"nosuid", "nodev"}},
		Hosts:           bundle.SourceFile{Path: "/etc/hosts"},
		Devices:         []specs.LinuxDevice{{Path: "/dev/kmsg", Type: "c", Major: 1, Minor: 11}},
	}
}

const (
	testPasswd = `# users
root:x:0:0:root:/root:/bin/sh

app:x:1000:1001:App:/home/app:/bin/sh
+nis::::::
-nis2:x:0:0:::
bad:x:abc:0::/:
big:x:4294967296:0::/:
minus:x:-1:0::/:
plus:x:+5:0::/:
space:x: 7:0::/:
badgid:x:1003:x:::
nohome:x:1004:1004
12:x:77:77::/twelve:
short:x
`
	testGroup = `root:x:0:
app:x:1001:
wheel:x:10:app,root
staff:x:50:other,app
staff2:x:50:app
broken:x:zero:app
over:x:4294967296:app
+nis:::
`
)

// testRoot is a small root filesystem.
func testRoot() fstest.MapFS {
	return fstest.MapFS{
		"etc/passwd":   {Data: []byte(testPasswd)},
		"etc/group":    {Data: []byte(testGroup)},
		"proc":         {Mode: fs.ModeDir | 0o555},
		"sys":          {Mode: fs.ModeDir | 0o555},
		"dev":          {Mode: fs.ModeDir | 0o755},
		"data":         {Mode: fs.ModeDir | 0o755},
		"var/lib/app":  {Mode: fs.ModeDir | 0o755},
		"app/bin/tool": {Mode: 0o755},
	}
}

// spec computes a spec for testHost that must be.
func spec(t *testing.T, config string, o bundle.Options) bundle.Result {
	t.Helper()
	if o.Host == nil {
		o.Host = testHost()
	}
	r, err := bundle.Spec([]byte(config), testRoot(), o)
	if err != nil {
		t.Fatalf("Spec: %v", err)
	}
	return r
}

// makeTree writes a tree below dir: a name that ends in / is a directory, and
// a value that begins with -> a link.
func makeTree(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case name[len(name)-1] == '/':
			err = os.MkdirAll(path, 0o755)
		case len(content) > 2 && content[:2] == "->":
			err = os.Symlink(content[2:], path)
		default:
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
