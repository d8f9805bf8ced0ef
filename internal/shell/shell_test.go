package shell_test

import (
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/byhand/byhand/internal/shell"
)

// words makes the shell tell what a command's words are.
func words(t *testing.T, command string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", `printf '%s\0' `+command).Output()
	if err != nil {
		t.Fatalf("sh -c %q: %v", command, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

func TestQuote(t *testing.T) {
	for _, s := range []string{
		"plain", "", "a b", "$HOME `id` $(id)", `back\slash`, "it's", `"both" and 'both'`, "new\nline", "escape \x1b[31m",
		"%s %d", "-n", "größe", "right to left \u202e", "\xff\xfe", "*", "a;b|c&d", "~", "#", "\r", "\u009b2J",
	} {
		q := shell.Quote(s)
		if diff := cmp.Diff([]string{s}, words(t, q)); diff != "" {
			t.Errorf("%q is quoted %s (-want +got):\n%s", s, q, diff)
		}
		if strings.IndexFunc(q, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
			t.Errorf("%q: a terminal acts on %q", s, q)
		}
	}
	if got := words(t, shell.Quote("dir\n"))[0]; filepath.Clean(got) != "dir\n" {
		t.Errorf("a newline at the end: got %q", got)
	}
}

// TestWrap has the shell read commands of random words, broken into lines.
func TestWrap(t *testing.T) {
	const alphabet = `abcdefghij /:,,&'"$\` + "ä%\n"
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 200 {
		var want, quoted []string
		for range 1 + r.IntN(8) {
			var b strings.Builder
			for range r.IntN(120) {
				b.WriteRune([]rune(alphabet)[r.IntN(len([]rune(alphabet)))])
			}
			w := strings.TrimRight(b.String(), "\n")
			want, quoted = append(want, w), append(quoted, shell.Quote(w))
		}
		lines := shell.Wrap(strings.Join(quoted, " "), 20+r.IntN(70))
		if diff := cmp.Diff(want, words(t, strings.Join(lines, "\n"))); diff != "" {
			t.Fatalf("command %d, lines %q (-want +got):\n%s", n, lines, diff)
		}
	}
}

// TestWrapFits shows that what is usual fits into 80 columns.
func TestWrapFits(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 4)
	for _, c := range []string{
		"sha256sum manifest.json",
		"printf '%s %s' sha256:" + hex + " sha256:" + hex + " | sha256sum",
		`curl -sSfL -H "Authorization: Bearer $TOKEN" -H 'Accept: application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, */*' -o index.json http://127.0.0.1:41791/v2/lab/demo/manifests/sha256:` + hex,
		"mount -t overlay overlay -o lowerdir=" + strings.Repeat("l/ABCDEFGHIJKLMNOPQRSTUVWXYZ:", 9) + "l/A,upperdir=/x/upper /x/rootfs",
		`TOKEN=$(curl -sS 'http://127.0.0.1:41791/token?scope=repository%3Alab%2Fdemo%3Apull&service=byhand' | jq -r '.token // .access_token')`,
	} {
		for _, line := range shell.Wrap(c, 80) {
			if len([]rune(line)) > 80 {
				t.Errorf("%d columns: %s", len([]rune(line)), line)
			}
		}
	}
}
