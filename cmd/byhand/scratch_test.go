package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestScratchSweep removes what a killed run left, and nothing of anybody
// else's that happens to be in a directory called run.
func TestScratchSweep(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "run")
	keep := []string{"notes", "run-", "run-1x", "run-7", "run-link", "run-8"}
	for _, name := range []string{"notes", "run-", "run-1x", "run-123"} {
		if err := os.MkdirAll(filepath.Join(parent, name, "inside"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(parent, "run-7"), 0o600); err != nil { // opening it waits
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(parent, "run-8"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("notes", filepath.Join(parent, "run-link")); err != nil {
		t.Fatal(err)
	}
	living := makeScratch(t, parent)
	second := makeScratch(t, parent)
	want := append(keep, filepath.Base(living.dir), filepath.Base(second.dir))
	entries, err := os.ReadDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("after sweeping there are %q, want %q", got, want)
	}
	for _, s := range []*scratch{living, second} {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
	}
}

// TestScratchLink refuses a link in the place of the directory: what it leads
// to is not for sweeping.
func TestScratchLink(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other")
	if err := os.MkdirAll(filepath.Join(other, "run-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("other", filepath.Join(dir, "run")); err != nil {
		t.Fatal(err)
	}
	if s, err := newScratch(filepath.Join(dir, "run")); err == nil {
		_ = s.remove()
		t.Error("a link was followed")
	}
	if _, err := os.Stat(filepath.Join(other, "run-1")); err != nil {
		t.Error(err)
	}
}

func makeScratch(t *testing.T, parent string) *scratch {
	t.Helper()
	done := make(chan *scratch, 1)
	go func() {
		s, err := newScratch(parent)
		if err != nil {
			t.Error(err)
		}
		done <- s
	}()
	select {
	case s := <-done:
		if s == nil {
			t.FailNow()
		}
		return s
	case <-time.After(time.Minute):
		t.Fatal("newScratch waits for something")
		return nil
	}
}
