package sha256pair_test

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"math/rand/v2"
	"testing"

	"github.com/byhand/byhand/internal/sha256pair"
)

// check compares pieces written in pairs with pieces written one by one.
func check(t *testing.T, pieces [][2][]byte) {
	t.Helper()
	got, want := [2]hash.Hash{sha256.New(), sha256.New()}, [2]hash.Hash{sha256.New(), sha256.New()}
	for _, p := range pieces {
		sha256pair.Write(got[0], got[1], p[0], p[1])
		want[0].Write(p[0])
		want[1].Write(p[1])
	}
	for i := range got {
		if !bytes.Equal(got[i].Sum(nil), want[i].Sum(nil)) {
			t.Fatalf("digest %d is %x, want %x", i, got[i].Sum(nil), want[i].Sum(nil))
		}
	}
}

func TestWrite(t *testing.T) {
	t.Logf("pairs: %v", sha256pair.Available())
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 4096)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	sizes := []int{0, 1, 63, 64, 65, 128, 1000, 1024, 4000}
	for range 500 {
		var pieces [][2][]byte
		for range 1 + r.IntN(4) {
			var pair [2][]byte
			for i := range pair {
				from := r.IntN(64)
				pair[i] = noise[from : from+sizes[r.IntN(len(sizes))]]
			}
			pieces = append(pieces, pair)
		}
		check(t, pieces)
	}
}

// The processors that the project is made fast for have the instructions.
func TestAvailable(t *testing.T) {
	if sha256pair.HasSHA() && !sha256pair.Available() {
		t.Error("the processor has SHA instructions, but crypto/sha256 marshals its state in an unknown way")
	}
}

func FuzzWrite(f *testing.F) {
	f.Add(make([]byte, 200), make([]byte, 300), 10, 64)
	f.Fuzz(func(t *testing.T, p, q []byte, i, j int) {
		cut := func(b []byte, at int) ([]byte, []byte) {
			n := int(uint(at) % uint(len(b)+1))
			return b[:n], b[n:]
		}
		p1, p2 := cut(p, i)
		q1, q2 := cut(q, j)
		check(t, [][2][]byte{{p1, q1}, {p2, q2}})
	})
}

func BenchmarkWrite(b *testing.B) {
	p, q := make([]byte, 256<<10), make([]byte, 256<<10)
	x, y := sha256.New(), sha256.New()
	b.Run("pair", func(b *testing.B) {
		b.SetBytes(int64(len(p) + len(q)))
		for b.Loop() {
			sha256pair.Write(x, y, p, q)
		}
	})
	b.Run("one by one", func(b *testing.B) {
		b.SetBytes(int64(len(p) + len(q)))
		for b.Loop() {
			x.Write(p)
			y.Write(q)
		}
	})
}
