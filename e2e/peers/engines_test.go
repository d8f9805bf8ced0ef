package peers_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testneed"
)

// podmanVersion is the one that the table in docs/bundle.md is about.
const podmanVersion = "4.3."

// engineDifference is a row of docs/bundle.md: facts that the containers of
// both engines have with other values, or that one of them lacks.
type engineDifference struct {
	row            string
	fact           string   // a regular expression, as the two others
	podman, byhand string   // empty: without the fact
	only, except   []string // images; neither: in every one that both start
	maybe          bool     // only on machines that have such a thing
}

// relativeWorkdir is the image that podman does not start.
const relativeWorkdir = "relative workdir"

// engineDifferences are all there are. The first that fits counts.
func engineDifferences() []engineDifference {
	const theDev, file = "tmpfs mode=755,%snosuid,rw,size=65536k,", "(ext4|xfs|btrfs|tmpfs|overlay) .*"
	others := []string{"user by name", "user by number", "user and group", "numbers without file", "unknown number", "volumes"}
	return []engineDifference{
		{row: "`HOSTNAME`", fact: `env\.HOSTNAME`, podman: `\[[0-9a-f]{12}\]`},
		{row: "`TERM`", fact: `env\.TERM`, podman: `\[xterm\]`, except: []string{"odd environment"}},
		{row: "`container`", fact: `env\.container`, podman: `\[podman\]`},
		{row: "host name", fact: `hostname`, podman: `[0-9a-f]{12}`, byhand: `run-[0-9]+`},
		{row: "capabilities", fact: `status\.CapBnd`, podman: `00000000800405fb`, byhand: `00000000a80425fb`},
		{row: "capabilities", fact: `status\.Cap(Eff|Prm)`, podman: `00000000800405fb`, byhand: `00000000a80425fb`, except: others},
		{row: "ports below 1024", fact: `sysctl\.net/ipv4/ip_unprivileged_port_start`, podman: `1024`, byhand: `0`},
		{row: "ping", fact: `sysctl\.net/ipv4/ping_group_range`, podman: `0 0`, byhand: `0 2147483647`},
		{
			row: "programs in /dev", fact: `mount\./(dev|proc/[a-z_]+)`,
			podman: fmt.Sprintf(theDev, "noexec,"), byhand: fmt.Sprintf(theDev, ""),
		},
		{row: "size of /dev/shm", fact: `mount\./dev/shm`, podman: `.*size=64000k,`, byhand: `.*size=65536k,`},
		{row: "/etc/hosts, /etc/hostname", fact: `mount\./etc/host(s|name)`, podman: file},
		{row: "/etc/hosts, /etc/hostname", fact: `file\./etc/host(s|name)`, podman: `there`, byhand: `none`},
		{row: "/run/.containerenv", fact: `mount\./run/\.containerenv`, podman: file},
		{row: "/run/.containerenv", fact: `file\./run/\.containerenv`, podman: `there`, byhand: `none`},
		{row: "/proc/interrupts", fact: `mount\./proc/interrupts`, byhand: fmt.Sprintf(theDev, "")},
		{row: "/proc/interrupts", fact: `shows\./proc/interrupts`, podman: `something`, byhand: `nothing`},
		{row: "/sys/dev/block", fact: `mount\./sys/dev/block`, podman: `tmpfs relatime,ro,`},
		{row: "/sys/dev/block", fact: `shows\./sys/dev/block`, podman: `nothing`, byhand: `something`},
		{row: "power and heat of the processor", fact: `mount\..*/(powercap|thermal_throttle)`, byhand: `tmpfs .*`, maybe: true},
		{row: "power and heat of the processor", fact: `shows\..*/powercap`, podman: `something`, byhand: `nothing`, maybe: true},
		{row: "/proc/asound", fact: `mount\./proc/asound`, podman: `proc .*`, byhand: `tmpfs .*`, maybe: true},
		{row: "/proc/asound", fact: `shows\./proc/asound`, podman: `something`, byhand: `nothing`, maybe: true},
		{
			row: "volume that the image has no directory for", fact: `volume\./other/\.`,
			podman: `directory 755 1000:1001 `, byhand: `directory 755 0:0 `, only: []string{"volumes"},
		},
		{row: "volume that the image has no directory for", fact: `write\./other`, podman: `yes`, byhand: `no`, only: []string{"volumes"}},
		{row: "relative working directory", fact: `fails`, podman: `.*Cwd must be an absolute path`, only: []string{relativeWorkdir}},
	}
}

// images are those in which the difference has to be seen.
func (d engineDifference) images() []string {
	if d.only != nil || d.maybe {
		return d.only
	}
	return slices.DeleteFunc(slices.Collect(maps.Keys(engineImages())), func(name string) bool {
		return name == relativeWorkdir || slices.Contains(d.except, name)
	})
}

