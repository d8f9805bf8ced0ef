package handscript

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	sh "github.com/byhand/byhand/internal/shell"

	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/testneed"
)

func TestTimestamp(t *testing.T) {
	for want, at := range map[string]time.Time{
		"0": time.Unix(0, 0), "1.000000001": time.Unix(1, 1), "-1": time.Unix(-1, 0), "-0.500000000": time.Unix(-1, 5e8), "-1.250000000": time.Unix(-2, 75e7),
	} {
		if got := timestamp(imagetree.Entry{ModTime: at}); got != want {
			t.Errorf("%v: %s, expected %s", at, got, want)
		}
	}
}

// FuzzWord gives any string to a shell, which has to see that string.
func FuzzWord(f *testing.F) {
	for _, s := range []string{"", "-n", "'", "a\nb\n\n", "%s\\n", "$(x)`x`\"", "\x80", "ü\u202e", "\\", "\x7f\x01"} {
		f.Add(s)
	}
	testneed.Tool(f, "dash")
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "\x00") || len(s) > 10_000 {
			return // no name has a NUL, or is so long
		}
		w := &writer{}
		w.raw("set -eu\n")
		w.line("printf", "%s", s)
		script := w.lines.String()
		if !sh.Displayable(strings.ReplaceAll(script, "\n", "")) {
			t.Errorf("%q has what does not show", script)
		}
		out, err := exec.CommandContext(t.Context(), "dash", "-c", script).Output()
		if err != nil || string(out) != s {
			t.Errorf("%q: the shell saw %q: %v\n%s", s, out, err, script)
		}
	})
}

// TestChosen finds the manifest among those for the same platform.
func TestChosen(t *testing.T) {
	a, b := digest.FromString("a"), digest.FromString("b")
	const amd = `"platform":{"os":"linux","architecture":"amd64"}`
	index := `{"manifests":[{"digest":"` + string(b) + `","platform":{"os":"linux","architecture":"arm64"}},{"digest":"` + string(b) + `",` + amd + `},{"digest":"` + string(a) + `",` + amd + `}]}`
	for _, test := range []struct {
		index    string
		digest   digest.Digest
		position int
		ok       bool
	}{
		{index, a, 1, true},
		{index, b, 0, true},
		{index, digest.FromString("c"), 0, false},
		{`{"manifests":[{"digest":"` + string(a) + `"}]}`, a, 0, false},
		{`{`, a, 0, false},
	} {
		_, position, ok := chosen([]byte(test.index), ocispec.Descriptor{Digest: test.digest})
		if ok != test.ok || ok && position != test.position {
			t.Errorf("%s in %s: %d, %v; expected %d, %v", test.digest, test.index, position, ok, test.position, test.ok)
		}
	}
}

// TestFunctions knows each function by its name, and adds those that one uses.
func TestFunctions(t *testing.T) {
	all := map[string]bool{"mirrors": true, "certificates": true}
	for _, f := range append(functions(nil), functions(all)...) {
		if !strings.Contains(f.text, "\n"+f.name+"() {\n") || !strings.HasPrefix(f.text, "# "+f.name) {
			t.Errorf("function %q: %s", f.name, f.text)
		}
	}
	text := needed("blob a b c d\n", nil)
	for _, name := range []string{"blob", "fetch", "request", "login", "token", "parameter", "password", "verify", "die", "say"} {
		if !strings.Contains(text, "\n"+name+"() {\n") {
			t.Errorf("%s is missing", name)
		}
	}
	if strings.Contains(text, "mirror") || strings.Contains(text, "#if") || strings.Contains(text, "#end") {
		t.Errorf("for a registry alone: %s", text)
	}
	if with := needed("fetch\n", all); !strings.Contains(with, "\nmirrored() {\n") || !strings.Contains(with, "\nonward() {\n") {
		t.Errorf("with mirrors and certificates: %s", with)
	}
	if strings.Contains(text, "whiteout() {") {
		t.Error("whiteout is there and nobody uses it")
	}
}
