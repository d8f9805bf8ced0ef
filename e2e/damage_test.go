package e2e_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testneed"
)

// damages are what a broken disk, another program or a person may make of a
// file of the store.
var damages = map[string]func(path string) error{
	"empty":   func(path string) error { return os.Truncate(path, 0) },
	"half":    halve,
	"garbage": func(path string) error { return os.WriteFile(path, []byte("\x00\xff{[garbage"), 0o600) },
	"list":    func(path string) error { return os.WriteFile(path, []byte("[1]"), 0o600) },
	"gone":    os.RemoveAll,
	"directory": func(path string) error {
		return instead(path, func() error { return os.Mkdir(path, 0o755) })
	},
	"FIFO": func(path string) error {
		return instead(path, func() error { return unix.Mkfifo(path, 0o644) })
	},
	"loop": func(path string) error {
		return instead(path, func() error { return os.Symlink(filepath.Base(path), path) })
	},
}

func halve(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, info.Size()/2)
}

func instead(path string, f func() error) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return f()
}

// TestDamagedStore damages each file of a store in many ways. No command may
// crash, hang, or fail without saying what is wrong; and what the message says,
// or verify --repair, or unpacking again, makes all whole.
func TestDamagedStore(t *testing.T) {
	testneed.Root(t)
	ref := newLab(t)
	image := "oci:" + shared.image + ":v1"
	ref.must(ref.byhand("unpack", "--keep-blobs", image))
	ref.must(ref.byhand("unpack", image, ref.path("tree")))
	ref.must(ref.byhand("bundle", "--no-mount", image, ref.path("bundle")))
	files := damageable(t, ref)
	if len(files) != 14 {
		t.Fatalf("files to damage: %v", files)
	}
	n := 0
	for _, what := range slices.Sorted(maps.Keys(files)) {
		file := files[what]
		for _, how := range slices.Sorted(maps.Keys(damages)) {
			damage := damages[how]
			if (what == "short link" || what == "tree") && !slices.Contains([]string{"gone", "directory", "loop", "FIFO"}, how) {
				continue // not a file
			}
			if n++; testing.Short() && n%5 != 0 {
				continue
			}
			t.Run(what+" "+how, func(t *testing.T) {
				l := newLab(t)
				l.must(l.run("cp", "-a", ref.path("store"), l.path("store")))
				if err := damage(l.path(file)); err != nil {
					t.Fatal(err)
				}
				l.tryDamaged(image)
				l.heal(image, file)
				sameTree(t, ref.path("tree"), l.path("tree"))
				trusted(l, ref)
			})
		}
	}
}

// damageable names one file of each kind, of a layer above the base.
func damageable(t *testing.T, l lab) map[string]string {
	t.Helper()
	files := map[string]string{"layout": "store/oci-layout", "index": "store/index.json", "format": "store/store.json"}
	for what, pattern := range map[string]string{
		"bundle": "store/bundles/*.json", "bundle's link": "store/bundles/*.ref", "parents": "store/layers/*/lower",
	} {
		found, err := filepath.Glob(l.path(pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: nothing", pattern)
		}
		files[what] = strings.TrimPrefix(found[0], l.dir+"/")
	}
	layer := filepath.Dir(files["parents"])
	files["facts"], files["name"], files["record"] = layer+"/layer.json", layer+"/link", layer+"/tar-record.s2"
	files["tree"] = layer + "/diff"
	short, err := os.ReadFile(l.path(files["name"]))
	if err != nil {
		t.Fatal(err)
	}
	files["short link"] = "store/l/" + string(short)
	for _, blob := range names(t, l.path("store/blobs/sha256")) {
		raw, err := os.ReadFile(l.path("store/blobs/sha256/" + blob))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.Contains(string(raw), `"rootfs"`):
			files["config"] = "store/blobs/sha256/" + blob
		case strings.Contains(string(raw), `"config"`):
			files["manifest"] = "store/blobs/sha256/" + blob
		default:
			files["blob"] = "store/blobs/sha256/" + blob
		}
	}
	return files
}

// tryDamaged gives all kinds of commands and looks at how they end.
func (l lab) tryDamaged(image string) {
	l.t.Helper()
	for _, args := range [][]string{
		{"images"},
		{"verify", image},
		{"unpack", image},
		{"prune"},
	} {
		start := time.Now()
		r := l.byhand(args...)
		if took := time.Since(start); took > time.Minute {
			l.t.Errorf("%s took %s", args[0], took)
		}
		if !slices.Contains([]int{0, 3, 4, 7}, r.code) {
			l.t.Errorf("%s: exit %d: %s", args[0], r.code, r.stderr)
		}
		if r.code != 0 && args[0] != "verify" && (!strings.HasPrefix(r.stderr, "byhand: ") || strings.Count(r.stderr, "\n") != 1) {
			l.t.Errorf("%s: exit %d: not an error of one line: %s", args[0], r.code, r.stderr)
		}
	}
}

// heal makes the store whole as a person would.
func (l lab) heal(image, file string) {
	l.t.Helper()
	r := l.byhand("verify", "--repair", image)
	again := l.byhand("unpack", image, l.path("tree"))
	if again.code != 0 {
		// Only of these nothing else can tell what was in them.
		if !slices.Contains([]string{"index.json", "store.json", "oci-layout"}, filepath.Base(file)) {
			l.t.Errorf("repair: exit %d: %s; unpack: exit %d: %s", r.code, r.stderr, again.code, again.stderr)
		}
		if !strings.Contains(again.stderr, "; ") {
			l.t.Errorf("no remedy: %s", again.stderr)
		}
		if err := os.RemoveAll(l.path(file)); err != nil {
			l.t.Fatal(err)
		}
		l.must(l.byhand("unpack", image, l.path("tree")))
	}
	l.must(l.byhand("verify", image))
}
