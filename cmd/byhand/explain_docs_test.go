package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/byhand/byhand/internal/rootfd"
	"github.com/byhand/byhand/internal/serve"
	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testuser"
)

// TestExplainTranscript compares the transcript in docs/explain.md with what
// --explain says now. UPDATE_SCRIPTS=1 writes it.
func TestExplainTranscript(t *testing.T) {
	testneed.Root(t) // an ordinary user's has a namespace more, and plain files
	const docs = "../../docs/explain.md"
	image := filepath.Join(t.TempDir(), "image")
	stubImage(t, image)
	host := registry(t, serve.NewTokenAuth(serve.TokenOptions{}), "lab/demo:v1=oci:"+image)
	dir := labDir(t)
	_, log, code := command(t, "--store", filepath.Join(dir, "store"), "--platform", "linux/amd64", "--plain-http", "--explain",
		"pull-and-unpack", "--no-mount", host+"/lab/demo:v1", filepath.Join(dir, "box"))
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, log)
	}
	for i, line := range strings.Split(log, "\n") {
		if n := len([]rune(line)); n > 80 {
			t.Errorf("line %d has %d columns: %s", i+1, n, line)
		}
	}
	got := stable(log, host, dir)
	raw, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- transcript -->\n", "<!-- end of transcript -->"
	before, rest, ok1 := strings.Cut(string(raw), begin)
	was, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no place for a transcript", docs)
	}
	now := "\n```sh\n" + got + "```\n\n"
	if os.Getenv("UPDATE_SCRIPTS") != "" {
		if err := os.WriteFile(docs, []byte(before+begin+now+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(was, now); diff != "" {
		t.Errorf("%s is another transcript; UPDATE_SCRIPTS=1 writes it (-docs +now):\n%s", docs, diff)
	}
}

// labDir makes a directory whose name always has the same length, so that lines
// break at the same places.
func labDir(t *testing.T) string {
	t.Helper()
	for n := os.Getpid(); ; n++ {
		dir := fmt.Sprintf("/tmp/byhand-lab-%010d", n)
		err := os.Mkdir(dir, 0o755)
		if os.IsExist(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			parent, err := os.Open("/tmp")
			if err == nil {
				err = rootfd.RemoveAllAt(int(parent.Fd()), filepath.Base(dir))
				_ = parent.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
		return dir
	}
}

// block is one step of a transcript.
type block struct {
	step, layer int
	text        string
}

// stable leaves of a transcript what is the same every time: layers in order,
// of which two will do, and nothing that depends on the machine.
func stable(log, host, dir string) string {
	log = strings.ReplaceAll(log, host, "127.0.0.1:50000")
	log = strings.ReplaceAll(log, dir, "/tmp/byhand-lab-0123456789")
	log = regexp.MustCompile(`(?m)^#    linux\.(.*\n#      )*.*\n`).ReplaceAllString(log, "")
	head := regexp.MustCompile(`^# (\d+)\. (?:layer (\d+): )?.*\n`)
	var blocks []*block
	preamble, rest, _ := strings.Cut(log, "\n\n")
	for text := range strings.SplitSeq(strings.TrimSuffix(rest, "\n"), "\n\n") {
		m := head.FindStringSubmatch(text + "\n")
		if m == nil {
			continue
		}
		step, _ := strconv.Atoi(m[1])
		layer, _ := strconv.Atoi(m[2])
		if i := slices.IndexFunc(blocks, func(b *block) bool { return b.step == step }); i >= 0 {
			blocks[i].text += "\n" + strings.TrimPrefix(text, strings.TrimSuffix(m[0], "\n")+"\n") // taken up again
			continue
		}
		blocks = append(blocks, &block{step: step, layer: layer, text: text})
	}
	// The steps of a layer are in its own order; those of the image stand
	// before and after.
	first := slices.IndexFunc(blocks, func(b *block) bool { return b.layer > 0 })
	last := len(blocks)
	for last > 0 && blocks[last-1].layer == 0 {
		last--
	}
	slices.SortStableFunc(blocks[first:last], func(a, b *block) int { return a.layer - b.layer })
	var out strings.Builder
	out.WriteString(preamble + "\n")
	for i, b := range blocks {
		if b.layer == 1 || b.layer == 3 || b.layer == 5 {
			continue
		}
		out.WriteString("\n" + regexp.MustCompile(`^# \d+\.`).ReplaceAllString(b.text, fmt.Sprintf("# %d.", i+1)) + "\n")
	}
	return out.String()
}

// TestExplainRootless has an ordinary user with subordinate IDs make a bundle
// and run it: the transcript has the user namespace's maps, and marks that the
// user may set.
func TestExplainRootless(t *testing.T) {
	user := testuser.WithSubids(t)
	image := filepath.Join(t.TempDir(), "image")
	buildDemo(t, image)
	ref := registry(t, nil, "lab/demo:v1=oci:"+image) + "/lab/demo:v1"
	program := filepath.Join(filepath.Dir(testuser.Program(t)), "byhand")
	if err := os.Rename(filepath.Join(filepath.Dir(program), "program"), program); err != nil {
		t.Fatal(err)
	}
	explained := func(args ...string) (string, string) {
		var out, log bytes.Buffer
		cmd := exec.CommandContext(t.Context(), program, append([]string{"--explain"}, args...)...)
		cmd.Env = append(user.Env(), "HOME="+user.Home)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user.Credential()}
		cmd.Dir, cmd.Stdout, cmd.Stderr = user.Home, &out, &log
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, log.Bytes())
		}
		return out.String(), log.String()
	}
	out, log := explained("pull-and-unpack", ref, "box")
	if out != "box\n" {
		t.Errorf("standard output %q", out)
	}
	for _, want := range []string{
		fmt.Sprintf("\n#    uid_map: 0 %d 1, 1 ", user.UID), "unshare --user --map-root-user --map-auto --mount true",
		"setfattr -n user.overlay.opaque", "write the merged tree to box/rootfs", "userxattr,lowerdir=", "with a user namespace",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("%q is not in\n%s", want, log)
		}
	}
	if n := strings.Count(log, "What does not begin with #"); n != 1 {
		t.Errorf("the transcript begins %d times:\n%s", n, log)
	}
	out, log = explained("run", ref)
	if !strings.Contains(out, "Hello from a container") || !strings.Contains(log, "userxattr: the marks are user.overlay.*") {
		t.Errorf("run: standard output %q, standard error:\n%s", out, log)
	}
}
