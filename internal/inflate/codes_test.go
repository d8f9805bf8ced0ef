package inflate_test

import (
	"bytes"
	"compress/flate"
	"io"
	"math/bits"
	"math/rand/v2"
	"testing"
)

// bitWriter writes deflate's bits, first one lowest.
type bitWriter struct {
	out  []byte
	hold uint64
	n    int
}

func (w *bitWriter) bits(v uint64, n int) {
	w.hold |= v << w.n
	for w.n += n; w.n >= 8; w.n -= 8 {
		w.out = append(w.out, byte(w.hold))
		w.hold >>= 8
	}
}

func (w *bitWriter) bytes() []byte { return append(w.out, byte(w.hold)) }

// code is a canonical code: lengths, and codes with the first bit lowest.
type code struct {
	lens  []int
	codes []uint64
}

func newCode(lens []int) code {
	c := code{lens, make([]uint64, len(lens))}
	next := 0
	for n := 1; n <= 15; n++ {
		next <<= 1
		for i, l := range lens {
			if l == n {
				c.codes[i] = uint64(bits.Reverse16(uint16(next)) >> (16 - n))
				next++
			}
		}
	}
	return c
}

func (c code) write(w *bitWriter, symbol int) { w.bits(c.codes[symbol], c.lens[symbol]) }

// randomLens are lengths of a complete code for n symbols of size that are used:
// from all alike to as uneven as 15 bits allow. Symbol always is one of them.
func randomLens(r *rand.Rand, size, n, always int) []int {
	uneven := r.Float64()
	leaves := []int{0}
	for len(leaves) < n {
		i := r.IntN(len(leaves))
		if r.Float64() < uneven {
			i = len(leaves) - 1
		}
		if leaves[i] == 15 {
			uneven = 0
			continue
		}
		leaves[i]++
		leaves = append(leaves, leaves[i])
	}
	lens := make([]int, size)
	lens[always] = leaves[0]
	leaves = leaves[1:]
	for _, symbol := range r.Perm(size) {
		if symbol != always && len(leaves) > 0 {
			lens[symbol], leaves = leaves[0], leaves[1:]
		}
	}
	return lens
}

// Extra bits of lengths and distances (RFC 1951, 3.2.5).
func lengthExtra(symbol int) int {
	if symbol < 265 || symbol == 285 {
		return 0
	}
	return (symbol - 261) / 4
}

func distExtra(symbol int) int { return max(0, symbol/2-1) }

// lensOrder is the order in which the lengths of the code for code lengths come.
var lensOrder = []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// randomBlock writes a block of symbols of random codes, each as likely as the
// next, so that the long codes have their turns.
func randomBlock(r *rand.Rand, w *bitWriter, symbols int, last uint64) {
	lit := newCode(randomLens(r, 286, 2+r.IntN(285), 256))
	dist := newCode(randomLens(r, 30, 2+r.IntN(29), r.IntN(30)))
	lens := make([]int, 19) // of the code for code lengths: 13 of 4 bits, 6 of 5
	for i := range lens {
		lens[i] = 4 + i/13
	}
	pre := newCode(lens)
	w.bits(last|2<<1, 3)
	w.bits(29, 5)
	w.bits(29, 5)
	w.bits(15, 4)
	for _, symbol := range lensOrder {
		w.bits(uint64(pre.lens[symbol]), 3)
	}
	for _, c := range []code{lit, dist} {
		for _, n := range c.lens {
			pre.write(w, n)
		}
	}
	used := func(c code) (symbols []int) {
		for symbol, n := range c.lens {
			if n > 0 && symbol != 256 {
				symbols = append(symbols, symbol)
			}
		}
		return symbols
	}
	lits, dists := used(lit), used(dist)
	for range symbols {
		symbol := lits[r.IntN(len(lits))]
		lit.write(w, symbol)
		if symbol > 256 {
			extra := lengthExtra(symbol)
			w.bits(r.Uint64N(1<<extra), extra)
			symbol = dists[r.IntN(len(dists))]
			dist.write(w, symbol)
			extra = distExtra(symbol)
			w.bits(r.Uint64N(1<<extra), extra)
		}
	}
	lit.write(w, 256)
}

// randomStream begins with a window's worth of stored bytes, so that no distance is
// too far.
func randomStream(r *rand.Rand, blocks int) []byte {
	w := &bitWriter{out: []byte{0, 0x00, 0x80, 0xff, 0x7f}}
	for range 32 << 10 {
		w.out = append(w.out, byte(r.Uint32()))
	}
	for i := range blocks {
		last := uint64(0)
		if i == blocks-1 {
			last = 1
		}
		randomBlock(r, w, r.IntN(3000), last)
	}
	return w.bytes()
}

// All kinds of codes, and all lengths and distances, which no compressor makes by
// itself.
func TestInflateRandomCodes(t *testing.T) { eachWay(t, testInflateRandomCodes) }

func testInflateRandomCodes(t *testing.T, how way) {
	r := rand.New(rand.NewPCG(9, 10))
	for i := range 200 {
		packed := randomStream(r, 1+r.IntN(4))
		want, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
		if err != nil {
			t.Fatalf("round %d: compress/flate: %v", i, err)
		}
		in, out := []int{1, 9, 16, 40, 1000, 1 << 20}[r.IntN(6)], []int{1024, 4096, 65536}[r.IntN(3)]
		got, err := decode(t, packed, in, out, how)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("round %d, chunks of %d and %d: %d bytes, %v; want %d bytes", i, in, out, len(got), err, len(want))
		}
	}
}
