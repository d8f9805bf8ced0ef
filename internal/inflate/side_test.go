package inflate_test

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/byhand/byhand/internal/inflate"
	"github.com/byhand/byhand/internal/sha256pair"
)

// companion has two hashes to compute, in pieces of any size, each before a
// forbidden page and gone once it is done. Now and then it has nothing to do.
type companion struct {
	t       testing.TB
	r       *rand.Rand
	got     [2]hash.Hash
	want    [2]hash.Hash
	memory  fence
	pending []byte
	at      int // of the hash under way
	blocks  int // that were handed out
}

// noise is what is hashed.
var noise = sync.OnceValue(func() []byte {
	b := make([]byte, 64<<10)
	r := rand.New(rand.NewPCG(3, 5))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
})

func newCompanion(t testing.TB, seed uint64) *companion {
	t.Helper()
	c := &companion{t: t, r: rand.New(rand.NewPCG(seed, 7)), memory: getFence(64 << 10)}
	for i := range c.got {
		c.got[i], c.want[i] = sha256.New(), sha256.New()
	}
	return c
}

func (c *companion) Work() (hash.Hash, []byte) {
	if c.pending != nil {
		c.t.Error("asked for work while some is under way")
	}
	n := 0
	switch c.r.IntN(8) {
	case 0:
		return nil, nil
	case 1:
		n = c.r.IntN(200)
	case 2:
		n = c.r.IntN(60_000)
	default:
		n = sha256pair.BlockSize * c.r.IntN(40)
	}
	c.at = c.r.IntN(len(c.got))
	c.pending = c.memory.last(n)
	copy(c.pending, noise())
	c.blocks += n / sha256pair.BlockSize
	return c.got[c.at], c.pending
}

func (c *companion) Done() {
	if c.pending == nil {
		c.t.Error("work is done that was not asked for")
	}
	c.want[c.at].Write(noise()[:len(c.pending)])
	clear(c.pending)
	c.pending = nil
}

// check compares the digests, once the decoder is at its end.
func (c *companion) check() {
	c.t.Helper()
	defer c.memory.put()
	if c.pending != nil {
		c.t.Error("work was left undone")
	}
	for i := range c.got {
		if !bytes.Equal(c.got[i].Sum(nil), c.want[i].Sum(nil)) {
			c.t.Errorf("hash %d: %x, want %x", i, c.got[i].Sum(nil), c.want[i].Sum(nil))
		}
	}
}

// pausing makes a decoder pause whenever it asks for a buffer or a chunk.
type pausing struct {
	inflate.Source
	inflate.Sink
	d *inflate.Decoder
}

func (p *pausing) source() inflate.Source { return pausingSource{p} }
func (p *pausing) sink() inflate.Sink     { return pausingSink{p} }

type (
	pausingSource struct{ *pausing }
	pausingSink   struct{ *pausing }
)

func (p pausingSource) Next() []byte {
	p.d.Pause()
	return p.Source.Next()
}

func (p pausingSink) Next() ([]byte, error) {
	p.d.Pause()
	return p.Sink.Next()
}

// TestAccompany hashes beside data of all kinds, with pauses: wherever the
// decoder is interrupted, the hashes are right, and most of the work is done.
func TestAccompany(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for seed := range uint64(60) {
		data := sample(r, 300_000)
		packed := deflate(t, data, []int{-2, 1, 6}[seed%3])
		c := &collector{size: 4096}
		p := &pausing{Source: &slicer{packed}, Sink: c}
		d := inflate.NewDecoder(p.source(), p.sink())
		p.d = d
		beside := newCompanion(t, seed)
		d.Accompany(beside)
		if err := d.Inflate(); err != nil || !bytes.Equal(c.got.Bytes(), data) {
			t.Fatalf("seed %d: %d bytes, error %v", seed, c.got.Len(), err)
		}
		c.done()
		beside.check()
		if inflate.CanAside && sha256pair.Available() && beside.blocks == 0 {
			t.Errorf("seed %d: nothing was hashed", seed)
		}
	}
}

