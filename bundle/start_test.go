package bundle_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/testneed"
)

// factScript prints what a process can see of itself.
const factScript = `
echo "uid=$(id -u)"; echo "gid=$(id -g)"; echo "groups=$(id -G)"
echo "pwd=$(pwd)"; echo "home=$HOME"; echo "path=$PATH"; echo "a=$A"; echo "hostname=$(hostname)"
echo "domain=$(cat /proc/sys/kernel/domainname)"
for k in CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp; do
	set -- $(grep "^$k:" /proc/self/status); echo "$k=$2"
done
flags() { # PATH: the options of the last mount there
	while read -r _ dst _ opts _; do [ "$dst" = "$1" ] && o=$opts; done </proc/mounts; echo "$o"
}
try() { if "$@" >/dev/null 2>&1; then echo yes; else echo no; fi; }
echo "kcore=$(head -c 8 /proc/kcore 2>/dev/null)"; echo "firmware=$(ls /sys/firmware)"
sysctl() { echo $(cat /proc/sys/kernel/panic) >/proc/sys/kernel/panic; }
echo "sysctl=$(try sysctl)"; echo "root=$(try touch /new)"; echo "tmp=$(try touch /dev/shm/x)"
cgroups() { # with cgroup v1, runtimes leave the directory of the hierarchies writable, a tmpfs
	if [ -e /sys/fs/cgroup/cgroup.procs ]; then set -- /sys/fs/cgroup; else set -- /sys/fs/cgroup/*; fi
	for d in /sys "$@"; do mkdir "$d/x" 2>/dev/null && return 0; done; return 1
}
echo "sys=$(try cgroups)"; echo "mknod=$(try mknod /tmp/n c 1 3)"
echo "interfaces=$(ls /sys/class/net)"; echo "null=$(try touch /dev/null)"
echo "hosts=$(head -n 1 /etc/hosts 2>/dev/null)"; echo "addhost=$(try touch /etc/hosts)"
echo "pts=$(try ls /dev/ptmx)"; echo "mqueue=$(try ls /dev/mqueue)"
echo "volume=$(cat /data/file 2>/dev/null)"; echo "volumewrite=$(try touch /data/w)"
echo "volumeflags=$(flags /data)"; echo "procflags=$(flags /proc)"
echo "userns=$(try unshare --user true)" # needs no capability: only the filter forbids it
echo "zero=$(head -c 3 /dev/zero | wc -c)"; echo "random=$(head -c 3 /dev/urandom | wc -c)"
writes() { echo x >"$1"; }
opens() { true <>"$1"; }
echo "devnull=$(try writes /dev/null)"; echo "full=$(try writes /dev/full)"; echo "ptmx=$(try opens /dev/ptmx)"
echo "tty=$(stat -c %a /dev/tty)"; echo "fd=$(echo through | cat /dev/fd/0)"
echo "shmflags=$(flags /dev/shm)"; echo "mqueueflags=$(flags /dev/mqueue)"; echo "sysflags=$(flags /sys)"
empties() { true >"$1"; }
echo "sysrq=$(try empties /proc/sysrq-trigger)"; echo "irq=$(try mkdir /proc/irq/x)"
echo "keys=$(head -c 1 /proc/keys 2>/dev/null)"; echo "timers=$(head -c 1 /proc/timer_list 2>/dev/null)"; echo "acpi=$(ls /proc/acpi 2>/dev/null)"
echo "port=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)"; echo "umask=$(umask)"
echo "loopback=$(try ping -c 1 -w 60 127.0.0.1)"
echo "one=$(cat /etc/one 2>/dev/null)"; echo "src=$(cat /src/f 2>/dev/null)"; echo "srcwrite=$(try touch /src/w)"
`

func (s shape) options() bundle.Options {
	o := bundle.Options{Host: bundle.DetectHost()}
	if s.user {
		o.Host.UID, o.Host.GID = testUID, testUID
	}
	maps := []specs.LinuxIDMapping{{ContainerID: 0, HostID: testUID, Size: 1}}
	if s.share != "" {
		maps = append(maps, specs.LinuxIDMapping{ContainerID: 1, HostID: 200000, Size: 65536})
	}
	switch {
	case s.wrap != nil:
		o.InUserNamespace = true
	case s.user:
		o.Rootless = true
	default:
		return o
	}
	o.UIDMappings, o.GIDMappings = maps, maps
	return o
}

