package e2e_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/testneed"
)

// TestDist builds what is handed out, twice, in two places and under two
// umasks: the bytes are the same, and each package holds the program, its
// pages and its completions.
func TestDist(t *testing.T) {
	testneed.Tool(t, "dpkg-deb", "git", "nfpm", "rpm", "tar")
	one, other := dist(t, "022"), dist(t, "077")
	if a, b := sums(t, one), sums(t, other); a != b || strings.Count(a, "\n") != 4 {
		t.Fatalf("expected the same four files twice:\n%s\n%s", a, b)
	}
	root := t.TempDir()
	output(t, "dpkg-deb", "-x", only(t, one, "*.deb"), root)
	if got := output(t, filepath.Join(root, "usr/bin/byhand"), "--version"); got != "byhand version 1.2.3-rc1\n" {
		t.Errorf("the package's program says %q", got)
	}
	for kind, list := range map[string]string{
		"deb":    output(t, "dpkg-deb", "-c", only(t, one, "*.deb")),
		"rpm":    output(t, "rpm", "-qlp", only(t, one, "*.rpm")),
		"apk":    output(t, "tar", "-tzf", only(t, one, "*.apk")),
		"tar.gz": output(t, "tar", "-tzf", only(t, one, "*.tar.gz")),
	} {
		for _, want := range []string{"/byhand\n", "man1/byhand-pull-and-unpack.1.gz\n", "/completions/", "/README.md\n"} {
			if !strings.Contains(list, want) {
				t.Errorf("%s lacks %q: %s", kind, want, list)
			}
		}
	}
	if got := output(t, "dpkg-deb", "-f", only(t, one, "*.deb"), "Version"); got != "1.2.3~rc1\n" {
		t.Errorf("a release candidate must come before its release, found %q", got)
	}
}

// dist runs scripts/dist in a copy of the work tree, and gives its directory.
func dist(t *testing.T, umask string) string {
	t.Helper()
	tree, out := t.TempDir(), t.TempDir()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("..", path)
		if err != nil {
			return err
		}
		switch rel {
		case ".git", "bin", "dist":
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		to := filepath.Join(tree, rel)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, data, info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "umask "+umask+"; exec scripts/dist")
	cmd.Dir = tree
	cmd.Env = append(os.Environ(), "OUT="+out, "ARCHES="+runtime.GOARCH, "VERSION=v1.2.3-rc1", "SOURCE_DATE_EPOCH=1700000000")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("scripts/dist: %v: %s", err, text)
	}
	return out
}

func sums(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func only(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: expected one, found %v, %v", pattern, found, err)
	}
	return found[0]
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return string(out)
}
