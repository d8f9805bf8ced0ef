package inflate_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/inflate"
)

// chunks is a source of chunks of some size.
type chunks struct {
	data  []byte
	size  int
	fence fence // of the chunk in use
}

func (c *chunks) Next() []byte {
	c.fence.put()
	c.fence = fence{}
	if len(c.data) == 0 {
		return nil
	}
	n := min(c.size, len(c.data))
	c.fence = getFence(n)
	chunk := c.fence.last(n)
	copy(chunk, c.data)
	c.data = c.data[n:]
	return chunk
}

// collector is a sink that joins what it gets.
type collector struct {
	size int
	got  bytes.Buffer
	ends int // flushes of less than size
	max  int // fail beyond that, if not 0

	fences [2]fence // as many buffers as are out at a time
	turn   int
}

var errFull = errors.New("collector is full")

func (c *collector) Next() ([]byte, error) {
	size := inflate.HistorySize + c.size + inflate.Slack
	c.turn ^= 1
	if c.fences[c.turn].pages == 0 {
		c.fences[c.turn] = getFence(size)
	}
	b := c.fences[c.turn].last(size)
	for i := range b {
		b[i] = 0xa5 // stale memory is not zero
	}
	return b, nil
}

// done gives the memory back.
func (c *collector) done() {
	for _, f := range c.fences {
		f.put()
	}
}

func (c *collector) Flush(b []byte, n int) error {
	if n != c.size {
		c.ends++
	}
	c.got.Write(b[inflate.HistorySize : inflate.HistorySize+n])
	if c.max > 0 && c.got.Len() > c.max {
		return errFull
	}
	return nil
}

// newDecoder reads packed in chunks of a size. done gives memory back, and looks
// at what was hashed aside.
func newDecoder(t testing.TB, packed []byte, size int, c *collector, how way) (d *inflate.Decoder, done func()) {
	t.Helper()
	src := &chunks{data: packed, size: size}
	d = inflate.NewDecoder(src, c)
	d.SetPortable(how == portably)
	var beside *companion
	if how == hashing {
		beside = newCompanion(t, uint64(len(packed)))
		d.Accompany(beside)
	}
	return d, func() {
		src.fence.put()
		c.done()
		if beside != nil {
			beside.check()
		}
	}
}

func decode(t testing.TB, packed []byte, in, out int, how way) ([]byte, error) {
	t.Helper()
	c := &collector{size: out}
	d, done := newDecoder(t, packed, in, c, how)
	defer done()
	err := d.Inflate()
	if err == nil && c.ends > 1 {
		err = errors.New("more than one short flush")
	}
	return c.got.Bytes(), err
}

func deflate(t testing.TB, data []byte, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sample makes data of several kinds, which use all parts of the format.
func sample(r *rand.Rand, n int) []byte {
	words := strings.Fields("the of and a to in is you that it he was for on are as with his they I at be")
	var b []byte
	for len(b) < n {
		switch r.IntN(6) {
		case 0: // noise
			for range r.IntN(3000) {
				b = append(b, byte(r.Uint32()))
			}
		case 1: // runs
			b = append(b, bytes.Repeat([]byte{byte(r.Uint32())}, r.IntN(2000))...)
		case 2: // short periods
			p := make([]byte, 1+r.IntN(20))
			for i := range p {
				p[i] = byte(r.Uint32())
			}
			b = append(b, bytes.Repeat(p, r.IntN(100))...)
		case 3: // something from before
			if len(b) > 0 {
				from := max(0, len(b)-1-r.IntN(40_000))
				b = append(b, b[from:min(len(b), from+r.IntN(600))]...)
			}
		case 4: // few symbols, uneven
			for range r.IntN(4000) {
				b = append(b, byte(r.ExpFloat64()*6))
			}
		default:
			for range r.IntN(500) {
				b = append(append(b, words[r.IntN(len(words))]...), ' ')
			}
		}
	}
	return b[:n]
}

func TestInflate(t *testing.T) { eachWay(t, testInflate) }

func testInflate(t *testing.T, how way) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		data := sample(r, []int{0, 1, 100, 5000, 70_000, 300_000}[i%6])
		packed := deflate(t, data, []int{-2, -1, 0, 1, 6, 9}[r.IntN(6)])
		in, out := []int{1, 7, 16, 17, 1000, 4096, 1 << 20}[r.IntN(7)], []int{1024, 4096, 65536}[r.IntN(3)]
		got, err := decode(t, packed, in, out, how)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("round %d, chunks of %d and %d: %d bytes, %v; want %d bytes", i, in, out, len(got), err, len(data))
		}
	}
}

// compare holds the package against compress/flate in both directions. What is
// refused may have had other output before.
func compare(t *testing.T, packed []byte, in, out int, how way) {
	t.Helper()
	const limit = 1 << 20
	want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), limit))
	if len(want) == limit {
		return
	}
	c := &collector{size: out, max: limit}
	d, done := newDecoder(t, packed, in, c, how)
	defer done()
	gotErr := d.Inflate()
	if errors.Is(gotErr, errFull) {
		gotErr = nil
	}
	switch {
	case (wantErr == nil) != (gotErr == nil):
		t.Fatalf("%d bytes in chunks of %d: error %v, compress/flate's is %v", len(packed), in, gotErr, wantErr)
	case wantErr == nil && !bytes.Equal(want, c.got.Bytes()):
		t.Fatalf("%d bytes in chunks of %d: %d bytes, compress/flate has other %d", len(packed), in, c.got.Len(), len(want))
	case errors.Is(wantErr, io.ErrUnexpectedEOF) != errors.Is(gotErr, io.ErrUnexpectedEOF) && in >= len(packed):
		t.Logf("error %v, compress/flate's is %v", gotErr, wantErr)
	}
}