// capBits is the mask of /proc/self/status for capability numbers.
func capBits(nums ...int) string {
	var mask uint64
	for _, n := range nums {
		mask |= 1 << n
	}
	return fmt.Sprintf("%016x", mask)
}

// The default list and NET_ADMIN, numbered as in linux/capability.h.
func defaultCapNumbers() []int { return []int{0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31} }

const capNetAdmin = 12

type startCase struct {
	name    string
	process map[string]any
	change  func(*bundle.Options, container)
	user    bool // needs another ID than 0
	want    map[string]string

	rootOnly bool
}

func startCases() []startCase {
	defaults := capBits(defaultCapNumbers()...)
	return []startCase{
		{
			name:    "as the image is",
			process: map[string]any{"Env": []string{"A=b c"}, "WorkingDir": "made/up"},
			want: map[string]string{
				"uid": "0", "gid": "0", "pwd": "/made/up", "home": "/root", "a": "b c", "hostname": "byhand",
				"path":   "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
				"CapInh": capBits(), "CapAmb": capBits(), "CapPrm": defaults, "CapEff": defaults, "CapBnd": defaults,
				"NoNewPrivs": "0", "Seccomp": "2", "kcore": "", "firmware": "", "sysctl": "no", "root": "yes",
				"tmp": "yes", "sys": "no", "interfaces": "lo", "null": "yes", "pts": "yes", "mqueue": "yes",
				"userns": "no", "zero": "3", "random": "3", "devnull": "yes", "full": "no", "ptmx": "yes", "tty": "666",
				"fd": "through", "sysrq": "no", "irq": "no", "keys": "", "timers": "", "acpi": "", "port": "0", "umask": "0022",
				"mqueueflags": "rw,nosuid,nodev,noexec,relatime", "procflags": "rw,nosuid,nodev,noexec,relatime",
				"sysflags": "ro,nosuid,nodev,noexec,relatime", "loopback": "yes",
			},
		},
		{
			name:    "another user",
			process: map[string]any{"User": "app"},
			change:  func(o *bundle.Options, _ container) { o.CapAdd = []string{"NET_ADMIN"} },
			user:    true,
			want: map[string]string{
				"uid": "1000", "gid": "1001", "home": "/home/app", "root": "no",
				"CapBnd": capBits(append(defaultCapNumbers(), capNetAdmin)...),
				"CapEff": capBits(capNetAdmin), "CapAmb": capBits(capNetAdmin),
			},
		},
		{
			name:    "unknown number",
			process: map[string]any{"User": "4321:987"},
			user:    true,
			want:    map[string]string{"uid": "4321", "gid": "987", "home": "/", "CapEff": capBits(), "CapBnd": defaults},
		},
		{
			name: "locked down",
			change: func(o *bundle.Options, _ container) {
				o.ReadOnly, o.NoNewPrivileges, o.CapDrop = true, true, []string{"all"}
				o.Hostname, o.Domainname = "host.name", "domain.name"
			},
			want: map[string]string{
				"root": "no", "tmp": "yes", "NoNewPrivs": "1", "CapBnd": capBits(), "CapEff": capBits(),
				"hostname": "host.name", "domain": "domain.name", "Seccomp": "2",
			},
		},
		{
			name:   "privileged",
			change: func(o *bundle.Options, _ container) { o.Privileged = true },
			want:   map[string]string{"Seccomp": "0", "uid": "0", "userns": "yes"},
		},
		{
			name: "everything dropped, one added",
			change: func(o *bundle.Options, _ container) {
				o.CapDrop, o.CapAdd = []string{"ALL"}, []string{"cap_chown"}
			},
			want: map[string]string{"CapBnd": capBits(0), "CapEff": capBits(0), "CapAmb": capBits(), "userns": "no", "NoNewPrivs": "0"},
		},
		{
			name: "everything but one",
			change: func(o *bundle.Options, _ container) {
				o.CapAdd, o.CapDrop = []string{"ALL"}, []string{"MKNOD"}
			},
			want: map[string]string{"mknod": "no", "userns": "yes", "Seccomp": "2"},
		},
		{
			name:   "host network",
			change: func(o *bundle.Options, _ container) { o.Network = bundle.NetworkHost },
			want:   map[string]string{"sys": "no", "sysctl": "no", "firmware": "", "hostname": "byhand"},
		},
		{
			name:    "volume of another user",
			process: map[string]any{"User": "1:1", "Volumes": map[string]any{"/data": map[string]any{}}},
			change: func(_ *bundle.Options, c container) {
				if err := os.Chown(filepath.Join(c.rootfs, "data"), 1, 1); err != nil {
					panic(err)
				}
			},
			rootOnly: true, // elsewhere the file system of the test would have to be made in the namespace
			want:     map[string]string{"uid": "1", "volume": "content of the image", "volumewrite": "yes"},
		},
		{
			name:    "volumes",
			process: map[string]any{"Volumes": map[string]any{"/data": map[string]any{}, "/other/new": map[string]any{}}},
			change: func(o *bundle.Options, c container) {
				src := filepath.Join(c.dir, "src")
				o.Volumes = []string{src + ":/src:ro", src + ":/rw:rw", src + "/f:/etc/one:ro"}
			},
			want: map[string]string{
				"one":    "of the host",
				"volume": "content of the image", "volumewrite": "yes", "src": "of the host", "srcwrite": "no",
			},
		},
	}
}

