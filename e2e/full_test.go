package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testregistry"
	"github.com/byhand/byhand/internal/testtar"
)

// TestDiskFull: an image that does not fit is refused before anything is
// fetched where its manifest tells so, and where it does not, what was written
// is freed. Once there is room, the same command succeeds.
func TestDiskFull(t *testing.T) {
	testneed.Root(t)
	noise := testtar.Tar(testtar.File("noise", strings.Repeat("x", 8<<20)))
	for _, tc := range []struct {
		name    string
		raw     []byte // the layer as it is fetched
		fetched int    // how often
		said    string
	}{
		{"known before", noise, 0, "bytes needed"},
		{"found out", packed(t, noise), 1, "no space left"},
	} {
		for _, args := range [][]string{{"pull-and-unpack", "--no-mount"}, {"unpack", "--keep-blobs"}, {"pull-and-unpack", "--rootfs", "flat"}} {
			t.Run(tc.name+" "+args[1], func(t *testing.T) {
				l := newLab(t)
				roomFor(t, l.path("store"), "2m")
				mediaType := ocispec.MediaTypeImageLayerGzip
				if tc.fetched == 0 {
					mediaType = ocispec.MediaTypeImageLayer
				}
				r, d := serveLayer(t, tc.raw, mediaType, noise)
				command := append(args, r.Host()+"/lab/big:v1", l.path("out"))
				if args[0] == "pull-and-unpack" {
					command = append(command, "--", "/x")
				}
				failed := l.byhand(command...)
				wantCode(t, failed, 7, tc.said)
				if !strings.Contains(failed.stderr, l.path("store")) {
					t.Errorf("the store is not named: %s", failed.stderr)
				}
				if n := r.Count("/blobs/" + d.Digest.String()); n != tc.fetched {
					t.Errorf("the layer was asked for %d times, want %d", n, tc.fetched)
				}
				var st unix.Statfs_t
				if err := unix.Statfs(l.path("store"), &st); err != nil || int64(st.Blocks-st.Bfree)*st.Bsize > 64<<10 {
					t.Errorf("%d bytes are in use afterwards, %v", int64(st.Blocks-st.Bfree)*st.Bsize, err)
				}
				if args[1] != "--keep-blobs" { // a small part may be gone on with
					onlyNames(t, l.path("store/staging"), nil)
				}
				if _, err := os.Lstat(l.path("out")); err == nil {
					t.Error("there is an out")
				}
				roomFor(t, l.path("store"), "64m")
				l.must(l.byhand(command...))
			})
		}
	}
}

// TestDiskSuffices: an image that has one layer several times takes its blob's
// room once.
func TestDiskSuffices(t *testing.T) {
	testneed.Root(t)
	l := newLab(t)
	roomFor(t, l.path("store"), "4m")
	noise := testtar.Tar(testtar.File("noise", strings.Repeat("x", 2<<20)))
	r := testregistry.New(t, testregistry.Options{})
	d := r.AddBlob("lab/same", noise)
	d.MediaType = ocispec.MediaTypeImageLayer
	id := digest.FromBytes(noise)
	r.AddImage("lab/same", "v1", []ocispec.Descriptor{d, d, d}, []digest.Digest{id, id, id})
	l.must(l.byhand("pull", r.Host()+"/lab/same:v1"))
	if n := r.Count("/blobs/" + d.Digest.String()); n != 1 {
		t.Errorf("the layer was asked for %d times, want 1", n)
	}
}

// TestTargetFull: where there is no room for a tree of plain files, the error
// names it, nothing is left of it, and the same command succeeds later.
func TestTargetFull(t *testing.T) {
	testneed.Root(t)
	noise := testtar.Tar(testtar.File("noise", strings.Repeat("x", 8<<20)))
	for name, args := range map[string][]string{
		"tree": {"unpack"}, "b": {"bundle", "--rootfs", "flat", "--entrypoint", "/x"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			small := l.path("small")
			roomFor(t, small, "2m")
			r, _ := serveLayer(t, packed(t, noise), ocispec.MediaTypeImageLayerGzip, noise)
			target := filepath.Join(small, name)
			command := append(args, r.Host()+"/lab/big:v1", target)
			failed := l.byhand(command...)
			wantCode(t, failed, 7, "no space left")
			if !strings.Contains(failed.stderr, "byhand: write to "+target) || !strings.Contains(failed.stderr, `"noise"`) {
				t.Errorf("the tree and the file are not named: %s", failed.stderr)
			}
			onlyNames(t, small, nil)
			roomFor(t, small, "64m")
			l.must(l.byhand(command...))
		})
	}
}

// roomFor makes dir a file system of its own with so much room, or gives the one
// that it is already so much.
func roomFor(t *testing.T, dir, size string) {
	t.Helper()
	flags := uintptr(unix.MS_REMOUNT)
	if err := os.Mkdir(dir, 0o755); err == nil {
		flags = 0
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, "mode=755,size="+size); err != nil {
		t.Fatal(err)
	}
}

// serveLayer serves lab/big:v1 with the one layer raw, which is tar when unpacked.
func serveLayer(t *testing.T, raw []byte, mediaType string, tar []byte) (*testregistry.Registry, ocispec.Descriptor) {
	t.Helper()
	r := testregistry.New(t, testregistry.Options{})
	d := r.AddBlob("lab/big", raw)
	d.MediaType = mediaType
	r.AddImage("lab/big", "v1", []ocispec.Descriptor{d}, []digest.Digest{digest.FromBytes(tar)})
	return r, d
}
