package overlay_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/overlay"
)

func TestBlob(t *testing.T) {
	for _, raw := range []string{"", "content", strings.Repeat("0123456789", 2<<20)} {
		s := open(t, t.TempDir())
		desc := descriptor([]byte(raw))
		if _, err := s.Blob(t.Context(), desc); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("Blob of an empty store: %v, want fs.ErrNotExist", err)
		}
		if s.HasBlob(desc) {
			t.Error("HasBlob of an empty store")
		}
		if err := s.PutBlob(t.Context(), desc, strings.NewReader(raw)); err != nil {
			t.Fatal(err)
		}
		rc, err := s.Blob(t.Context(), desc)
		if err != nil || !s.HasBlob(desc) {
			t.Fatalf("Blob: %v, HasBlob: %v", err, s.HasBlob(desc))
		}
		got, err := io.ReadAll(rc)
		if cerr := rc.Close(); err != nil || cerr != nil || string(got) != raw {
			t.Errorf("read %d bytes (%v, %v), want %d", len(got), err, cerr, len(raw))
		}
		// A second one is not read.
		if err := s.PutBlob(t.Context(), desc, failing{errCut}); err != nil {
			t.Error(err)
		}
	}
}

// Wrong content gets no name, and leaves nothing.
func TestBlobWrong(t *testing.T) {
	desc := descriptor([]byte("content"))
	tests := []struct {
		name string
		r    io.Reader
		want any
	}{
		{"digest", strings.NewReader("contenT"), new(*overlay.DigestError)},
		{"short", strings.NewReader("conten"), new(*overlay.SizeError)},
		{"long", strings.NewReader("content!"), new(*overlay.SizeError)},
		{"cut", io.MultiReader(strings.NewReader("cont"), failing{errCut}), new(*cutError)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			if err := s.PutBlob(t.Context(), desc, tt.r); !errors.As(err, tt.want) {
				t.Errorf("error is %v, want a %T", err, tt.want)
			}
			if s.HasBlob(desc) {
				t.Error("the blob has its name")
			}
			if left := staging(t, dir); len(left) > 0 {
				t.Errorf("staging holds %q", left)
			}
		})
	}
	s := open(t, t.TempDir())
	for _, d := range []digest.Digest{"", "sha256:..", "sha256:../../../x"} {
		if err := s.PutBlob(t.Context(), ocispec.Descriptor{Digest: d}, strings.NewReader("")); err == nil {
			t.Errorf("PutBlob takes the digest %q", d)
		}
		if _, err := s.Blob(t.Context(), ocispec.Descriptor{Digest: d}); err == nil {
			t.Errorf("Blob takes the digest %q", d)
		}
	}
}

// What an interrupted writer left can be taken up, and must be right.
func TestBlobResume(t *testing.T) {
	raw := []byte("0123456789")
	desc := descriptor(raw)
	tests := []struct {
		name   string
		left   string
		resume bool
		n      int64
		rest   string
		ok     bool
	}{
		{"rest", "0123", true, 4, "456789", true},
		{"all there", "0123456789", true, 10, "", true},
		{"too much", "0123456789abc", true, 10, "", true},
		{"wrong", "x123", true, 4, "456789", false},
		{"from the start", "0123", false, 0, "0123456789", true},
		{"nothing left", "", true, 0, "0123456789", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			leave(t, s, dir, desc, tt.left)
			w, err := s.NewBlob(t.Context(), desc)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = w.Close() }()
			if tt.resume {
				n, err := w.Resume()
				if err != nil || n != tt.n {
					t.Fatalf("Resume: %d, %v; want %d", n, err, tt.n)
				}
				prefix, err := io.ReadAll(w.Prefix())
				if want := tt.left[:tt.n]; err != nil || string(prefix) != want {
					t.Errorf("Prefix: %q, %v; want %q", prefix, err, want)
				}
			}
			if _, err := w.Write([]byte(tt.rest)); err != nil {
				t.Fatal(err)
			}
			err = w.Commit()
			if !tt.ok {
				_ = as[*overlay.DigestError](t, err)
			}
			if (err == nil) != tt.ok || s.HasBlob(desc) != tt.ok {
				t.Errorf("Commit: %v, HasBlob: %v; want %v", err, s.HasBlob(desc), tt.ok)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			if left := staging(t, dir); len(left) > 0 {
				t.Errorf("staging holds %q", left)
			}
		})
	}
}

