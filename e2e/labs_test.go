package e2e_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/byhand/byhand/internal/demo"
	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testuser"
)

// TestLabs does what docs/labs tells a learner to type, and each task as its
// solution has it: the check says no before, and yes after. Then it spoils the
// work in every way that a check has a hint for.
func TestLabs(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "bash", "curl", "getfattr", "jq", "runc", "setfattr")
	c := newCourse(t, newLab(t), os.Environ())
	c.start()
	for n := 1; n <= 8; n++ {
		c.solve(n)
	}
	for _, spoil := range spoiled {
		t.Run(fmt.Sprintf("lab %d says %s", spoil.lab, spoil.want), func(t *testing.T) {
			c.t = t
			c.shell(spoil.lab, spoil.do)
			c.refuses(spoil.lab, spoil.want)
			c.shell(spoil.lab, spoil.undo)
			c.agrees(spoil.lab)
		})
	}
}

// TestLabTools starts where jq is missing: that is said first, not after minutes of
// building.
func TestLabTools(t *testing.T) {
	testneed.Tool(t, "curl", "sha256sum")
	bin, dir := t.TempDir(), filepath.Join(t.TempDir(), "lab")
	for _, tool := range []string{"sh", "dirname", "curl", "sha256sum"} {
		path, err := exec.LookPath(tool)
		if err == nil {
			err = os.Symlink(path, filepath.Join(bin, tool))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "sh", "../scripts/lab", "start")
	cmd.Env = []string{"PATH=" + bin, "LAB=" + dir, "HOME=" + bin}
	out, err := cmd.CombinedOutput()
	if want := "lab: jq is missing; install it: apt-get install curl jq coreutils\n"; err == nil || string(out) != want {
		t.Errorf("got %v and %q, want a failure and %q", err, out, want)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s: expected nothing made, got %v", dir, err)
	}
}

// TestLabWithoutRoot does lab 9.
func TestLabWithoutRoot(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "bash", "curl", "getfattr", "jq", "runc", "setfattr", "unshare")
	for _, test := range []struct {
		name string
		user testuser.User
	}{
		{"subuids", testuser.WithSubids(t)},
		{"no subuids", testuser.WithoutSubids(t)},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := lab{t: t, dir: test.user.Home}
			c := newCourse(t, l, test.user.Env())
			c.user = &test.user
			c.start()
			c.solve(9)
			c.shell(9, "setfattr -x user.overlay.opaque 2/dir; mknod 2/dir/one c 0 0")
			c.refuses(9, "2/dir/one is still there")
			c.shell(9, "rm 2/dir/one; setfattr -n user.overlay.opaque -v y 2; setfattr -n user.overlay.opaque -v y 2/dir")
			c.refuses(9, "2 itself is opaque")
		})
	}
}