// TestAccompanyCorrupt hashes beside data that is damaged somewhere: the work
// is done all the same.
func TestAccompanyCorrupt(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	whole := deflate(t, sample(r, 100_000), 6)
	for range 300 {
		packed := bytes.Clone(whole)
		packed[r.IntN(len(packed))] ^= byte(1 + r.IntN(255))
		c := &collector{size: 4096}
		d, done := newDecoder(t, packed, 1<<20, c, hashing)
		_ = d.Inflate() // whether it notices is for others
		done()
	}
}

// BenchmarkAccompany decodes and hashes half as much again, at once and one
// after the other.
func BenchmarkAccompany(b *testing.B) {
	packed, size := benchData(b)
	for _, name := range []string{"aside", "after"} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(size))
			sink := &recycler{}
			data := make([]byte, 256<<10)
			for b.Loop() {
				d := inflate.NewDecoder(&slicer{packed}, sink)
				beside := &endless{hash: sha256.New(), data: data, left: size + size/3}
				if name == "aside" {
					d.Accompany(beside)
				}
				if _, err := d.Gunzip(); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(beside.left)/float64(size), "left/byte")
				for h, data := beside.Work(); h != nil; h, data = beside.Work() {
					if _, err := h.Write(data); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// endless hashes the same data again and again.
type endless struct {
	hash hash.Hash
	data []byte
	left int
	done func() // nil: nobody is told
}

func (e *endless) Work() (hash.Hash, []byte) {
	n := min(e.left, len(e.data))
	if n == 0 {
		return nil, nil
	}
	e.left -= n
	return e.hash, e.data[:n]
}

func (e *endless) Done() {
	if e.done != nil {
		e.done()
	}
}

// TestAccompanyStored has work under way when there are no more symbols to decode
// beside it: it is done a chunk of input or two later, and so is what there is to
// do then.
func TestAccompanyStored(t *testing.T) {
	if !inflate.CanAside || !sha256pair.Available() {
		t.Skip("this processor does not hash on the side")
	}
	text := make([]byte, 4000)
	for i := range text {
		text[i] = "0123456789abcdef"[noise()[i]&15]
	}
	header := []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0}
	named := []byte{0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 0}
	symbols := deflate(t, text, 6)
	trailer := make([]byte, 8)
	block := append([]byte{0, 0xff, 0xff, 0, 0}, make([]byte, 0xffff)...)
	for name, rest := range map[string][]byte{
		"stored blocks":    slices.Concat(trailer, header, bytes.Repeat(block, 10)),
		"a name":           slices.Concat(trailer, named, bytes.Repeat([]byte{'x'}, 600_000)),
		"zeros at the end": slices.Concat(trailer, make([]byte, 600_000)),
	} {
		t.Run(name, func(t *testing.T) {
			src := &counted{slicer{slices.Concat(header, symbols, rest)}, 0}
			work := &endless{hash: sha256.New(), data: make([]byte, 64<<10), left: 256 << 10}
			done, chunks := 0, 0
			work.done = func() { done, chunks = done+1, src.chunks }
			d := inflate.NewDecoder(src, &collector{size: 64 << 10})
			d.Accompany(work)
			_, _ = d.Gunzip() // it may end too early
			if done != 4 || chunks > 15 {
				t.Errorf("%d of 4 pieces are done, the last after %d of %d chunks", done, chunks, src.chunks)
			}
		})
	}
}

// counted is a source of chunks of 30 kB.
type counted struct {
	slicer
	chunks int
}

func (c *counted) Next() []byte {
	c.chunks++
	n := min(len(c.data), 30_000)
	if n == 0 {
		return nil
	}
	part := slicer{c.data[:n]}
	c.data = c.data[n:]
	return part.Next()
}
