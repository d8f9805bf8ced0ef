package handscript_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/handscript"
	"github.com/byhand/byhand/internal/testtar"
)

// TestGlobalHeader has a header that GNU tar obeys and byhand, as Docker, does
// not.
func TestGlobalHeader(t *testing.T) {
	needTools(t)
	global := testtar.Raw(testtar.Header(testtar.Fields{Type: 'g', Name: "g"}, []byte(testtar.Record("mtime", "86400")+testtar.Record("uid", "77"))))
	img := newImage(t, ocispec.ImageConfig{}, testtar.Tar(global, testtar.Dir("d"), testtar.File("d/f", "x"), testtar.Symlink("s", "d"), testtar.Fifo("p")))
	lower, tree := img.reference()
	script := img.script(nil)
	if strings.Contains(script, "\nextract ") {
		t.Error("tar is left to it")
	}
	img.checkOverlay(shells()[0], script, lower, tree)
}

// TestSparse has files with holes, in the forms that GNU tar writes, by tar and
// piece by piece.
func TestSparse(t *testing.T) {
	needTools(t)
	for _, form := range []string{"gnu", "posix --sparse-version=0.0", "posix --sparse-version=0.1", "posix --sparse-version=1.0"} {
		t.Run(form, func(t *testing.T) {
			dir := t.TempDir()
			const make = "truncate -s 3M f && printf begin | dd of=f conv=notrunc status=none && printf middle | dd of=f bs=1 seek=1000000 conv=notrunc status=none && cp --sparse=always f g && " +
				"tar -cSf l.tar --format=%s f g && tar -rSf l.tar --format=%[1]s g"
			cmd := exec.CommandContext(t.Context(), "sh", "-ec", fmt.Sprintf(make, form))
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			layer, err := os.ReadFile(filepath.Join(dir, "l.tar"))
			if err != nil {
				t.Fatal(err)
			}
			img := newImage(t, ocispec.ImageConfig{}, layer)
			lower, tree := img.reference()
			script := img.script(nil)
			if strings.Count(script, "\npiece ") < 2 {
				t.Error("the second g is not made of pieces")
			}
			img.checkOverlay(shells()[1], script, lower, tree)
		})
	}
}

// TestManyOddNames has more names for tar to leave out than a command line
// holds.
func TestManyOddNames(t *testing.T) {
	needTools(t)
	var twice []testtar.Entry
	long := strings.Repeat("n", 200)
	for i := range 160 {
		twice = append(twice, testtar.File(fmt.Sprintf("%s/%s/%s/%s/%d", long, long, long, long, i), "1"))
	}
	twice = append(twice, twice...)
	img := newImage(t, ocispec.ImageConfig{}, testtar.Tar(append(twice, testtar.File("f", "x"))...))
	script := img.script(nil)
	if strings.Contains(script, "\nextract ") {
		t.Error("tar is given too many names")
	}
	lower, tree := img.reference()
	img.checkOverlay(shells()[2], script, lower, tree)
}

// TestTampered changes a byte of each blob in turn.
func TestTampered(t *testing.T) {
	needTools(t)
	img := newImage(t, ocispec.ImageConfig{}, testtar.Tar(testtar.File("f", "x")), testtar.Tar(testtar.File("g", "x")))
	script := img.script(nil)
	blobs := map[string]string{
		"manifest": img.Manifest.Descriptor.Digest.Encoded(), "config": img.Config.Descriptor.Digest.Encoded(),
		"layer 1": img.Layers[0].Descriptor.Digest.Encoded(), "layer 2": img.Layers[1].Descriptor.Digest.Encoded(),
	}
	for what, hex := range blobs {
		name := filepath.Join(img.layout, "blobs/sha256", hex)
		right, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		wrong := []byte(strings.Clone(string(right)))
		wrong[len(wrong)/2] ^= 1
		for _, data := range [][]byte{wrong, right[:len(right)-1], append(wrong, right...), nil} {
			if err := os.WriteFile(name, data, 0o644); err != nil {
				t.Fatal(err)
			}
			code, out := img.run(shells()[len(data)%3], script)
			if code != 3 || !strings.Contains(out, "by hand: "+what+": expected sha256:"+hex) || !strings.Contains(out, "found sha256:") {
				t.Errorf("%s: status %d\n%s", what, code, out)
			}
			if _, err := os.Stat(filepath.Join(img.dir, "box")); err == nil {
				t.Errorf("%s: the bundle is there", what)
				img.clear()
			}
		}
		if err := os.WriteFile(name, right, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	img.must(shells()[0], script)
}

// TestNotMine leaves directories alone that hold something.
func TestNotMine(t *testing.T) {
	needTools(t)
	img := newImage(t, ocispec.ImageConfig{}, testtar.Tar(testtar.File("f", "x")))
	mine := filepath.Join(img.dir, "box/rootfs/mine")
	if err := os.MkdirAll(mine, 0o755); err != nil {
		t.Fatal(err)
	}
	if code, out := img.run(shells()[0], img.script(nil)); code != 1 || !strings.Contains(out, "not empty") {
		t.Errorf("status %d: %s", code, out)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}

// TestVolumes compares the volumes' content.
func TestVolumes(t *testing.T) {
	needTools(t)
	config := ocispec.ImageConfig{Volumes: map[string]struct{}{"/data": {}, "/link": {}, "/none": {}}}
	img := newImage(t, config, testtar.Tar(testtar.Dir("data", testtar.Mode(0o700), testtar.Owner(3, 4)), testtar.File("data/f", "f", testtar.Owner(5, 6), testtar.Xattr("user.a", "b")),
		testtar.Link("data/g", "data/f"), testtar.Dir("real"), testtar.File("real/x", "x"), testtar.Symlink("link", "/real")))
	_, tree := img.reference()
	for _, mount := range []bool{true, false} {
		img.must(shells()[0], img.script(func(s *handscript.Script) { s.Mount = mount }))
		img.same("data", filepath.Join(img.dir, "box/volumes/0"), filepath.Join(tree, "data"))
		img.same("link", filepath.Join(img.dir, "box/volumes/1"), filepath.Join(tree, "real"))
		if names, err := os.ReadDir(filepath.Join(img.dir, "box/volumes/2")); err != nil || len(names) > 0 {
			t.Errorf("volume without a directory: %v, %v", names, err)
		}
		if _, err := os.Stat(filepath.Join(img.dir, "box/rootfs/data")); (err == nil) != mount {
			t.Errorf("mount is %v: %v", mount, err)
		}
		img.clear()
	}
}

// TestNoLayers refuses what cannot be mounted.
func TestNoLayers(t *testing.T) {
	img := newImage(t, ocispec.ImageConfig{})
	s := handscript.Script{Dir: "box", Image: img.Image, Tree: img.tree}
	_, err := s.Write(t.Context(), &strings.Builder{})
	var unsupported *handscript.UnsupportedError
	if !errors.As(err, &unsupported) {
		t.Errorf("error %v, expected an UnsupportedError", err)
	}
}
