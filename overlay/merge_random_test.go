package overlay_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/teststack"
	"github.com/byhand/byhand/internal/treecmp"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/unpack"
)

// TestRandomStacks unpacks random stacks of layers and compares four views of
// each, entry by entry: the kernel's overlay mount of the lower dirs, the flat
// copy, the exported tar and the merged view, and where the layers are
// unambiguous a model that applies them to a tree in memory.
// BYHAND_STACKS sets how many, BYHAND_SEED where to begin.
func TestRandomStacks(t *testing.T) {
	// Read before the other process is started, so that go test knows of them.
	count, seed := number("BYHAND_STACKS", 1500), number("BYHAND_SEED", 1)
	if !isolated(t) {
		return
	}
	if testing.Short() {
		count = 200
	}
	root := tmpfs(t)
	var sure, refused int
	for i := range count {
		dir := filepath.Join(root, strconv.Itoa(i))
		switch randomStack(t, dir, uint64(seed+i)) {
		case "refused":
			refused++
		case "sure":
			sure++
		}
		if t.Failed() {
			t.Fatalf("seed %d; run again with BYHAND_SEED=%d BYHAND_STACKS=1", seed+i, seed+i)
		}
		if err := os.RemoveAll(dir); err != nil { // nothing is mounted in it any more
			t.Fatal(err)
		}
	}
	t.Logf("%d stacks, %d compared with the model, %d refused", count, sure, refused)
	if count > 100 && (sure < count/3 || refused > count/3) {
		t.Errorf("only %d of %d stacks were compared with the model", sure, count)
	}
}

func number(env string, def int) int {
	if n, err := strconv.Atoi(os.Getenv(env)); err == nil {
		return n
	}
	return def
}

func randomStack(t *testing.T, dir string, seed uint64) string {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := teststack.Random(seed)
	var dirs []string
	var layers [][]byte
	for i, l := range s.Layers {
		layer := filepath.Join(dir, fmt.Sprint("layer", i+1))
		layers = append(layers, l.Tar())
		if err := layerDir(t, layer, dirs, false, layers[i]); err != nil {
			// A link to a name that is a directory of its layer only because
			// a path leads through it is refused, whatever is below.
			if !expected(err) || l.Doubt == "" && !errors.Is(err, unix.EISDIR) {
				t.Errorf("layer %d: %v (model: %q)\n%s", i+1, err, l.Doubt, s)
			}
			if _, err := buildTree(layers, unpack.Limits{}); err == nil {
				t.Errorf("layer %d: only its tree in memory can be built\n%s", i+1, s)
			}
			return "refused"
		}
		dirs = append(dirs, layer)
	}
	mounted := mountTree(t, dir, dirs)
	check := func(what string, got map[string]string) {
		if diff := cmp.Diff(mounted, got); diff != "" {
			t.Errorf("%s (+) differs from the kernel's overlay (-):\n%s\n%s", what, diff, s)
		}
	}
	check("view", viewTree(t, dirs))
	check("export", exportTree(t, layers))
	check("flat copy", flatTree(t, dirs, filepath.Join(dir, "flat"), false))
	if s.Doubt() == "" {
		check("model", modelTree(s))
	}
	check("moved tree", flatTree(t, dirs, filepath.Join(dir, "moved"), true))
	if s.Doubt() == "" {
		return "sure"
	}
	return ""
}

