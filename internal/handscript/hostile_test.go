package handscript_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/handscript"
	"github.com/byhand/byhand/internal/testtar"
)

// hostile are strings that would do something if a shell saw them.
func hostile() []string {
	return []string{
		"$(touch pwned)", "`touch pwned`", "'; touch pwned; '", `"; touch pwned; "`, "a\ntouch pwned\n", "END OF JSON\ntouch pwned\n",
		"-rf", "--help", "\\", "\\'; touch pwned #", "$HOME", "a\rb", "\x1b[2Jnothing to see", "\u202egnihton", "*", "~", "a\\nb%s%n", "!!", "\x80\xff",
	}
}

// TestHostileStrings puts foreign strings wherever an image can have them, and
// expects them to be nothing but strings.
func TestHostileStrings(t *testing.T) {
	needTools(t)
	config := ocispec.ImageConfig{
		Cmd: append([]string{"/bin/true"}, hostile()...), WorkingDir: "/" + hostile()[0], Labels: map[string]string{}, Volumes: map[string]struct{}{},
	}
	below, above := []testtar.Entry{}, []testtar.Entry{}
	for i, s := range hostile() {
		name := strings.ReplaceAll(s, "/", "_")
		config.Env = append(config.Env, "V"+string(rune('a'+i))+"="+s)
		config.Labels[s] = s
		config.Volumes["/vol/"+name] = struct{}{}
		below = append(below, testtar.Dir("d/"+name), testtar.File("d/"+name+"/"+name, "x"), testtar.File("f/"+name, "x"), testtar.Dir("vol/"+name),
			testtar.File("twice/"+name, "1"), testtar.File("twice/"+name, "22", testtar.Xattr("user."+strings.ReplaceAll(name, "=", ""), s)))
		above = append(above, testtar.Whiteout("f/"+name), testtar.Opaque("d/"+name), testtar.Link("l/"+name, "d/"+name+"/"+name), testtar.Symlink("s/"+name, s), testtar.File("i/"+name+"/x", "x"))
	}
	img := newImage(t, config, testtar.Tar(below...), testtar.Tar(above...))
	lower, tree := img.reference()
	script := img.script(func(s *handscript.Script) { s.Record.Reference = "evil:" + hostile()[5] })
	for i, r := range script {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			t.Fatalf("byte %d of the script is %q, which does not show", i, r)
		}
	}
	shellcheck(t, script)
	for _, shell := range shells() {
		img.must(shell, script)
		for i, dir := range lower {
			img.same("lower", filepath.Join(img.dir, "box/lower", string(rune('1'+i))), dir)
		}
		img.same("tree", filepath.Join(img.dir, "box/rootfs"), tree)
		img.sameConfig()
		img.clear()
	}
	img.checkFlat(shells()[2], tree)
	if found, err := filepath.Glob(filepath.Join(img.dir, "*pwned*")); err != nil || len(found) > 0 {
		t.Errorf("found %q: %v", found, err)
	}
}

// sameConfig expects the image's own values in config.json.
func (i *image) sameConfig() {
	i.t.Helper()
	raw, err := os.ReadFile(filepath.Join(i.dir, "box/config.json"))
	if err != nil {
		i.t.Fatal(err)
	}
	var got struct {
		Process struct {
			Args, Env []string
		}
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		i.t.Fatal(err)
	}
	for n, want := range i.Spec.Config.Cmd {
		if got.Process.Args[n] != want {
			i.t.Errorf("argument %d: %q, expected %q", n, got.Process.Args[n], want)
		}
	}
	for n, want := range i.Spec.Config.Env {
		if got.Process.Env[n] != want {
			i.t.Errorf("variable %d: %q, expected %q", n, got.Process.Env[n], want)
		}
	}
}

// TestHostileDir has a bundle directory of a strange name.
func TestHostileDir(t *testing.T) {
	needTools(t)
	img := newImage(t, ocispec.ImageConfig{}, testtar.Tar(testtar.File("f", "x")))
	for n, dir := range []string{"-rf", "a b/$(touch pwned)", "new\nline\n", "'", "comma,colon:back\\slash"} {
		script := img.script(func(s *handscript.Script) {
			s.Dir = dir
			s.Mount = false
			s.Record.RootFS = bundle.RootFSFlat
		})
		out := img.must(shells()[n%3], script)
		if _, err := os.Stat(filepath.Join(img.dir, dir, "config.json")); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		// What it says to type is typed.
		_, next, _ := strings.Cut(out, "start it with: runc run --bundle ")
		next, _, ok := strings.Cut(next, " NAME\n")
		typed := exec.CommandContext(t.Context(), "dash", "-c", "test -f "+next+"/config.json")
		typed.Dir = img.dir
		if err := typed.Run(); err != nil || !ok {
			t.Errorf("%q: typed as %s: %v", dir, next, err)
		}
	}
	if _, err := os.Stat(filepath.Join(img.dir, "pwned")); err == nil {
		t.Error("pwned")
	}
}
