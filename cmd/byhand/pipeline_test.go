package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/byhand/byhand/internal/testimages"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
	"github.com/byhand/byhand/unpack"
)

// BenchmarkPipeline unpacks an image from an OCI layout into a new store, for
// profiles of all stages together:
//
//	TMPDIR=/dev/shm BYHAND_BENCH_LAYOUT=DIR go test ./cmd/byhand -run '^$' -bench Pipeline -cpuprofile cpu.out
//
// Without a layout it makes a small image of its own.
func BenchmarkPipeline(b *testing.B) {
	layout := os.Getenv("BYHAND_BENCH_LAYOUT")
	if layout == "" {
		layout = b.TempDir()
		if err := (testimages.Synthetic{Layers: 3, Files: 600, Bytes: 24 << 20}).Write(layout); err != nil {
			b.Fatal(err)
		}
	}
	ref := pull.Reference{Transport: pull.OCI, Path: layout, Tag: testimages.Tag}
	dir := b.TempDir()
	for i := 0; b.Loop(); i++ {
		size, err := unpackOnce(b.Context(), ref, filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(size)
		b.StopTimer()
		if err := os.RemoveAll(filepath.Join(dir, strconv.Itoa(i))); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// plainSource keeps nothing but what is unpacked.
type plainSource struct{ *pull.Layer }

func (p plainSource) Open(ctx context.Context) (io.ReadCloser, error) {
	return p.Layer.Open(ctx, pull.OpenOptions{})
}

// unpackOnce returns how many bytes of tar were unpacked.
func unpackOnce(ctx context.Context, ref pull.Reference, dir string) (size int64, err error) {
	client := &pull.Client{}
	defer func() { _ = client.Close() }()
	store, err := overlay.Open(ctx, dir, overlay.Options{UserXattr: true, Owners: unpack.Squash})
	if err != nil {
		return 0, err
	}
	defer func() { _ = store.Close() }()
	img, err := client.Resolve(ctx, ref, pull.Platform{})
	if err != nil {
		return 0, err
	}
	sources := make([]overlay.Source, len(img.Layers))
	for i, l := range img.Layers {
		sources[i] = plainSource{l}
	}
	layers, err := store.AddAll(ctx, sources, overlay.AddOptions{})
	for _, l := range layers {
		size += l.TarSize
	}
	return size, err
}