// spoiled is work that a check must refuse, by whichever of its words.
var spoiled = []struct {
	lab            int
	do, undo, want string
}{
	{1, "mv index.json i; jq . i > index.json", "mv i index.json", "no jq, no editor in between"},
	{1, "cp answer.txt a; echo 404 > answer.txt", "mv a answer.txt", "404 is not it"},
	{1, "mv tags.json t; echo '{}' > tags.json", "mv t tags.json", "the tags: expected latest v1"},
	{1, "mv challenge.txt c; echo HTTP/1.1 200 OK > challenge.txt", "mv c challenge.txt", "ask without a token"},
	{1, "cp headers.txt h; echo HTTP/1.1 401 Unauthorized > headers.txt", "mv h headers.txt", "headers.txt: expected status 200"},
	{1, "cp tags.json t; echo HTTP/1.1 200 OK > tags.json", "mv t tags.json", "without -i"},
	{2, "cp $LAB/image/index.json i; : > $LAB/image/index.json", "mv i $LAB/image/index.json", "is no index any more"},
	{2, "cp $LAB/image/index.json i; cp i j; jq '.manifests[1].digest |= ltrimstr(\"sha256:\")' j > $LAB/image/index.json", "mv i $LAB/image/index.json", "a digest begins with sha256:"},
	{2, "cp latest.after l; : > latest.after", "mv l latest.after", "a new token is needed"},
	{2, "cp $LAB/image/index.json i; cp i j; jq '.manifests[1].size += 1' j > $LAB/image/index.json", "mv i $LAB/image/index.json", "the descriptor's size"},
	{2, "cp $LAB/image/index.json i; cp i j; jq '.manifests[1] = .manifests[0] | .manifests[1].annotations[] = \"latest\"' j > $LAB/image/index.json", "mv i $LAB/image/index.json", "the tag latest is still at"},
	{2, "cp latest.after l; cp v1.after latest.after", "mv l latest.after", "scripts/lab restart"},
	{3, "cp config.json c; echo '{\"errors\":[{\"code\":\"UNAUTHORIZED\"}]}' > config.json", "mv c config.json", "a token lives five minutes"},
	{3, "cp answer.txt a; echo blob > answer.txt", "mv a answer.txt", "blob is not it"},
	{3, "cp chains.txt c; cp c d; sed '3s/a/b/' d > chains.txt; sed -i '3s/0/1/' chains.txt", "mv c chains.txt", "echo would add a newline"},
	{3, "cp chains.txt c; jq -r '.rootfs.diff_ids[]' config.json > chains.txt", "mv c chains.txt", "chain ID 2"},
	{4, "touch 4/srv/notes/.wh.two.txt", "rm 4/srv/notes/.wh.two.txt", "overlayfs would show it as a file"},
	{4, "touch 4/var/lib/demo/.wh..wh..opq", "rm 4/var/lib/demo/.wh..wh..opq", "it becomes an attribute of its directory"},
	{4, "rm 4/srv/notes/two.txt; touch 4/srv/notes/two.txt", "rm 4/srv/notes/two.txt; mknod 4/srv/notes/two.txt c 0 0", "mknod FILE c 0 0"},
	{4, "setfattr -x trusted.overlay.opaque 4/var/lib/demo", "setfattr -n trusted.overlay.opaque -v y 4/var/lib/demo", "the opaque directory"},
	{4, "setfattr -n trusted.overlay.opaque -v y 4/var/lib", "setfattr -x trusted.overlay.opaque 4/var/lib", "4/var/lib is opaque, too"},
	{5, "cp answer.txt a; echo trusted.overlay.origin=y > answer.txt", "mv a answer.txt", "is not it"},
	{5, "touch merged/var/lib/demo/x", "rm merged/var/lib/demo/x", "rm -r, then mkdir"},
	{5, "cp ../4/5/etc/motd m; echo container >> ../4/5/etc/motd", "mv m ../4/5/etc/motd", "never write to a lower directory"},
	{6, "cp config.json c; cp c d; jq '.process.env -= [\"HOME=/home/demo\"]' d > config.json", "mv c config.json", "HOME is missing"},
	{6, "cp config.json c; cp c d; jq '.process.env = [\"PATH=/bin\"] + .process.env' d > config.json", "mv c config.json", "the environment has PATH twice"},
	{6, "cp config.json c; cp c d; jq '.process.args += [\"sh\"]' d > config.json", "mv c config.json", "Entrypoint, then Cmd"},
	{6, "cp config.json c; cp c d; jq '.process.user.additionalGids = []' d > config.json", "mv c config.json", "names demo in one more group"},
	{6, "cp config.json c; echo '{' > config.json", "mv c config.json", "config.json is no JSON"},
	{7, "cp answer.txt a; echo 0000000000000421 > answer.txt", "mv a answer.txt", "1<<29"},
	{7, "cp root-status.txt r; cp status.txt root-status.txt", "mv r root-status.txt", "expected Uid 0"},
	{7, "cp config.json c; cp c d; jq '.process.capabilities.bounding = [\"CAP_KILL\"]' d > config.json", "mv c config.json", "still gives capabilities"},
	{8, "cp answer.txt a; echo tag > answer.txt", "mv a answer.txt", "what the registry says it means"},
	{8, "cp blob.status b; echo status 0 > blob.status", "mv b blob.status", "byhand's status: expected status 3"},
	{8, "mv mitm m; cp -R $LAB/image mitm", "rm -r mitm; mv m mitm", "still the honest image"},
	{8, "cp tag.status s; echo status 3 > tag.status", "mv s tag.status", "by tag it succeeds"},
}

// course is one learner's labs.
type course struct {
	t     *testing.T
	lab   lab
	root  string // of the repository
	env   []string
	user  *testuser.User // nil for root
	work  string
	fence *regexp.Regexp
}