func TestInflateDamaged(t *testing.T) { eachWay(t, testInflateDamaged) }

func testInflateDamaged(t *testing.T, how way) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 3000 {
		packed := deflate(t, sample(r, 1+r.IntN(6000)), []int{-2, 0, 1, 6}[i%4])
		switch r.IntN(4) {
		case 0:
			packed = packed[:r.IntN(len(packed))]
		case 1:
			packed = append(packed, sample(r, r.IntN(40))...)
		default:
			for range 1 + r.IntN(3) {
				packed[r.IntN(min(len(packed), 1+r.IntN(len(packed))))] ^= 1 << r.IntN(8)
			}
		}
		compare(t, packed, 1+r.IntN([]int{20, 200, 8000}[i%3]), 1024+r.IntN(1024), how)
	}
}

func FuzzInflate(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 12 {
		f.Add(deflate(f, sample(r, 1+i*300), []int{-2, 0, 1, 6, 9}[i%5]), 13+i*50)
	}
	for range 2 {
		f.Add(randomStream(r, 1), 1000)
	}
	f.Add([]byte{0x03, 0x00}, 1)                   // fixed code, nothing in it
	f.Add([]byte{0x05, 0xe0, 0x81, 0x08, 0x00}, 1) // dynamic code
	f.Fuzz(func(t *testing.T, packed []byte, in int) {
		for _, how := range ways {
			compare(t, packed, 1+in&0xffff, 1024, how)
		}
	})
}

func gzipped(t testing.TB, data []byte, h gzip.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Header = h
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGunzip(t *testing.T) { eachWay(t, testGunzip) }

func testGunzip(t *testing.T, how way) {
	r := rand.New(rand.NewPCG(7, 8))
	one, two := sample(r, 100_000), sample(r, 3000)
	a := gzipped(t, one, gzip.Header{Name: "name", Comment: "comment", Extra: make([]byte, 300)})
	b := gzipped(t, two, gzip.Header{})
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, tt := range []struct {
		name     string
		packed   []byte
		want     []byte
		trailing bool
		err      error
	}{
		{"one member", a, one, false, nil},
		{"two members", join(a, b), join(one, two), false, nil},
		{"a window of its own", join(b, b), join(two, two), false, nil},
		{"empty members", join(gzipped(t, nil, gzip.Header{}), b, gzipped(t, nil, gzip.Header{})), two, false, nil},
		{"zeros after", join(b, make([]byte, 1000)), two, false, nil},
		{"one zero after", join(b, []byte{0}), two, false, nil},
		{"bytes after", join(b, []byte("bytes")), two, true, nil},
		{"one byte after", join(b, []byte{1}), two, true, nil},
		{"zeros and a byte after", join(b, make([]byte, 1000), []byte{1}), two, true, nil},
		{"half a magic after", join(b, b[:2]), two, true, nil},
		{"nothing", nil, nil, false, io.ErrUnexpectedEOF},
		{"no gzip", []byte("something else"), nil, false, inflate.ErrCorrupt},
		{"half a header", b[:7], nil, false, io.ErrUnexpectedEOF},
		{"half a name", a[:12], nil, false, io.ErrUnexpectedEOF},
		{"half a trailer", b[:len(b)-3], nil, false, io.ErrUnexpectedEOF},
		{"half a second header", join(b, b[:6]), nil, false, io.ErrUnexpectedEOF},
		{"second member cut", join(b, b[:100]), nil, false, io.ErrUnexpectedEOF},
	} {
		for _, size := range []int{1, 3, 100, 1 << 20} {
			c := &collector{size: 2048}
			d, done := newDecoder(t, tt.packed, size, c, how)
			trailing, err := d.Gunzip()
			done()
			if !errors.Is(err, tt.err) || trailing != tt.trailing || err == nil && !bytes.Equal(c.got.Bytes(), tt.want) {
				t.Errorf("%s, chunks of %d: %d bytes, trailing %v, %v; want %d, %v, %v",
					tt.name, size, c.got.Len(), trailing, err, len(tt.want), tt.trailing, tt.err)
			}
		}
	}
}

// Matches must not reach into the member before.
func TestGunzipWindow(t *testing.T) { eachWay(t, testGunzipWindow) }

func testGunzipWindow(t *testing.T, how way) {
	first := gzipped(t, []byte("something to refer to"), gzip.Header{})
	// A fixed block: match of length 3, distance 1, as the first symbol.
	second := append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3}, 0x03, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	c := &collector{size: 2048}
	d, done := newDecoder(t, append(first, second...), 1<<20, c, how)
	defer done()
	_, err := d.Gunzip()
	if !errors.Is(err, inflate.ErrCorrupt) {
		t.Errorf("error %v, want ErrCorrupt", err)
	}
}