// TestEngines starts the same images with byhand and podman, both with runc,
// and compares what the containers see of themselves.
func TestEngines(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "podman", "runc", "busybox", "go", "prlimit")
	version(t, podmanVersion, "podman", "--version")
	all := engineDifferences()
	seen := map[string]bool{}
	e := newEngines(t)
	for _, name := range slices.Sorted(maps.Keys(engineImages())) {
		t.Run(name, func(t *testing.T) {
			image := filepath.Join(e.dir, "image-"+strings.ReplaceAll(name, " ", "-"))
			i := engineImages()[name]
			writeImageConfig(t, image, i.tars(t), i.process)
			podman, byhand := e.podman(t, image), e.byhand(t, image)
			if len(byhand) < 60 {
				t.Fatalf("%d facts only: %v", len(byhand), byhand)
			}
			if podman["fails"]+byhand["fails"] != "" {
				only := func(fact string, _ string) bool { return fact != "fails" }
				maps.DeleteFunc(podman, only)
				maps.DeleteFunc(byhand, only)
			}
			facts := maps.Clone(podman)
			maps.Copy(facts, byhand)
			for _, fact := range slices.Sorted(maps.Keys(facts)) {
				p, b := podman[fact], byhand[fact]
				if p == b {
					continue
				}
				at := slices.IndexFunc(all, func(d engineDifference) bool { return d.is(name, fact, p, b) })
				if at < 0 {
					t.Errorf("%s: podman %q, byhand %q: not in the table", fact, p, b)
					continue
				}
				seen[all[at].row+" "+all[at].fact+" "+name] = true
			}
		})
	}
	for _, d := range all {
		for _, name := range d.images() {
			if !seen[d.row+" "+d.fact+" "+name] {
				t.Errorf("%s: %s is in the table, but in the image %q there is no such difference", d.row, d.fact, name)
			}
		}
	}
}

func (d engineDifference) is(image, fact, podman, byhand string) bool {
	match := func(pattern, s string) bool { return regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(s) }
	return match(d.fact, fact) && match(d.podman, podman) && match(d.byhand, byhand) &&
		(d.only == nil || slices.Contains(d.only, image)) && !slices.Contains(d.except, image)
}

// TestEngineTable: docs/bundle.md has a row for each difference, and no others.
func TestEngineTable(t *testing.T) {
	rows := table(t, "../../docs/bundle.md", "difference")
	if head := rows["difference"]; len(head) != 4 || head[1] != "podman "+podmanVersion[:3] {
		t.Fatalf("columns %q", head)
	}
	delete(rows, "difference")
	delete(rows, "---")
	for _, d := range engineDifferences() {
		row, ok := rows[d.row]
		if !ok || len(row) != 4 || slices.Contains(row, "") {
			t.Errorf("%s: no row, or cells are missing: %q", d.row, row)
		}
	}
	for name := range rows {
		if !slices.ContainsFunc(engineDifferences(), func(d engineDifference) bool { return d.row == name }) {
			t.Errorf("%s: a row without a difference", name)
		}
	}
}

// engines have what both need: a place of their own.
type engines struct{ dir, program string }

func newEngines(t *testing.T) engines {
	t.Helper()
	dir, err := os.MkdirTemp("", "byhand-engines-") // podman takes no capitals in the name of an image
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	e := engines{dir: dir}
	e.program = filepath.Join(e.dir, "byhand")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", e.program, "github.com/byhand/byhand/cmd/byhand")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build byhand: %v: %s", err, out)
	}
	before := podmanGroups(t)
	t.Cleanup(func() {
		for _, dir := range podmanGroups(t) {
			if !slices.Contains(before, dir) {
				_ = unix.Rmdir(dir) // only an empty group goes
			}
		}
	})
	return e
}

// podmanGroups are the control groups that podman leaves, deepest first.
func podmanGroups(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, "/libpod_parent") {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(found)
	return found
}

// podman runs the image in the layout. The limits are what it can give here:
// by itself it asks for more than a machine may have.
func (e engines) podman(t *testing.T, image string) map[string]string {
	t.Helper()
	podman := func(args ...string) string {
		return e.run(t, "podman", append([]string{
			"--root", filepath.Join(e.dir, "podman"), "--runroot", filepath.Join(e.dir, "podman-run"),
			"--tmpdir", filepath.Join(e.dir, "podman-tmp"), "--storage-driver", "vfs",
			"--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", "runc",
		}, args...)...)
	}
	id := strings.TrimSpace(podman("pull", "--quiet", "oci:"+image+":"+tag))
	return engineFacts(podman("run", "--rm", "--network", "none", "--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000", id))
}

func (e engines) byhand(t *testing.T, image string) map[string]string {
	t.Helper()
	return engineFacts(e.run(t, "prlimit", "--nofile=1000:1000", "--nproc=1000:1000",
		e.program, "--store", filepath.Join(e.dir, "store"), "--quiet", "run", "--runtime", "runc", "oci:"+image+":"+tag))
}

// run gives what a program prints. One that fails is a fact too.
func (e engines) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+e.dir)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "fails=" + strings.TrimSpace(stderr.String()) + "\n"
	}
	return stdout.String()
}

func engineFacts(out string) map[string]string {
	facts := map[string]string{}
	for line := range strings.Lines(out) {
		if k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			facts[k] = v
		}
	}
	return facts
}