func newCourse(t *testing.T, l lab, env []string) *course {
	t.Helper()
	// A copy, since an ordinary user may have no way into this work tree.
	root := l.path("repository")
	for _, dir := range []string{"scripts", "docs/labs"} {
		if err := os.CopyFS(filepath.Join(root, dir), os.DirFS(filepath.Join("..", dir))); err != nil {
			t.Fatal(err)
		}
	}
	image := filepath.Join(root, "image")
	program, err := demo.Compile(t.Context(), runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	other := "arm64"
	if runtime.GOARCH == other {
		other = "amd64"
	}
	// Nobody runs the other platform's program.
	if _, err := demo.Build(image, demo.Options{
		Tag: "v1", Programs: map[string][]byte{runtime.GOARCH: program, other: program},
	}); err != nil {
		t.Fatal(err)
	}
	c := &course{
		t: t, lab: l, root: root, work: l.path("labs"),
		fence: regexp.MustCompile("(?ms)^```sh\n(.*?)^```$"),
	}
	c.env = append(env, "LAB="+c.work, "BYHAND="+shared.byhand, "IMAGE="+image,
		"SCRIPTS="+filepath.Join(root, "scripts"), "LISTEN=127.0.0.1:0", "LC_ALL=C.UTF-8")
	return c
}

func (c *course) start() {
	c.t.Helper()
	if out, err := c.command("scripts/lab", "start"); err != nil {
		c.t.Fatalf("scripts/lab start: %v: %s", err, out)
	}
	c.t.Cleanup(func() {
		if out, err := c.command("scripts/lab", "stop"); err != nil {
			c.t.Errorf("scripts/lab stop: %v: %s", err, out)
		}
	})
}

// command runs a program as the learner, in the repository. A registry that it
// leaves behind must not keep its output open.
func (c *course) command(name string, args ...string) ([]byte, error) {
	c.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = c.root, c.env
	if strings.Contains(name, "/") {
		cmd.Path = filepath.Join(c.root, name)
	}
	if c.user != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.user.Credential()}
	}
	out, err := os.CreateTemp(c.t.TempDir(), "out")
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cmd.Stdout, cmd.Stderr = out, out
	runErr := cmd.Run()
	text, err := os.ReadFile(out.Name())
	if err != nil {
		c.t.Fatal(err)
	}
	return text, runErr
}

// solve types the lab's commands, sees the check refuse, does the task, and
// sees it agree.
func (c *course) solve(n int) {
	c.t.Helper()
	c.refuses(n, "nothing was done yet")
	pages, err := filepath.Glob(fmt.Sprintf("%s/docs/labs/%d-*.md", c.root, n))
	if err != nil || len(pages) != 1 {
		c.t.Fatalf("pages of lab %d: %v, %v", n, pages, err)
	}
	page, err := os.ReadFile(pages[0])
	if err != nil {
		c.t.Fatal(err)
	}
	var script bytes.Buffer
	for _, block := range c.fence.FindAllSubmatch(page, -1) {
		script.Write(block[1])
	}
	if script.Len() == 0 {
		c.t.Fatalf("%s: no commands", pages[0])
	}
	text := script.String()
	solution, err := os.ReadFile(fmt.Sprintf("%s/scripts/labs/%d.solution", c.root, n))
	if err != nil {
		c.t.Fatal(err)
	}
	text += fmt.Sprintf("\"$SCRIPTS/lab\" check %d > before.txt && exit 99\n%s", n, solution)
	// Another run of this test may have a container of that name.
	text = strings.NewReplacer("~/byhand-lab", "$LAB", "lab7", fmt.Sprintf("lab7-%d", os.Getpid())).Replace(text)
	out, err := c.command("bash", "-c", text)
	if err != nil {
		c.t.Fatalf("lab %d: %v: %s", n, err, out)
	}
	c.agrees(n)
}

func (c *course) agrees(n int) {
	c.t.Helper()
	if out, err := c.command("scripts/lab", "check", fmt.Sprint(n)); err != nil || !bytes.Contains(out, fmt.Appendf(nil, "Lab %d is done.", n)) {
		c.t.Fatalf("lab %d: the check refuses what is right: %s", n, out)
	}
}

func (c *course) refuses(n int, want string) {
	c.t.Helper()
	out, err := c.command("scripts/lab", "check", fmt.Sprint(n))
	if err == nil || !strings.Contains(string(out), "NO   ") || !strings.Contains(string(out), want) {
		c.t.Errorf("lab %d: the check should say %q, said (%v): %s", n, want, err, out)
	}
}

// shell runs a line in the lab's directory.
func (c *course) shell(n int, line string) {
	c.t.Helper()
	if out, err := c.command("bash", "-ec", fmt.Sprintf("cd \"$LAB/%d\"; %s", n, line)); err != nil {
		c.t.Fatalf("lab %d: %s: %v: %s", n, line, err, out)
	}
}
