package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/testuser"
)

// faultCase is a command that faults are put into.
type faultCase struct {
	name string
	args []string
	user *testuser.User // who gives it, nil for root
	// alone hides other processes from the command: mounts in their namespaces
	// may have the same layers.
	alone bool
	// before makes what the command finds.
	before func(faultLab)
	// done says whether the command has done all of its work, so that it need
	// not be given again.
	done func(faultLab) bool
	// check looks at what is there after the command succeeded.
	check func(faultLab)
}

// faultLab is a lab in which an ordinary user may work.
type faultLab struct {
	lab
	user  *testuser.User
	alone bool
}

// lab makes a place for one fault.
func (c faultCase) lab(t *testing.T) faultLab {
	t.Helper()
	l := newFaultLab(t, c.user)
	l.alone = c.alone
	return l
}

func newFaultLab(t *testing.T, u *testuser.User) faultLab {
	t.Helper()
	l := faultLab{lab: newLab(t), user: u}
	if u == nil {
		return l
	}
	for _, dir := range []string{l.dir, filepath.Dir(l.dir)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(l.dir, int(u.UID), int(u.GID)); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l faultLab) byhand(args ...string) result {
	l.t.Helper()
	if l.user == nil {
		return l.lab.byhand(args...)
	}
	prefix := []string{
		fmt.Sprint("--reuid=", l.user.UID), fmt.Sprint("--regid=", l.user.GID), "--clear-groups", "--inh-caps=-all",
		shared.byhand, "--store", l.path("store"), "--progress", "none",
	}
	return l.run("setpriv", append(prefix, args...)...)
}

func faultCases(t *testing.T, image string) []faultCase {
	t.Helper()
	ref := newFaultLab(t, nil)
	ref.must(ref.byhand("pull-and-unpack", "--rootfs", "flat", "--keep-blobs", image, ref.path("bundle")))
	unpack := func(l faultLab) { l.must(l.byhand("unpack", "--keep-blobs", image)) }
	cases := []faultCase{
		{
			name: "mounted", args: []string{"pull-and-unpack", image, "bundle"},
			before: nothing, done: hasConfig, check: wholeBundle(ref, "lower", "upper", "work"),
		},
		{
			name: "flat", args: []string{"--sync", "pull-and-unpack", "--rootfs", "flat", "--keep-blobs", image, "bundle"},
			before: nothing, done: hasConfig, check: wholeBundle(ref),
		},
		{
			name: "pull", args: []string{"pull", image},
			before: nothing, done: listsImage,
			check: func(l faultLab) {
				l.t.Helper()
				onlyNames(l.t, l.path("store/blobs/sha256"), names(l.t, ref.path("store/blobs/sha256")))
				onlyNames(l.t, l.path("store/staging"), nil)
				l.must(l.byhand("verify", image))
			},
		},
		{
			name: "rm", args: []string{"rm", image}, alone: true,
			before: unpack, done: func(l faultLab) bool { return !listsImage(l) },
			check: func(l faultLab) {
				l.t.Helper()
				l.must(l.byhand("prune"))
				emptyStore(l)
				l.must(l.byhand("unpack", image))
				trusted(l.lab, ref.lab)
			},
		},
		{
			name: "prune", args: []string{"prune"}, alone: true,
			before: func(l faultLab) {
				l.t.Helper()
				unpack(l)
				l.write("store/index.json", `{"schemaVersion":2,"manifests":[]}`)
			},
			done: func(l faultLab) bool {
				return len(names(l.t, l.path("store/layers")))+len(names(l.t, l.path("store/blobs/sha256"))) == 0
			},
			check: emptyStore,
		},
		{
			name: "repair", args: []string{"verify", "--repair", image}, alone: true,
			before: func(l faultLab) {
				l.t.Helper()
				unpack(l)
				l.damage("store/layers/*/diff/etc/passwd")
				l.damage("store/layers/*/layer.json")
			},
			done: func(l faultLab) bool { return l.byhand("verify", image).code == 0 },
			check: func(l faultLab) {
				l.t.Helper()
				trusted(l.lab, ref.lab)
				onlyNames(l.t, l.path("store/staging"), nil)
			},
		},
		{
			name: "export", args: []string{"export", image, "-o", "tar"},
			before: nothing, done: func(l faultLab) bool { _, err := os.Stat(l.path("tar")); return err == nil },
			check: func(l faultLab) {
				l.t.Helper()
				l.must(l.run("cmp", "tar", ref.path("tar")))
				onlyNames(l.t, l.dir, []string{"store", "tar"})
				l.must(l.byhand("prune"))
				emptyStore(l)
			},
		},
	}
	ref.must(ref.byhand("export", image, "-o", ref.path("tar")))
	for name, u := range map[string]testuser.User{"user": testuser.WithSubids(t), "user of one ID": testuser.WithoutSubids(t)} {
		ref := newFaultLab(t, &u)
		ref.must(ref.byhand("pull-and-unpack", "--keep-blobs", "--user", "0:0", image, ref.path("bundle")))
		cases = append(cases, faultCase{
			name: name, args: []string{"pull-and-unpack", "--user", "0:0", image, "bundle"}, user: &u,
			before: nothing, done: hasConfig, check: wholeBundle(ref),
		})
	}
	return cases
}

func nothing(faultLab) {}

func hasConfig(l faultLab) bool {
	_, err := os.Stat(l.path("bundle/config.json"))
	return err == nil
}

func listsImage(l faultLab) bool {
	l.t.Helper()
	if _, err := os.Stat(l.path("store/oci-layout")); err != nil {
		return false
	}
	return l.must(l.byhand("--json", "images")) != "[]\n"
}

// wholeBundle wants the bundle that ref has, some names in it, and nothing left
// over.
func wholeBundle(ref faultLab, more ...string) func(faultLab) {
	return func(l faultLab) {
		l.t.Helper()
		sameTree(l.t, ref.path("bundle/rootfs"), l.path("bundle/rootfs"))
		onlyNames(l.t, l.path("bundle"), append(more, "config.json", "image.json", "rootfs", "volumes"))
		trusted(l.lab, ref.lab)
		onlyNames(l.t, l.path("store/staging"), nil)
		onlyNames(l.t, l.dir, []string{"store", "bundle"})
	}
}

func emptyStore(l faultLab) {
	l.t.Helper()
	for _, dir := range []string{"layers", "l", "staging", "blobs/sha256", "bundles"} {
		if _, err := os.Stat(l.path("store/" + dir)); err == nil {
			onlyNames(l.t, l.path("store/"+dir), nil)
		}
	}
}

func (l faultLab) write(name, content string) {
	l.t.Helper()
	if err := os.WriteFile(l.path(name), []byte(content), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// damage changes the first of some files.
func (l faultLab) damage(pattern string) {
	l.t.Helper()
	found, err := filepath.Glob(l.path(pattern))
	if err != nil || len(found) == 0 {
		l.t.Fatalf("%s: nothing, %v", pattern, err)
	}
	l.write(strings.TrimPrefix(found[0], l.dir+"/"), "damaged")
}
