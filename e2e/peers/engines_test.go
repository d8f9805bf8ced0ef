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

// engineDifference is in a row of docs/bundle.md: facts that byhand's
// containers and those of another engine have with other values, or that one
// of them lacks.
type engineDifference struct {
	row          string
	fact         string   // a regular expression, as the two others
	peer, byhand string   // empty: without the fact
	only, except []string // images; neither: in every one that both start
	maybe        bool     // only on machines that have such a thing
}

// What several differences have.
const (
	theDev     = "tmpfs mode=755,%snosuid,rw,size=65536k,"
	file       = "(ext4|xfs|btrfs|tmpfs|overlay) .*"
	emptyOrNot = "regular (empty )?file [67][0-9][0-9] 0:0"
)

// relativeWorkdir is the image that byhand alone starts.
const relativeWorkdir = "relative workdir"

// podmanDifferences are all there are. The first that fits counts.
func podmanDifferences() []engineDifference {
	others := []string{"user by name", "user by number", "user and group", "numbers without file", "unknown number", "volumes"}
	return []engineDifference{
		{row: "`HOSTNAME`", fact: `env\.HOSTNAME`, peer: `\[[0-9a-f]{12}\]`},
		{row: "`TERM`", fact: `env\.TERM`, peer: `\[xterm\]`, except: []string{"odd environment"}},
		{row: "`container`", fact: `env\.container`, peer: `\[podman\]`},
		{row: "host name", fact: `hostname`, peer: `[0-9a-f]{12}`, byhand: `run-[0-9]+`},
		{row: "capabilities", fact: `status\.CapBnd`, peer: `00000000800405fb`, byhand: `00000000a80425fb`},
		{row: "capabilities", fact: `status\.Cap(Eff|Prm)`, peer: `00000000800405fb`, byhand: `00000000a80425fb`, except: others},
		{row: "ports below 1024", fact: `sysctl\.net/ipv4/ip_unprivileged_port_start`, peer: `1024`, byhand: `0`},
		{row: "ping", fact: `sysctl\.net/ipv4/ping_group_range`, peer: `0 0`, byhand: `0 2147483647`},
		{
			row: "programs in /dev", fact: `mount\./(dev|proc/[a-z_]+)`,
			peer: fmt.Sprintf(theDev, "noexec,"), byhand: fmt.Sprintf(theDev, ""),
		},
		{row: "size of /dev/shm", fact: `mount\./dev/shm`, peer: `.*size=64000k,`, byhand: `.*size=65536k,`},
		{row: "/etc/hosts, /etc/hostname", fact: `mount\./etc/host(s|name)`, peer: file},
		{row: "/etc/hosts, /etc/hostname", fact: `tree\./etc/host(s|name)`, peer: emptyOrNot},
		{row: "/run/.containerenv", fact: `mount\./run/\.containerenv`, peer: file},
		{row: "/run/.containerenv", fact: `tree\./run/\.containerenv`, peer: emptyOrNot},
		{row: "/etc/mtab", fact: `tree\./etc/mtab`, peer: `symbolic link 777 0:0`},
		{
			row: "numbers that the image's files do not know", fact: `tree\./etc/(passwd|group)`,
			peer: `regular file [67][0-9][0-9] 0:0`, only: []string{"numbers without file"},
		},
		{row: "numbers that the image's files do not know", fact: `text\./etc/passwd`, peer: `.* 4321:.*`, byhand: `.*`, only: []string{"unknown number"}},
		{
			row: "numbers that the image's files do not know", fact: `text\./etc/group`,
			peer: `.* (4321|1000):.*`, byhand: `.*`, only: []string{"unknown number", "user by number"},
		},
		{row: "/proc/interrupts", fact: `mount\./proc/interrupts`, byhand: fmt.Sprintf(theDev, "")},
		{row: "/proc/interrupts", fact: `shows\./proc/interrupts`, peer: `something`, byhand: `nothing`},
		{row: "/sys/dev/block", fact: `mount\./sys/dev/block`, peer: `tmpfs relatime,ro,`},
		{row: "/sys/dev/block", fact: `shows\./sys/dev/block`, peer: `nothing`, byhand: `something`},
		{row: "power and heat of the processor", fact: `mount\..*/(powercap|thermal_throttle)`, byhand: `tmpfs .*`, maybe: true},
		{row: "power and heat of the processor", fact: `shows\..*/powercap`, peer: `something`, byhand: `nothing`, maybe: true},
		{row: "/proc/asound", fact: `mount\./proc/asound`, peer: `proc .*`, byhand: `tmpfs .*`, maybe: true},
		{row: "/proc/asound", fact: `shows\./proc/asound`, peer: `something`, byhand: `nothing`, maybe: true},
		{
			row: "volume that the image has no directory for", fact: `volume\./other/\.`,
			peer: `directory 755 1000:1001 `, byhand: `directory 755 0:0 `, only: []string{"volumes"},
		},
		{
			row: "volume that the image has no directory for", fact: `tree\./other`,
			peer: `directory 755 1000:1001`, byhand: `directory 755 0:0`, only: []string{"volumes"},
		},
		{row: "volume that the image has no directory for", fact: `write\./other`, peer: `yes`, byhand: `no`, only: []string{"volumes"}},
		{row: "relative working directory", fact: `fails`, peer: `.*Cwd must be an absolute path`, only: []string{relativeWorkdir}},
	}
}

