package handscript_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/handscript"
	"github.com/byhand/byhand/internal/imagetree"
	"github.com/byhand/byhand/internal/testimages"
	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/treecmp"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

func TestMain(m *testing.M) {
	if code, again := testneed.PrivateMounts(); again {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// shells are those that a script has to run under.
func shells() [][]string {
	return [][]string{{"dash"}, {"bash", "--posix"}, {"busybox", "sh"}}
}

func needTools(t *testing.T) {
	t.Helper()
	testneed.Root(t)
	testneed.Tool(t, "dash", "bash", "busybox", "jq", "tar", "setfattr", "gzip", "zstd")
}

// image is one of a test, in a layout of its own.
type image struct {
	t      *testing.T
	dir    string // of the test
	layout string
	*pull.Image
	tree *imagetree.Tree
}

type source struct{ *pull.Layer }

func (s source) Open(ctx context.Context) (io.ReadCloser, error) {
	return s.Layer.Open(ctx, pull.OpenOptions{})
}

func newImage(t *testing.T, config ocispec.ImageConfig, layers ...[]byte) *image {
	t.Helper()
	if config.Cmd == nil {
		config.Cmd = []string{"/bin/true"}
	}
	dir := t.TempDir()
	layout := filepath.Join(dir, "layout")
	if err := testimages.Write(layout, config, layers...); err != nil {
		t.Fatal(err)
	}
	return openImage(t, dir, "oci:"+layout+":"+testimages.Tag)
}

func openImage(t *testing.T, dir, name string) *image {
	t.Helper()
	ref, err := pull.ParseReference(name)
	if err != nil {
		t.Fatal(err)
	}
	client := &pull.Client{}
	t.Cleanup(func() { _ = client.Close() })
	img, err := client.Resolve(t.Context(), ref, pull.Platform{})
	if err != nil {
		t.Fatal(err)
	}
	var sources []imagetree.Source
	for _, l := range img.Layers {
		sources = append(sources, source{l})
	}
	tree, err := imagetree.Build(t.Context(), sources, imagetree.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &image{t: t, dir: dir, layout: ref.Path, Image: img, tree: tree}
}

// script returns the script for a bundle box in the test's directory.
func (i *image) script(change func(*handscript.Script)) string {
	i.t.Helper()
	s := handscript.Script{
		Dir: "box", Image: i.Image, Tree: i.tree, Mount: true,
		Record: bundle.Image{Reference: i.Reference.String(), RootFS: bundle.RootFSOverlay},
	}
	if change != nil {
		change(&s)
	}
	var b strings.Builder
	if _, err := s.Write(i.t.Context(), &b); err != nil {
		i.t.Fatal(err)
	}
	return b.String()
}

func flat(s *handscript.Script) { s.Record.RootFS = bundle.RootFSFlat }

// run runs the script with nothing but the system's programs, and returns its
// status and what it said.
func (i *image) run(shell []string, script string) (int, string) {
	i.t.Helper()
	ctx, cancel := context.WithTimeout(i.t.Context(), 5*time.Minute)
	defer cancel()
	name := filepath.Join(i.dir, "script.sh")
	if err := os.WriteFile(name, []byte(script), 0o644); err != nil {
		i.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, shell[0], append(shell[1:], name)...)
	cmd.Dir = i.dir
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	box := filepath.Join(i.dir, "box", "rootfs")
	i.t.Cleanup(func() { _ = unix.Unmount(box, unix.MNT_DETACH) })
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		i.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// must runs the script to a good end.
func (i *image) must(shell []string, script string) string {
	i.t.Helper()
	code, out := i.run(shell, script)
	if code != 0 {
		i.t.Fatalf("%q: status %d\n%s\n%s", shell, code, out, plans(script))
	}
	return out
}

// plans is what a script says about layers.
func plans(script string) string {
	if _, rest, ok := strings.Cut(script, "\n# ----"); ok {
		script, _, _ = strings.Cut(rest, "\ncat >")
	}
	return script
}

// clear takes the bundle away.
func (i *image) clear() {
	i.t.Helper()
	box := filepath.Join(i.dir, "box")
	if err := unix.Unmount(filepath.Join(box, "rootfs"), 0); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		i.t.Fatal(err)
	}
	if err := os.RemoveAll(box); err != nil {
		i.t.Fatal(err)
	}
}

// storeLayer is a layer for the store.
type storeLayer struct{ source }

func (l storeLayer) DiffID() digest.Digest { return l.Layer.DiffID() }

// reference unpacks the image with byhand: the lower dirs, and the flat tree.
func (i *image) reference() (lower []string, tree string) {
	i.t.Helper()
	store, err := overlay.Open(i.t.Context(), filepath.Join(i.dir, "store"), overlay.Options{})
	if err != nil {
		i.t.Fatal(err)
	}
	i.t.Cleanup(func() { _ = store.Close() })
	var sources []overlay.Source
	for _, l := range i.Layers {
		sources = append(sources, storeLayer{source{l}})
	}
	layers, err := store.AddAll(i.t.Context(), sources, overlay.AddOptions{})
	if err != nil {
		i.t.Fatal(err)
	}
	for _, l := range layers {
		lower = append(lower, l.Dir)
	}
	tree = filepath.Join(i.dir, "tree")
	if err := overlay.Flatten(i.t.Context(), lower, tree, overlay.FlattenOptions{}); err != nil {
		i.t.Fatal(err)
	}
	return lower, tree
}

// same expects two trees to be the same. Whiteouts have no time of their own.
func (i *image) same(what, got, want string) bool {
	i.t.Helper()
	diffs, err := treecmp.Compare(got, want, treecmp.Options{Rewrite: func(e *treecmp.Entry) {
		if e.Type == "char" && e.Dev == "0:0" {
			e.ModTime = time.Time{}
		}
	}})
	if err != nil {
		i.t.Fatal(err)
	}
	for _, d := range diffs {
		i.t.Errorf("%s: script | byhand: %s", what, d)
	}
	return len(diffs) == 0
}

// checkOverlay runs an overlay script and compares every lower dir and the
// mounted tree with byhand's.
func (i *image) checkOverlay(shell []string, script string, lower []string, tree string) {
	i.t.Helper()
	i.must(shell, script)
	good := true
	for n, dir := range lower {
		good = i.same("lower "+strconv.Itoa(n+1), filepath.Join(i.dir, "box/lower", strconv.Itoa(n+1)), dir) && good
	}
	good = i.same("mounted tree", filepath.Join(i.dir, "box/rootfs"), tree) && good
	if !good {
		i.t.Log(plans(script))
	}
	i.clear()
}

// checkFlat does the same for a flat tree.
func (i *image) checkFlat(shell []string, tree string) {
	i.t.Helper()
	script := i.script(flat)
	i.must(shell, script)
	if !i.same("flat tree", filepath.Join(i.dir, "box/rootfs"), tree) {
		i.t.Log(plans(script))
	}
	i.clear()
}

// shellcheck expects no complaint about a script.
func shellcheck(t *testing.T, script string) {
	t.Helper()
	testneed.Tool(t, "shellcheck")
	cmd := exec.CommandContext(t.Context(), "shellcheck", "--shell", "sh", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("shellcheck: %v\n%s", err, bytes.TrimSpace(out))
	}
}