func TestStart(t *testing.T) {
	testneed.Root(t)
	for name, runtime := range runtimes(t) {
		for _, s := range shapes() {
			for _, tc := range startCases() {
				if tc.rootOnly && s.user || tc.user && s.user && s.share == "" {
					continue // TestUnmapped
				}
				t.Run(name+"/"+s.name+"/"+tc.name, func(t *testing.T) {
					runStart(t, runtime, s, tc)
				})
			}
		}
	}
}

func runStart(t *testing.T, runtime string, s shape, tc startCase) {
	t.Helper()
	c := newContainer(t)
	makeTree(t, c.dir, map[string]string{"src/f": "of the host"})
	o := s.options()
	if tc.change != nil {
		tc.change(&o, c)
	}
	process := map[string]any{"Cmd": []string{"/bin/sh", "-c", factScript}}
	maps.Copy(process, tc.process)
	r := c.write(t, imageConfig(t, process), o)
	out, errOut, err := c.start(t, runtime, s)
	if err != nil {
		t.Fatalf("start: %v\n%s\n%s", err, out, errOut)
	}
	if errOut != "" {
		t.Errorf("standard error: %s", errOut)
	}
	got, want := facts(t, out), map[string]string{}
	maps.Copy(want, tc.want)
	if s.name == "root" || s.name == "in-userns-subids" {
		want["groups"] = strings.Trim(fmt.Sprint(r.Spec.Process.User.AdditionalGids), "[]")
	}
	if data, err := os.ReadFile("/etc/hosts"); err == nil && o.Network == bundle.NetworkHost {
		want["hosts"], _, _ = strings.Cut(string(data), "\n")
		want["addhost"] = "no"
	}
	if runtime == "runc" && r.Spec.Linux.Sysctl["kernel.domainname"] == "" {
		delete(want, "domain") // Debian 12's ignores the field
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: expected %q, found %q", k, v, got[k])
		}
	}
	if t.Failed() {
		t.Logf("%s\nwarnings: %q", out, r.Warnings)
	}
}

// TestUnmapped shows that a user of the image that the namespace lacks is
// refused before a runtime has to.
func TestUnmapped(t *testing.T) {
	for _, o := range []bundle.Options{{Rootless: true}, {InUserNamespace: true, UIDMappings: []specs.LinuxIDMapping{{HostID: 5, Size: 1}}}} {
		o.Host = testHost()
		_, err := bundle.Spec([]byte(`{"config":{"User":"app","Cmd":["a"]}}`), testRoot(), o)
		want := &bundle.UnmappedError{Kind: "user", ID: 1000, Have: "only 0"}
		if diff := cmp.Diff(want, err); diff != "" {
			t.Errorf("Spec (-want +got):\n%s", diff)
		}
	}
}