// leave puts an unfinished blob where a killed writer leaves it.
func leave(t *testing.T, s *overlay.Store, dir string, desc ocispec.Descriptor, raw string) {
	t.Helper()
	w, err := s.NewBlob(t.Context(), desc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte{'?'}); err != nil {
		t.Fatal(err)
	}
	w.Suspend()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	parts := staging(t, dir)
	if len(parts) != 1 {
		t.Fatalf("a suspended writer left %q", parts)
	}
	if err := os.WriteFile(filepath.Join(dir, "staging", parts[0]), []byte(raw), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Parts are kept by later processes for a while, but not after a restart, and
// not by Prune.
func TestBlobPartSwept(t *testing.T) {
	dir := t.TempDir()
	desc := descriptor([]byte("0123456789"))
	leave(t, open(t, dir), dir, desc, "0123")
	part := staging(t, dir)[0]
	addAll(t, open(t, dir)) // sweeps
	if diff := cmp.Diff([]string{part}, staging(t, dir)); diff != "" {
		t.Fatalf("staging after a sweep (-want +got):\n%s", diff)
	}
	path := filepath.Join(dir, "staging", part)
	i := strings.LastIndexByte(strings.TrimSuffix(path, ".part"), '.')
	other := path[:i] + ".11111111-2222-3333-4444-555555555555.part"
	if err := os.Rename(path, other); err != nil {
		t.Fatal(err)
	}
	addAll(t, open(t, dir))
	if left := staging(t, dir); len(left) > 0 {
		t.Errorf("after a restart staging holds %q", left)
	}

	leave(t, open(t, dir), dir, desc, "0123")
	old := time.Now().Add(-30 * 24 * time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	addAll(t, open(t, dir))
	if left := staging(t, dir); len(left) > 0 {
		t.Errorf("after a month staging holds %q", left)
	}

	s := open(t, dir)
	leave(t, s, dir, desc, "0123")
	if _, err := s.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := staging(t, dir); len(left) > 0 {
		t.Errorf("after Prune staging holds %q", left)
	}
}

// One writer at a time; who waits finds the blob there, or may go on when the
// other gave up.
func TestBlobShared(t *testing.T) {
	raw := []byte("0123456789")
	desc := descriptor(raw)
	for name, commit := range map[string]bool{"commits": true, "gives up": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w, err := open(t, dir).NewBlob(t.Context(), desc)
			if err != nil {
				t.Fatal(err)
			}
			other := open(t, dir)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			if _, err := other.NewBlob(ctx, desc); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("NewBlob beside a writer: %v", err)
			}
			time.AfterFunc(30*time.Millisecond, func() {
				if commit {
					if _, err := w.Write(raw); err != nil {
						t.Error(err)
					}
					if err := w.Commit(); err != nil {
						t.Error(err)
					}
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
			})
			second, err := other.NewBlob(t.Context(), desc)
			if commit {
				if !errors.Is(err, fs.ErrExist) {
					t.Errorf("NewBlob after a commit: %v, want fs.ErrExist", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := second.Write(raw); err != nil {
				t.Error(err)
			}
			if err := errors.Join(second.Commit(), second.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A damaged blob is found out when read as a document, and can be replaced.
func TestBlobDamaged(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	raw := []byte("content")
	desc := descriptor(raw)
	if err := s.PutBlob(t.Context(), desc, bytes.NewReader(raw)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "blobs", "sha256", desc.Digest.Encoded())
	if err := os.WriteFile(path, []byte("c0ntent"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := s.ReadBlob(t.Context(), desc.Digest)
	if e := as[*overlay.DigestError](t, err); e.Want != desc.Digest || e.Got != digest.FromString("c0ntent") {
		t.Errorf("error is %+v", e)
	}
	if err := s.DropBlob(desc.Digest); err != nil {
		t.Fatal(err)
	}
	if err := s.PutBlob(t.Context(), desc, bytes.NewReader(raw)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.ReadBlob(t.Context(), desc.Digest); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("ReadBlob: %q, %v", got, err)
	}
	// One of the wrong size, as a power loss may leave it, counts as missing.
	if err := os.Truncate(path, 3); err != nil {
		t.Fatal(err)
	}
	if s.HasBlob(desc) {
		t.Error("a truncated blob counts as there")
	}
	_, err = s.Blob(t.Context(), desc)
	_ = as[*overlay.SizeError](t, err)
	if err := s.PutBlob(t.Context(), desc, bytes.NewReader(raw)); err != nil || !s.HasBlob(desc) {
		t.Errorf("PutBlob over a truncated blob: %v", err)
	}
}
