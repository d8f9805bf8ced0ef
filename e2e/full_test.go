package e2e_test

import (
	"os"
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
				if err := os.Mkdir(l.path("store"), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := unix.Mount("tmpfs", l.path("store"), "tmpfs", 0, "size=2m,mode=755"); err != nil {
					t.Fatal(err)
				}
				r := testregistry.New(t, testregistry.Options{})
				d := r.AddBlob("lab/big", tc.raw)
				d.MediaType = ocispec.MediaTypeImageLayerGzip
				if tc.fetched == 0 {
					d.MediaType = ocispec.MediaTypeImageLayer
				}
				r.AddImage("lab/big", "v1", []ocispec.Descriptor{d}, []digest.Digest{digest.FromBytes(noise)})
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
				if err := unix.Mount("tmpfs", l.path("store"), "tmpfs", unix.MS_REMOUNT, "size=64m"); err != nil {
					t.Fatal(err)
				}
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
	if err := os.Mkdir(l.path("store"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", l.path("store"), "tmpfs", 0, "size=4m,mode=755"); err != nil {
		t.Fatal(err)
	}
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
