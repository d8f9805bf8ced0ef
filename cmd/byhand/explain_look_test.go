package main

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/byhand/byhand/internal/serve"
	"github.com/byhand/byhand/internal/testneed"
)

// looked is what a command that looks into an image said, and what the
// commands of its transcript found by hand.
type looked struct {
	t    *testing.T
	args []string
	out  string
	log  string
	hand string
}

// look runs byhand with --explain, and then the transcript.
func look(t *testing.T, store string, args ...string) looked {
	t.Helper()
	out, log, code := command(t, append([]string{"--store", store, "--platform", "linux/amd64", "--plain-http", "--explain"}, args...)...)
	if code != 0 {
		t.Fatalf("%v: exit code %d:\n%s", args, code, log)
	}
	return looked{t, args, out, log, inShell(t, filepath.Join(t.TempDir(), "hand"), log)}
}

// finds wants lines by hand that match.
func (l looked) finds(patterns ...string) {
	l.t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile("(?m)" + p).MatchString(l.hand) {
			l.t.Errorf("%v: by hand nothing is like %q:\n%s\n%s", l.args, p, l.hand, l.log)
		}
	}
}

// matches are the lines of s that match, sorted.
func matches(s, pattern string) []string {
	found := regexp.MustCompile("(?m)"+pattern).FindAllString(s, -1)
	slices.Sort(found)
	return found
}

// TestExplainLooks runs the commands that stand for history, layers, diff, ls,
// cat, export, report, verify, images, rm and prune: they find what byhand
// does, whether layers come from a registry, are kept as blobs, are unpacked,
// or lie in an image layout.
func TestExplainLooks(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "curl", "jq", "gzip")
	image := filepath.Join(t.TempDir(), "image")
	stubImage(t, image)
	host := registry(t, serve.NewTokenAuth(serve.TokenOptions{}), "lab/demo:v1=oci:"+image)
	remote := host + "/lab/demo:v1"
	blobs, unpacked := t.TempDir(), t.TempDir()
	for store, verb := range map[string]string{blobs: "pull", unpacked: "unpack"} {
		if _, log, code := command(t, "--store", store, "--platform", "linux/amd64", verb, remote); code != 0 {
			t.Fatalf("%s: exit code %d:\n%s", verb, code, log)
		}
	}
	for name, at := range map[string]struct{ store, ref string }{
		"registry": {t.TempDir(), remote}, "blobs": {blobs, remote}, "unpacked": {unpacked, remote}, "layout": {t.TempDir(), "oci:" + image + ":v1"},
	} {
		t.Run(name, func(t *testing.T) {
			look(t, at.store, "history", at.ref).finds("^layer ADD directories, /etc/passwd", "^- USER demo", `^140\tsha256:`)
			look(t, at.store, "layers", at.ref).finds(`etc/passwd$`, `srv/notes/(\.wh\.)?two\.txt$`, `^[chl]\S+ .*two\.txt|^-\S+ .*\.wh\.two\.txt`)
			for _, n := range []string{"4", "5"} {
				l := look(t, at.store, "diff", at.ref, n)
				own := regexp.MustCompile(`(?m) \((whiteout|opaque)\)$`).ReplaceAllString(l.out, "")
				if diff := cmp.Diff(matches(own, `^[ACD] /[^ \n]*$`), matches(l.hand, `^[ACD] /[^ \n]*$`)); diff != "" && name != "unpacked" { // a lower dir has implied parents, too
					t.Errorf("layer %s (-byhand +by hand):\n%s\n%s", n, diff, l.log)
				}
			}
			l := look(t, at.store, "ls", at.ref, "/etc")
			for file := range strings.Lines(l.out) {
				l.finds(`(etc/)?` + strings.TrimSpace(file) + `$`)
			}
			if strings.Contains(l.hand, "home") {
				t.Errorf("more than the directory is listed: %s", l.hand)
			}
			look(t, at.store, "ls", "-R", at.ref, "/bin").finds(`(usr/)?bin/hello|hello$`)
			for _, file := range []string{"/etc/motd", "/usr/bin/look"} { // of the topmost layer, a hard link
				l := look(t, at.store, "cat", at.ref, file)
				if l.out == "" || strings.Count(l.hand, l.out) != 1 {
					t.Errorf("cat %s: %q, by hand %q", file, l.out, l.hand)
				}
			}
			for _, verb := range []string{"export", "report"} {
				if name == "blobs" || name == "unpacked" {
					break // it is the same there
				}
				file := filepath.Join(t.TempDir(), "file")
				l := look(t, at.store, verb, at.ref, "-o", file)
				l.finds("^[0-9a-f]{64}  " + file + "$")
				for _, sum := range matches(l.hand, "^[0-9a-f]{64}") {
					if !strings.Contains(l.log, sum) {
						t.Errorf("%s: by hand %s, which is in no line of the transcript", verb, sum)
					}
				}
			}
		})
	}
	for store, sums := range map[string]int{blobs: 8, unpacked: 3} {
		l := look(t, store, "verify", remote)
		found := matches(l.hand, "^[0-9a-f]{64}")
		for _, sum := range found {
			if !strings.Contains(l.log, sum) {
				t.Errorf("verify: by hand %s, which byhand did not calculate:\n%s", sum, l.out)
			}
		}
		if len(found) < sums || strings.Contains(l.hand, "differ") {
			t.Errorf("verify by hand: %s", l.hand)
		}
	}
	look(t, blobs, "images").finds("^" + remote + "$")
	if l := look(t, blobs, "prune"); l.hand != "" {
		t.Errorf("prune left %s", l.hand)
	}
	if l := look(t, blobs, "rm", remote); strings.Contains(l.hand, remote) {
		t.Errorf("rm left %s", l.hand)
	}
}