// TestUnmappedRemedy: the remedy names the file that is about the ID.
func TestUnmappedRemedy(t *testing.T) {
	for kind, file := range map[string]string{"user": "/etc/subuid", "group": "/etc/subgid"} {
		err := &bundle.UnmappedError{Kind: kind, ID: 7, Have: "only 0"}
		if text := err.Error(); !strings.Contains(text, kind+" ID 7") || !strings.Contains(text, " "+file+",") {
			t.Errorf("%s: %s", kind, text)
		}
	}
	err := &bundle.UnmappedError{Kind: "user", Remedy: "do this"}
	if text := err.Error(); !strings.HasSuffix(text, "; do this") {
		t.Errorf("with a remedy of the caller's: %s", text)
	}
}

// TestTerminal runs a container on a pseudo-terminal.
func TestTerminal(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "script")
	for name, runtime := range runtimes(t) {
		t.Run(name, func(t *testing.T) {
			c := newContainer(t)
			c.write(t, imageConfig(t, map[string]any{"Cmd": []string{"/bin/sh", "-c", `echo "term=$TERM tty=$(tty) $(stty size)"`}}),
				bundle.Options{Terminal: true, ConsoleSize: &specs.Box{Width: 91, Height: 17}})
			wrapper := filepath.Join(c.dir, "on-terminal")
			text := "#!/bin/sh\nexec script -qec 'stty rows 17 cols 91; exec " + runtime + " '\"$*\" /dev/null\n"
			if err := os.WriteFile(wrapper, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
			out, errOut, err := c.start(t, wrapper, shapes()[0])
			if err != nil || !strings.Contains(out, "term=xterm tty=/dev/pts/0 17 91") {
				t.Errorf("on a terminal: %v\n%q\n%q", err, out, errOut)
			}
		})
	}
}

// TestRecursiveReadOnly: a volume that is read-only is so with what is mounted
// below its source.
func TestRecursiveReadOnly(t *testing.T) {
	testneed.Root(t)
	if !bundle.DetectHost().RecursiveReadOnly {
		testneed.Missing(t, "the kernel has no mount_setattr(2), Linux 5.12")
	}
	for name, runtime := range runtimes(t) {
		for _, s := range shapes() {
			t.Run(name+"/"+s.name, func(t *testing.T) {
				c := newContainer(t)
				makeTree(t, c.dir, map[string]string{"src/below/": ""})
				below := filepath.Join(c.dir, "src/below")
				must(t, unix.Mount("tmpfs", below, "tmpfs", 0, "mode=777"))
				t.Cleanup(func() { _ = unix.Unmount(below, unix.MNT_DETACH) })
				o := s.options()
				o.Volumes = []string{filepath.Dir(below) + ":/ro:ro", filepath.Dir(below) + ":/rw"}
				script := `for v in ro rw; do if touch /$v/below/x; then echo $v=yes; else echo $v=no; fi; done 2>/dev/null`
				c.write(t, imageConfig(t, map[string]any{"Cmd": []string{"/bin/sh", "-c", script}}), o)
				out, errOut, err := c.start(t, runtime, s)
				if out != "ro=no\nrw=yes\n" {
					t.Errorf("%v: %q %q", err, out, errOut)
				}
			})
		}
	}
}

// TestDevices: a container can make a device node, and open none but those
// that every container has.
func TestDevices(t *testing.T) {
	testneed.Root(t)
	devices := bundle.DetectHost().Devices
	at := slices.IndexFunc(devices, func(d specs.LinuxDevice) bool { // one that may be opened without a capability
		return d.Path == "/dev/fuse" || d.Path == "/dev/loop-control" || d.Type == "b"
	})
	if at < 0 {
		testneed.Missing(t, "no /dev/fuse, /dev/loop-control or disk")
	}
	d := devices[at]
	script := fmt.Sprintf(`mknod /tmp/d %s %d %d; if true </tmp/d; then echo yes; else echo no; fi 2>/dev/null`, d.Type, d.Major, d.Minor)
	for name, runtime := range runtimes(t) {
		for privileged, want := range map[bool]string{false: "no\n", true: "yes\n"} {
			c := newContainer(t)
			c.write(t, imageConfig(t, map[string]any{"Cmd": []string{"/bin/sh", "-c", script}}), bundle.Options{Privileged: privileged})
			if out, errOut, err := c.start(t, runtime, shapes()[0]); out != want {
				t.Errorf("%s, privileged %v: %v: %q %q", name, privileged, err, out, errOut)
			}
		}
	}
}
