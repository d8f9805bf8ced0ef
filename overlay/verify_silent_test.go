package overlay_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/teststack"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/unpack"
)

// verifyStack unpacks layers into a new store in dir and demands that verify
// finds them as they should be, and that each layer's tar can be had again.
// It returns false where the layers are refused.
func verifyStack(t *testing.T, dir string, o overlay.Options, layers [][]byte) bool {
	t.Helper()
	s, err := overlay.Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	var srcs []*fakeSource
	for _, raw := range layers {
		srcs = append(srcs, source(raw))
	}
	have, err := s.AddAll(t.Context(), sources(srcs...), overlay.AddOptions{})
	if err != nil {
		return false
	}
	img := putImage(t, s, "img", linuxAMD64, srcs...)
	r := verify(t, s, img)
	if !r.OK() || len(r.Differences) > 0 {
		t.Errorf("untouched: %+v", *r)
	}
	for i, l := range have {
		if got := openLayer(t, s, l); !bytes.Equal(got, layers[i]) {
			t.Errorf("layer %d: %d bytes of tar are not the %d that were unpacked", i+1, len(got), len(layers[i]))
		}
	}
	return true
}

func verify(t testing.TB, s *overlay.Store, img overlay.Image) *overlay.Report {
	t.Helper()
	r, err := s.Verify(t.Context(), img, overlay.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func openLayer(t testing.TB, s *overlay.Store, l overlay.Layer) []byte {
	t.Helper()
	r, err := s.OpenLayer(t.Context(), l)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer func() { _ = r.Close() }()
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	return raw
}

// verifyStacks is verifyStack for the stacks made by hand and for random ones.
func verifyStacks(t *testing.T, root string, o overlay.Options, count, seed int) {
	t.Helper()
	refused := 0
	for name, layers := range handMade() {
		var raw [][]byte
		for _, entries := range layers {
			raw = append(raw, testtar.Tar(entries...))
		}
		if !verifyStack(t, filepath.Join(root, name), o, raw) {
			refused++
		}
		if t.Failed() {
			t.Fatalf("stack %q", name)
		}
	}
	// The kernel gives some of these back in another form.
	capability := func(name, flags string, words int, rootID string) testtar.Entry {
		return testtar.File(name, "", testtar.Xattr("security.capability", flags+strings.Repeat("\x01\x20\x00\x00", words)+rootID))
	}
	acl := func(name, id string) testtar.Entry {
		var text strings.Builder
		text.WriteString("\x02\x00\x00\x00")
		for _, tag := range []string{"\x01", "\x02", "\x04", "\x10", "\x20"} { // 2 is the one with an ID
			text.WriteString(tag + "\x00\x04\x00" + id)
		}
		return testtar.Dir(name, testtar.Xattr("system.posix_acl_access", text.String()), testtar.Xattr("system.posix_acl_default", text.String()))
	}
	if !verifyStack(t, filepath.Join(root, "attributes"), o, [][]byte{testtar.Tar(
		capability("two", "\x01\x00\x00\x02", 4, ""), capability("malformed", "\x03\x01\x00\x03", 4, "\x00\x00\x00\x00"),
		capability("three", "\x01\x00\x00\x03", 4, "\x00\x00\x00\x00"), capability("other", "\x01\x00\x00\x03", 4, "\x07\x00\x00\x00"),
		acl("ids", "\x00\x00\x00\x00"), testtar.Dir("empty list", testtar.Xattr("system.posix_acl_access", "\x02\x00\x00\x00")),
	)}) || t.Failed() {
		t.Fatal("files with attributes")
	}
	for i := range count {
		var raw [][]byte
		s := teststack.Random(uint64(seed + i))
		for _, l := range s.Layers {
			raw = append(raw, l.Tar())
		}
		dir := filepath.Join(root, strconv.Itoa(i))
		if !verifyStack(t, dir, o, raw) {
			refused++
		}
		if t.Failed() {
			t.Fatalf("seed %d; run again with BYHAND_SEED=%d BYHAND_STACKS=1\n%s", seed+i, seed+i, s)
		}
		if err := os.RemoveAll(dir); err != nil { // nothing is mounted in it
			t.Fatal(err)
		}
	}
	t.Logf("%d random stacks, %d refused in all", count, refused)
	if refused > count/2+30 {
		t.Errorf("%d of %d stacks were refused", refused, count)
	}
}

// TestVerifySilent demands that nothing is found where nothing was changed.
func TestVerifySilent(t *testing.T) {
	count, seed := number("BYHAND_STACKS", 300), number("BYHAND_SEED", 1)
	if !isolated(t) {
		return
	}
	verifyStacks(t, tmpfs(t), overlay.Options{}, count, seed)
}

// TestVerifySilentUser does so in a user namespace without other users.
func TestVerifySilentUser(t *testing.T) {
	count, seed := number("BYHAND_STACKS", 100), number("BYHAND_SEED", 1)
	if !isolatedUser(t) {
		return
	}
	verifyStacks(t, tmpfs(t), overlay.Options{UserXattr: true, Owners: unpack.Squash}, count, seed)
}