// dockerDifferences are all there are. The first that fits counts.
func dockerDifferences() []engineDifference {
	return []engineDifference{
		{row: "`HOSTNAME`", fact: `env\.HOSTNAME`, peer: `\[[0-9a-f]{12}\]`},
		{row: "host name", fact: `hostname`, peer: `[0-9a-f]{12}`, byhand: `run-[0-9]+`},
		{row: "/etc/hosts, /etc/hostname", fact: `mount\./etc/host(s|name)`, peer: file},
		{row: "/etc/hosts, /etc/hostname", fact: `tree\./etc/host(s|name)`, peer: emptyOrNot},
		{row: "/etc/resolv.conf", fact: `mount\./etc/resolv.conf`, peer: file},
		{row: "/etc/resolv.conf", fact: `tree\./etc/resolv.conf`, peer: emptyOrNot},
		{row: "/etc/mtab", fact: `tree\./etc/mtab`, peer: `symbolic link 777 0:0`},
		{row: "/.dockerenv", fact: `tree\./\.dockerenv`, peer: emptyOrNot},
		{row: "/proc/interrupts", fact: `mount\./proc/interrupts`, byhand: fmt.Sprintf(theDev, "")},
		{row: "/proc/interrupts", fact: `shows\./proc/interrupts`, peer: `something`, byhand: `nothing`},
		{row: "power and heat of the processor", fact: `mount\..*/(powercap|thermal_throttle)`, byhand: `tmpfs .*`, maybe: true},
		{row: "power and heat of the processor", fact: `shows\..*/powercap`, peer: `something`, byhand: `nothing`, maybe: true},
		{
			row: "options of the image's volumes", fact: `mount\./(data|other)`, only: []string{"volumes"},
			peer: `[a-z0-9]+ (mode=700,)?relatime,rw,`, byhand: `[a-z0-9]+ nodev,nosuid,relatime,rw,`,
		},
		{row: "relative working directory", fact: `fails`, peer: `.*Cwd must be an absolute path.*`, only: []string{relativeWorkdir}},
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

func (d engineDifference) is(image, fact, peer, byhand string) bool {
	match := func(pattern, s string) bool { return regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(s) }
	return match(d.fact, fact) && match(d.peer, peer) && match(d.byhand, byhand) &&
		(d.only == nil || slices.Contains(d.only, image)) && !slices.Contains(d.except, image)
}

// TestEngines starts the same images with byhand and with podman and Docker's
// engine, all with runc, and compares what the containers see of themselves.
func TestEngines(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "runc", "busybox", "go", "prlimit")
	e := newEngines(t)
	images, byhand := map[string]string{}, map[string]map[string]string{}
	for name, i := range engineImages() {
		images[name] = filepath.Join(e.dir, "image-"+strings.ReplaceAll(name, " ", "-"))
		writeImageConfig(t, images[name], i.tars(t), i.process)
		if byhand[name] = e.byhand(t, images[name]); len(byhand[name]) < 60 {
			t.Fatalf("%s: %d facts only: %v", name, len(byhand[name]), byhand[name])
		}
	}
	compare := func(t *testing.T, c comparison, facts func(t *testing.T, image string) map[string]string) {
		t.Helper()
		for _, name := range slices.Sorted(maps.Keys(images)) {
			t.Run(name, func(t *testing.T) { c.compare(t, name, facts(t, images[name]), byhand[name]) })
		}
		c.unseen(t)
	}
	t.Run("podman", func(t *testing.T) {
		testneed.Tool(t, "podman")
		version(t, podmanVersion, "podman", "--version")
		compare(t, comparison{peer: "podman", all: podmanDifferences(), seen: map[string]bool{}}, e.podman)
	})
	t.Run("docker", func(t *testing.T) {
		d := startDocker(t)
		compare(t, comparison{peer: "docker", all: dockerDifferences(), seen: map[string]bool{}},
			func(t *testing.T, image string) map[string]string { t.Helper(); return e.docker(t, d, image) })
	})
}

// comparison is that of byhand with another engine.
type comparison struct {
	peer string
	all  []engineDifference
	seen map[string]bool
}

// compare looks up each difference of the containers of one image.
func (c comparison) compare(t *testing.T, name string, peer, byhand map[string]string) {
	t.Helper()
	if peer["fails"]+byhand["fails"] != "" {
		only := func(fact string, _ string) bool { return fact != "fails" }
		byhand = maps.Clone(byhand)
		maps.DeleteFunc(peer, only)
		maps.DeleteFunc(byhand, only)
	}
	facts := maps.Clone(peer)
	maps.Copy(facts, byhand)
	for _, fact := range slices.Sorted(maps.Keys(facts)) {
		p, b := peer[fact], byhand[fact]
		if p == b {
			continue
		}
		at := slices.IndexFunc(c.all, func(d engineDifference) bool { return d.is(name, fact, p, b) })
		if at < 0 {
			t.Errorf("%s: %s %q, byhand %q: not in the table", fact, c.peer, p, b)
			continue
		}
		c.seen[c.all[at].row+" "+c.all[at].fact+" "+name] = true
	}
}

// unseen fails for differences that are there no longer.
func (c comparison) unseen(t *testing.T) {
	t.Helper()
	for _, d := range c.all {
		for _, name := range d.images() {
			if !c.seen[d.row+" "+d.fact+" "+name] {
				t.Errorf("%s: %s is in the table, but in the image %q %s does not differ so", d.row, d.fact, name, c.peer)
			}
		}
	}
}

// TestEngineTable: docs/bundle.md has a row for each difference, and no
// others, and says which engine's containers differ.
func TestEngineTable(t *testing.T) {
	rows := table(t, "../../docs/bundle.md", "difference")
	head := []string{"docker " + strings.TrimSuffix(dockerVersion, "."), "podman " + strings.TrimSuffix(podmanVersion, "."), "byhand", "why"}
	if !slices.Equal(rows["difference"], head) {
		t.Fatalf("columns %q, expected %q", rows["difference"], head)
	}
	delete(rows, "difference")
	delete(rows, "---")
	all := [][]engineDifference{dockerDifferences(), podmanDifferences()}
	for _, d := range slices.Concat(all...) {
		if row, ok := rows[d.row]; !ok || len(row) != len(head) || slices.Contains(row, "") {
			t.Errorf("%s: no row, or cells are missing: %q", d.row, row)
			delete(rows, d.row)
		}
	}
	for name, row := range rows {
		none := true
		for i, differences := range all {
			differs := slices.ContainsFunc(differences, func(d engineDifference) bool { return d.row == name })
			if none = none && !differs; differs == (row[i] == row[2]) {
				t.Errorf("%s: %s differs: %t, the table says %q and of byhand %q", name, head[i], differs, row[i], row[2])
			}
		}
		if none {
			t.Errorf("%s: a row without a difference", name)
		}
	}
}

// engines have what both need: a place of their own.
type engines struct{ dir, program string }

func newEngines(t *testing.T) engines {
	t.Helper()
	e := engines{dir: testneed.ShortDir(t)} // podman takes no capitals in the name of an image
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
			"--root", filepath.Join(e.dir, "podman"), "--runroot", filepath.Join(e.dir, "run"),
			"--tmpdir", filepath.Join(e.dir, "podman-tmp"), "--storage-driver", "vfs",
			"--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", "runc",
		}, args...)...)
	}
	id := strings.TrimSpace(podman("pull", "--quiet", "oci:"+image+":"+tag))
	return engineFacts(podman("run", "--rm", "--network", "none", "--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000", id))
}

// docker runs the image in the layout, with the same limits.
func (e engines) docker(t *testing.T, d docker, image string) map[string]string {
	t.Helper()
	cmd := d.command(t, "run", "--rm", "--network", "none", "--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000", d.load(t, image))
	return engineFacts(e.run(t, cmd.Args[0], cmd.Args[1:]...))
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

// namespace tells whether a container has the one of the test's. The daemon of
// an engine is started with one of its own only where its containers have too.
func namespace(kind, link string) string {
	if ours, err := os.Readlink("/proc/self/ns/" + kind); err == nil && ours == link {
		return "the machine's"
	}
	return "its own"
}

func engineFacts(out string) map[string]string {
	facts := map[string]string{}
	for line := range strings.Lines(out) {
		if k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			if at, ok := strings.CutPrefix(k, "ns."); ok {
				v = namespace(at, v)
			}
			facts[k] = v
		}
	}
	return facts
}