// expected tells errors of layers that cannot be meant, such as a hard link
// to nothing.
func expected(err error) bool {
	for _, e := range []error{overlay.ErrLinkTarget, unix.EISDIR, unix.ELOOP, unix.ENOTDIR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return strings.Contains(err.Error(), "link leads to no directory")
}

// modelTree is what the layers mean.
func modelTree(s teststack.Stack) map[string]string {
	out := map[string]string{}
	for name, f := range s.Tree() {
		d := desc{
			kind: f.Kind, mode: f.Mode, uid: f.UID, gid: f.GID, mtime: f.ModTime.UnixNano(),
			mark: f.Mark, target: f.Target, group: f.Group,
		}
		if f.Kind == "file" {
			d.content = sum([]byte(f.Content))
		}
		out[name] = d.String()
	}
	return out
}

// desc describes a file in one line.
type desc struct {
	kind            string
	mode, uid, gid  uint32
	mtime           int64
	mark            string
	content, target string
	group           string
}

func (d desc) String() string {
	return fmt.Sprintf("%s %o %d:%d t=%d x=%q %q %q group=%q", d.kind, d.mode, d.uid, d.gid, d.mtime, d.mark, d.content, d.target, d.group)
}

// mountTree is what the kernel shows.
func mountTree(t *testing.T, dir string, lower []string) map[string]string {
	t.Helper()
	target := filepath.Join(dir, "merged")
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	o := overlay.MountOptions{Lower: lower, Target: target, ReadOnly: true}
	if err := overlay.Mount(o); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := overlay.Unmount(target); err != nil {
			t.Fatal(err)
		}
	}()
	return dirTree(t, target)
}

func flatTree(t *testing.T, lower []string, dst string, move bool) map[string]string {
	t.Helper()
	if err := overlay.Flatten(context.Background(), lower, dst, overlay.FlattenOptions{Move: move}); err != nil {
		t.Fatal(err)
	}
	return dirTree(t, dst)
}

func dirTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := treecmp.Read(dir, treecmp.Options{SkipXattr: func(attr string) bool { return attr == "" }})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for name, e := range entries {
		d := desc{
			kind: e.Type, mode: e.Mode, uid: e.UID, gid: e.GID, mtime: e.ModTime.UnixNano(),
			content: e.Sum, target: e.Target, group: e.First, mark: marks(e.Xattrs),
		}
		if e.Dev != "" {
			d.target = e.Dev
		}
		out[name] = d.hashed()
	}
	return out
}

// marks writes extended attributes down; the model knows only user.mark.
func marks(xattrs map[string]string) string {
	if v, ok := xattrs["user.mark"]; ok && len(xattrs) == 1 {
		return v
	}
	if len(xattrs) == 0 {
		return ""
	}
	return fmt.Sprint(xattrs)
}

// hashed writes d with names for kinds as the model has them. Content of a
// tree is hashed already.
func (d desc) hashed() string {
	if d.kind == "symlink" {
		d.mode = 0o777
	}
	return d.String()
}

func viewTree(t *testing.T, dirs []string) map[string]string {
	t.Helper()
	v, err := overlay.OpenView(dirs)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = v.Close() }()
	out := map[string]desc{}
	groups := map[[2]uint64][]string{}
	err = v.Walk(context.Background(), func(e *overlay.Entry) error {
		d := desc{
			kind: kindOf(e.Mode), mode: e.Mode & 0o7777, uid: e.UID, gid: e.GID, mtime: e.ModTime.UnixNano(),
			target: e.Link, mark: marks(e.Xattrs),
		}
		switch d.kind {
		case "char":
			d.target = fmt.Sprintf("%d:%d", e.Major, e.Minor)
		case "file":
			raw, err := readThrough(v, e.Name)
			if err != nil {
				return err
			}
			d.content = sum(raw)
		}
		if d.kind != "dir" {
			id := [2]uint64{e.Dev, e.Ino}
			groups[id] = append(groups[id], e.Name)
		}
		out[e.Name] = d
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return grouped(out, groups)
}

// readThrough reads a file whose name the walk gave, and checks that looking
// the name up agrees with the listing.
func readThrough(v *overlay.View, name string) ([]byte, error) {
	f, err := v.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(f)
}

func kindOf(mode uint32) string {
	return map[uint32]string{
		unix.S_IFREG: "file", unix.S_IFDIR: "dir", unix.S_IFLNK: "symlink", unix.S_IFIFO: "fifo", unix.S_IFCHR: "char", unix.S_IFBLK: "block",
	}[mode&unix.S_IFMT]
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func grouped(all map[string]desc, groups map[[2]uint64][]string) map[string]string {
	for _, names := range groups {
		slices.Sort(names)
		for _, name := range names {
			if d := all[name]; len(names) > 1 {
				d.group = names[0]
				all[name] = d
			}
		}
	}
	out := map[string]string{}
	for name, d := range all {
		out[name] = d.hashed()
	}
	return out
}
