package unpack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/unpack"
	"golang.org/x/sys/unix"
)

// TestManyFiles puts 100,000 files into one directory.
func TestManyFiles(t *testing.T) {
	testneed.Root(t)
	const n = 100_000
	var archive bytes.Buffer
	for i := range n {
		archive.Write(testtar.Header(testtar.Fields{Type: '0', Name: fmt.Sprintf("d/%06d", i), Mode: "0000644"}, nil))
	}
	dir, res, err := apply(t, archive.Bytes(), unpack.Options{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir(filepath.Join(dir, "d"))
	if err != nil || len(list) != n || res.Counts.Files != n {
		t.Errorf("%d names, %d files counted, error %v, want %d", len(list), res.Counts.Files, err, n)
	}
}

// TestNoSpace fills a small file system, in a mount name space of its own.
func TestNoSpace(t *testing.T) {
	testneed.Root(t)
	base := t.TempDir()
	archive := testtar.Tar(tFile("a", "1"), tFile("big", strings.Repeat("x", 1<<20)))
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with its name space
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("tmpfs", base, "tmpfs", 0, "size=64k")
		}
		if err == nil {
			_, err = applyTo(base, archive, unpack.Options{})
		}
		done <- err
	}()
	err := <-done
	var entry *unpack.EntryError
	if !errors.Is(err, unix.ENOSPC) || !errors.As(err, &entry) || entry.Name != "big" {
		t.Errorf("error %v, want ENOSPC of big", err)
	}
}

// The benchmarks unpack the same archive of a part of this system, onto a
// file system in memory where there is one.
func benchmark(b *testing.B, apply func(archive, dir string) error) {
	b.Helper()
	testneed.Tool(b, "tar")
	base, err := os.MkdirTemp("/dev/shm", "unpack")
	if err != nil {
		base = b.TempDir()
	}
	defer func() { _ = os.RemoveAll(base) }()
	archive := filepath.Join(base, "a.tar")
	// That a file changed or could not be read does not matter here.
	_ = exec.CommandContext(b.Context(), "tar", "-C", "/", "-cf", archive, "usr/share").Run()
	info, err := os.Stat(archive)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(info.Size())
	for b.Loop() {
		dir := filepath.Join(base, "d")
		if err := os.Mkdir(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		if err := apply(archive, dir); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func benchmarkApply(b *testing.B, record io.Writer) {
	b.Helper()
	b.ReportAllocs()
	benchmark(b, func(archive, dir string) error {
		f, err := os.Open(archive)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		defer func() { _ = d.Close() }()
		_, err = unpack.Apply(context.Background(), d, f, unpack.Options{Owners: unpack.Squash, Record: record})
		return err
	})
}

func BenchmarkApply(b *testing.B) { benchmarkApply(b, nil) }

func BenchmarkApplyRecord(b *testing.B) { benchmarkApply(b, io.Discard) }

func BenchmarkGNUTar(b *testing.B) {
	benchmark(b, func(archive, dir string) error {
		return exec.CommandContext(b.Context(), "tar", "-C", dir, "-xpf", archive).Run()
	})
}
