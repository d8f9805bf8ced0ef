package e2e_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/byhand/byhand/internal/testimages"
	"github.com/byhand/byhand/internal/testneed"
)

// TestInspectPeers compares what inspect tells with skopeo and podman, where
// the keys mean the same.
func TestInspectPeers(t *testing.T) {
	testneed.Tool(t, "skopeo")
	l := newLab(t)
	image := l.serve("lab/demo:v1=oci:"+shared.image) + "/lab/demo:v1"
	theirs := object(t, l.must(l.run("skopeo", "inspect", "--tls-verify=false", "docker://"+image)))
	ours := object(t, l.must(l.byhand("inspect", "--remote", image)))
	for _, key := range []string{"LayersData", "Variant"} { // only newer ones have these
		if _, ok := theirs[key]; !ok {
			delete(ours, key)
		}
	}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("-skopeo +byhand:\n%s", diff)
	}
	for _, template := range []string{
		"{{.Name}} {{.Digest}} {{.Os}}/{{.Architecture}}", "{{.Labels}}", "{{range .Layers}}{{println .}}{{end}}", "{{.Env}}", "{{.RepoTags}}", "{{.Created}}",
	} {
		want := l.must(l.run("skopeo", "inspect", "--tls-verify=false", "--format", template, "docker://"+image))
		if got := l.must(l.byhand("inspect", "--remote", "--format", template, image)); strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("%s: %q, skopeo has %q", template, got, want)
		}
	}
}

// TestInspectPodman does so with podman image inspect and history.
func TestInspectPodman(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "podman", "skopeo")
	l, dir := newLab(t), testneed.ShortDir(t)
	podman := func(args ...string) string {
		return l.must(l.run("podman", append([]string{"--root", l.path("podman"), "--runroot", dir, "--storage-driver", "vfs"}, args...)...))
	}
	l.must(l.run("skopeo", "copy", "--insecure-policy", "--quiet", "oci:"+shared.image+":v1", "docker-archive:"+l.path("saved.tar")+":lab/demo:v1"))
	podman("load", "-q", "-i", l.path("saved.tar"))
	id := "lab/demo:v1"
	ref := "oci:" + shared.image + ":v1"
	for _, template := range []string{
		"{{.Os}}/{{.Architecture}}", "{{json .RootFS}}", "{{json .Config.Env}}", "{{json .Config.Cmd}} {{json .Config.Entrypoint}}",
		"{{.Config.User}} {{.Config.WorkingDir}} {{.Author}}", "{{json .Config.Labels}}", "{{join .Config.Entrypoint \",\"}}",
	} {
		want := podman("image", "inspect", "--format", template, id)
		if got := l.must(l.byhand("inspect", "--format", template, ref)); got != want {
			t.Errorf("%s: %q, podman has %q", template, got, want)
		}
	}
	want := podman("history", "--no-trunc", "--format", "{{.CreatedBy}}", id)
	if got := l.must(l.byhand("history", "--format", "{{.CreatedBy}}", ref)); got != want {
		t.Errorf("history: %q, podman has %q", got, want)
	}
}

func object(t *testing.T, raw string) (o map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(raw), &o); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return o
}

// TestListDebian compares ls and cat with what unpack leaves of a Debian image
// of five layers, file by file.
func TestListDebian(t *testing.T) {
	testneed.Root(t)
	ref := "oci:" + testimages.Get(t, testimages.Debian())
	l := newLab(t)
	l.must(l.byhand("unpack", ref, l.path("tree")))
	got := strings.Split(strings.TrimRight(l.must(l.byhand("ls", "-R", "--format", // names hold anything but NUL
		`{{.Path}} {{.Permissions}} {{.UID}}:{{.GID}} {{.Size}} {{.ModTime}} {{.Link}}{{printf "%c" 0}}`, ref)), "\x00\n"), "\x00\n")
	want, files := walkTree(t, l.path("tree"))
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 5000 {
		t.Errorf("%d files; -unpacked +listed:\n%s", len(want), diff)
	}
	for i := 0; i < len(files); i += 1 + len(files)/5 {
		raw, err := os.ReadFile(l.path("tree" + files[i]))
		if err != nil {
			t.Fatal(err)
		}
		if got := l.must(l.byhand("cat", ref, files[i])); sha256.Sum256([]byte(got)) != sha256.Sum256(raw) {
			t.Errorf("%s: %d bytes, expected %d", files[i], len(got), len(raw))
		}
	}
}

// walkTree describes what is in a directory as the template above does, and
// names the regular files.
func walkTree(t *testing.T, dir string) (lines, files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		link, size := "", int64(0)
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			if link, err = os.Readlink(name); err != nil {
				return err
			}
		case d.Type().IsRegular():
			size = info.Size()
			files = append(files, strings.TrimPrefix(name, dir))
		}
		lines = append(lines, fmt.Sprintf("%s %s %d:%d %d %s %s", strings.TrimPrefix(name, dir), permissions(stat.Mode),
			stat.Uid, stat.Gid, size, info.ModTime().UTC().Format("2006-01-02T15:04:05.999999999Z07:00"), link))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines, files
}

// permissions writes a mode as ls -l does.
func permissions(mode uint32) string {
	kinds := map[uint32]string{syscall.S_IFDIR: "d", syscall.S_IFLNK: "l", syscall.S_IFCHR: "c", syscall.S_IFBLK: "b", syscall.S_IFIFO: "p", syscall.S_IFREG: "-"}
	var out strings.Builder
	out.WriteString(kinds[mode&syscall.S_IFMT])
	for i, special := range []struct {
		bit    uint32
		letter string
	}{{syscall.S_ISUID, "s"}, {syscall.S_ISGID, "s"}, {syscall.S_ISVTX, "t"}} {
		bits := mode >> (6 - 3*i)
		out.WriteString(pick(bits&4 != 0, "r") + pick(bits&2 != 0, "w"))
		switch {
		case mode&special.bit == 0:
			out.WriteString(pick(bits&1 != 0, "x"))
		case bits&1 != 0:
			out.WriteString(special.letter)
		default:
			out.WriteString(strings.ToUpper(special.letter))
		}
	}
	return out.String()
}

func pick(yes bool, letter string) string {
	if yes {
		return letter
	}
	return "-"
}
