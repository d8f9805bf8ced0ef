package inflate_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"strings"
	"testing"

	kgzip "github.com/klauspost/compress/gzip"

	"github.com/byhand/byhand/internal/inflate"
)

// benchData is what a layer is like: this test's own program, or the file that
// INFLATE_BENCH_FILE names, packed already if it ends in .gz.
func benchData(b *testing.B) (packed []byte, size int) {
	b.Helper()
	name := os.Getenv("INFLATE_BENCH_FILE")
	if name == "" {
		var err error
		if name, err = os.Executable(); err != nil {
			b.Fatal(err)
		}
	}
	data, err := os.ReadFile(name)
	if err != nil {
		b.Fatal(err)
	}
	if strings.HasSuffix(name, ".gz") {
		n, err := inflated(data)
		if err != nil {
			b.Fatal(err)
		}
		return data, n
	}
	data = data[:min(len(data), 24<<20)]
	return gzipped(b, data, gzip.Header{}), len(data)
}

// inflated is the size of gzip's content.
func inflated(packed []byte) (int, error) {
	r, err := kgzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, r)
	return int(n), err
}

// recycler is a sink that reuses two buffers.
type recycler struct {
	bufs [2][]byte
	next int
}

func (r *recycler) Next() ([]byte, error) {
	r.next ^= 1
	if r.bufs[r.next] == nil {
		r.bufs[r.next] = make([]byte, inflate.HistorySize+256<<10+inflate.Slack)
	}
	return r.bufs[r.next], nil
}

func (r *recycler) Flush([]byte, int) error { return nil }

// slicer hands out parts of a slice.
type slicer struct{ data []byte }

func (s *slicer) Next() []byte {
	n := min(len(s.data), 256<<10)
	if n == 0 {
		return nil
	}
	chunk := s.data[:n]
	s.data = s.data[n:]
	return chunk
}

func BenchmarkInflate(b *testing.B) {
	packed, size := benchData(b)
	b.Run("this", func(b *testing.B) {
		b.SetBytes(int64(size))
		sink := &recycler{}
		for b.Loop() {
			if _, err := inflate.NewDecoder(&slicer{packed}, sink).Gunzip(); err != nil {
				b.Fatal(err)
			}
		}
	})
	buf := make([]byte, 256<<10)
	read := func(b *testing.B, r io.Reader, err error) {
		for err == nil {
			_, err = io.ReadFull(r, buf)
		}
		if err != io.EOF && err != io.ErrUnexpectedEOF {
			b.Fatal(err)
		}
	}
	b.Run("klauspost", func(b *testing.B) {
		b.SetBytes(int64(size))
		for b.Loop() {
			r, err := kgzip.NewReader(bytes.NewReader(packed))
			read(b, r, err)
		}
	})
	b.Run("standard", func(b *testing.B) {
		b.SetBytes(int64(size))
		for b.Loop() {
			r, err := gzip.NewReader(bytes.NewReader(packed))
			read(b, r, err)
		}
	})
}
