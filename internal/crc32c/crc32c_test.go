package crc32c_test

import (
	"hash/crc32"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/byhand/byhand/internal/crc32c"
)

func random(n int) []byte {
	p := make([]byte, n)
	src := rand.NewChaCha8([32]byte{1})
	_, _ = src.Read(p)
	return p
}

// TestUpdate compares sums of all lengths at all places in a cache line with
// those of hash/crc32.
func TestUpdate(t *testing.T) {
	data := random(8 << 10)
	table := crc32.MakeTable(crc32.Castagnoli)
	for n := 0; n < len(data)-64; n++ {
		p := data[n%64:][:n]
		crc := uint32(n) * 0x9e3779b1
		if got, want := crc32c.Update(crc, p), crc32.Update(crc, table, p); got != want {
			t.Fatalf("%d bytes after %08x: %08x, want %08x", n, crc, got, want)
		}
	}
}

func FuzzUpdate(f *testing.F) {
	table := crc32.MakeTable(crc32.Castagnoli)
	f.Add(uint32(0), 0, random(1500))
	f.Add(^uint32(0), 1100, random(2500))
	f.Fuzz(func(t *testing.T, crc uint32, at int, p []byte) {
		at = min(max(at, 0), len(p))
		want := crc32.Update(crc, table, p)
		if got := crc32c.Update(crc32c.Update(crc, p[:at]), p[at:]); got != want {
			t.Fatalf("%08x, want %08x", got, want)
		}
	})
}

func BenchmarkUpdate(b *testing.B) {
	table := crc32.MakeTable(crc32.Castagnoli)
	for _, n := range []int{1 << 10, 16 << 10, 256 << 10} {
		p := random(n)
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				crc32c.Update(0, p)
			}
		})
		b.Run(strconv.Itoa(n)+"/std", func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				crc32.Update(0, table, p)
			}
		})
	}
}
