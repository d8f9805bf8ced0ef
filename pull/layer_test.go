package pull_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/pull"
)

// noise returns n bytes that do not compress, the same for one seed.
func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// words returns n bytes that compress like text.
func words(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 2))
	list := strings.Fields("the of and a to in is you that it he was for on are as with his they I at be this have from")
	var b bytes.Buffer
	for b.Len() < n {
		b.WriteString(list[r.IntN(len(list))])
		b.WriteByte(' ')
	}
	return b.Bytes()[:n]
}

func readLayer(t testing.TB, l *pull.Layer, o pull.OpenOptions) ([]byte, error) {
	t.Helper()
	r, err := l.Open(t.Context(), o)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if err := r.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	return data, err
}

// chunker is the zero-copy side of a layer's stream.
type chunker interface{ NextChunk() ([]byte, error) }

func TestLayerFormats(t *testing.T) {
	big := append(words(3<<20, 1), noise(1<<20, 2)...)
	skippable := append([]byte{0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0}, "abc"...)
	half := len(big) / 2
	for _, tt := range []struct {
		name      string
		mediaType string
		packed    []byte
		want      []byte
	}{
		{"gzip", ocispec.MediaTypeImageLayerGzip, gzipBytes(t, big), big},
		{"gzip of two members", ocispec.MediaTypeImageLayerGzip, append(gzipBytes(t, big[:half]), gzipBytes(t, big[half:])...), big},
		{"gzip with an empty member", ocispec.MediaTypeImageLayerGzip, append(gzipBytes(t, nil), gzipBytes(t, big)...), big},
		{"gzip with zero padding", ocispec.MediaTypeImageLayerGzip, append(gzipBytes(t, big), make([]byte, 200_000)...), big},
		{"gzip with trailing bytes", ocispec.MediaTypeImageLayerGzip, append(gzipBytes(t, big), "garbage"...), big},
		{"gzip with a wrong checksum", ocispec.MediaTypeImageLayerGzip, flip(-6)(gzipBytes(t, big)), big},
		{"gzip of nothing", ocispec.MediaTypeImageLayerGzip, gzipBytes(t, nil), []byte{}},
		{"zstd", ocispec.MediaTypeImageLayerZstd, zstdBytes(t, big), big},
		{"zstd of two frames", ocispec.MediaTypeImageLayerZstd, append(zstdBytes(t, big[:half]), zstdBytes(t, big[half:])...), big},
		{"zstd with skippable frames", ocispec.MediaTypeImageLayerZstd, bytes.Join([][]byte{skippable, zstdBytes(t, big), skippable}, nil), big},
		{"plain", ocispec.MediaTypeImageLayer, big, big},
		{"plain called gzip", ocispec.MediaTypeImageLayerGzip, big, big},
		{"gzip called plain", ocispec.MediaTypeImageLayer, gzipBytes(t, big), big},
		{"zstd called gzip", ocispec.MediaTypeImageLayerGzip, zstdBytes(t, big), big},
		{"plain that begins like gzip", ocispec.MediaTypeImageLayer, append([]byte{0x1f, 0x8b, 8}, big...), append([]byte{0x1f, 0x8b, 8}, big...)},
		{"an empty blob", ocispec.MediaTypeImageLayer, []byte{}, []byte{}},
		{"one byte", ocispec.MediaTypeImageLayer, []byte{7}, []byte{7}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBlobs(t)
			b.index(b.image(amd64(), layerBlob{tt.mediaType, tt.packed, tt.want}))
			l := b.mustResolve(&pull.Client{}).Layers[0]

			var keep bytes.Buffer
			got, err := readLayer(t, l, pull.OpenOptions{Keep: &keep})
			if err != nil || !bytes.Equal(got, tt.want) {
				t.Fatalf("Open: %d bytes, %v; want %d bytes", len(got), err, len(tt.want))
			}
			if !bytes.Equal(keep.Bytes(), tt.packed) {
				t.Errorf("Keep got %d bytes, want the %d of the blob", keep.Len(), len(tt.packed))
			}

			r, err := l.Open(t.Context(), pull.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = r.Close() }()
			var chunks []byte
			for {
				var c []byte
				if c, err = r.(chunker).NextChunk(); err != nil {
					break
				}
				chunks = append(chunks, c...)
			}
			if !errors.Is(err, io.EOF) || !bytes.Equal(chunks, tt.want) {
				t.Errorf("NextChunk: %d bytes, %v; want %d bytes", len(chunks), err, len(tt.want))
			}

			blob, err := l.Blob(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			raw, err := io.ReadAll(blob)
			if err != nil || !bytes.Equal(raw, tt.packed) {
				t.Errorf("Blob: %d bytes, %v; want %d bytes", len(raw), err, len(tt.packed))
			}
			if err := blob.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A stream that mixes Read, NextChunk and WriteTo loses nothing.
func TestLayerMixedReads(t *testing.T) {
	want := words(2<<20, 3)
	b := newBlobs(t)
	b.index(b.image(amd64(), gzipLayer(t, want)))
	r, err := b.mustResolve(&pull.Client{}).Layers[0].Open(t.Context(), pull.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	var got bytes.Buffer
	small := make([]byte, 1000)
	for i := range 300 {
		n, err := r.Read(small)
		if err != nil {
			t.Fatal(err)
		}
		got.Write(small[:n])
		if i%60 == 0 {
			c, err := r.(chunker).NextChunk()
			if err != nil {
				t.Fatal(err)
			}
			got.Write(c)
		}
	}
	if _, err := io.Copy(&got, r); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got %d bytes, want %d", got.Len(), len(want))
	}
	if n, err := r.Read(small); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("Read after the end: %d, %v; want 0, EOF", n, err)
	}
}

func TestLayerDamage(t *testing.T) {
	content := append(words(500_000, 4), noise(400_000, 5)...)
	for _, packing := range []struct {
		name   string
		packed []byte
	}{
		{"gzip", gzipBytes(t, content)},
		{"zstd", zstdBytes(t, content)},
		{"plain", content},
	} {
		n := len(packing.packed)
		for _, tt := range []struct {
			name    string
			change  func([]byte) []byte
			gotSize int64 // 0: the digest is what differs
		}{
			{"first byte", flip(0), 0},
			{"magic", flip(1), 0},
			{"middle", flip(n / 2), 0},
			{"last byte", flip(-1), 0},
			{"one byte short", cut(1), int64(n - 1)},
			{"half", cut(n / 2), int64(n - n/2)},
			{"nothing left", cut(n), -1},
			{"one byte more", extend("x"), int64(n + 1)},
			{"much more", extend(strings.Repeat("x", 1<<20)), int64(n + 1)},
		} {
			t.Run(packing.name+"/"+tt.name, func(t *testing.T) {
				b := newBlobs(t)
				b.index(b.image(amd64(), layerBlob{ocispec.MediaTypeImageLayerGzip, packing.packed, content}))
				l := b.mustResolve(&pull.Client{}).Layers[0]
				b.overwrite(l.Descriptor.Digest, tt.change)
				damaged := digest.FromBytes(tt.change(packing.packed))

				_, err := readLayer(t, l, pull.OpenOptions{})
				assertDamage(t, err, l, damaged, int64(n), tt.gotSize)
				blob, err := l.Blob(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				_, err = io.Copy(io.Discard, blob)
				assertDamage(t, err, l, damaged, int64(n), tt.gotSize)
				_ = blob.Close()

				b.overwrite(l.Descriptor.Digest, func([]byte) []byte { return packing.packed })
				if _, err := readLayer(t, l, pull.OpenOptions{}); err != nil {
					t.Errorf("Open again, after the repair: %v", err)
				}
			})
		}
	}
}

func assertDamage(t *testing.T, err error, l *pull.Layer, damaged digest.Digest, wantSize, gotSize int64) {
	t.Helper()
	var de *pull.DigestError
	var se *pull.SizeError
	switch {
	case gotSize == 0:
		want := pull.DigestError{Object: l.String(), Want: l.Descriptor.Digest, Got: damaged}
		if !errors.As(err, &de) || *de != want {
			t.Errorf("error %v, want %v", err, &want)
		}
	default:
		want := pull.SizeError{Object: l.String(), Want: wantSize, Got: max(gotSize, 0)}
		if !errors.As(err, &se) || *se != want {
			t.Errorf("error %v, want %v", err, &want)
		}
	}
}

func TestLayerWrongDiffID(t *testing.T) {
	content := words(600_000, 6)
	other := digest.FromString("something else")
	for _, packed := range [][]byte{gzipBytes(t, content), zstdBytes(t, content), content} {
		b := newBlobs(t)
		lb := layerBlob{ocispec.MediaTypeImageLayerGzip, packed, content}
		config := configFor(amd64(), lb)
		config.RootFS.DiffIDs[0] = other
		m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
		m.SchemaVersion = 2
		m.Config = b.putJSON(ocispec.MediaTypeImageConfig, config)
		m.Layers = []ocispec.Descriptor{b.put(lb.mediaType, packed)}
		b.index(b.putJSON(ocispec.MediaTypeImageManifest, m))
		l := b.mustResolve(&pull.Client{}).Layers[0]
		_, err := readLayer(t, l, pull.OpenOptions{})
		var de *pull.DigestError
		if !errors.As(err, &de) {
			t.Fatalf("error %v, want a DigestError", err)
		}
		if de.Want != other || de.Got != digest.FromBytes(content) || !strings.Contains(de.Object, "layer 1 of oci:") {
			t.Errorf("error %+v, want both diff IDs and the layer's name", de)
		}
	}
}

func TestLayerSHA512(t *testing.T) {
	content := words(300_000, 7)
	packed := gzipBytes(t, content)
	for _, tt := range []struct {
		name   string
		packed []byte
		diff   digest.Algorithm
	}{
		{"both", packed, digest.SHA512},
		{"digest only", packed, digest.SHA256},
		{"plain, both", content, digest.SHA512},
		{"plain, digest only", content, digest.SHA256},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, right := range []bool{true, false} {
				b := newBlobs(t)
				config := configFor(amd64())
				diffID := tt.diff.FromBytes(content)
				if !right {
					diffID = tt.diff.FromString("other")
				}
				config.RootFS.DiffIDs = []digest.Digest{diffID}
				m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
				m.SchemaVersion = 2
				m.Config = b.putJSON(ocispec.MediaTypeImageConfig, config)
				d := digest.SHA512.FromBytes(tt.packed)
				b.write("blobs/sha512/"+d.Encoded(), tt.packed)
				m.Layers = []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: d, Size: int64(len(tt.packed))}}
				b.index(b.putJSON(ocispec.MediaTypeImageManifest, m))
				got, err := readLayer(t, b.mustResolve(&pull.Client{}).Layers[0], pull.OpenOptions{})
				var de *pull.DigestError
				if right && (err != nil || !bytes.Equal(got, content)) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				if !right && (!errors.As(err, &de) || de.Want != diffID || de.Got != tt.diff.FromBytes(content)) {
					t.Errorf("error %v, want a DigestError for the diff ID", err)
				}
			}
		})
	}
}

// A blob that is sound but does not decompress is malformed, not damaged.
func TestLayerMadeWrong(t *testing.T) {
	content := words(400_000, 8)
	z := gzipBytes(t, content)
	for name, packed := range map[string][]byte{
		"gzip cut":          z[:len(z)/2],
		"gzip header only":  z[:10],
		"gzip part header":  z[:5],
		"zstd cut":          zstdBytes(t, content)[:1000],
		"zstd then garbage": append(zstdBytes(t, content), "garbage"...),
		"bzip2 garbage":     []byte("BZh9 not really"),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBlobs(t)
			b.index(b.image(amd64(), layerBlob{ocispec.MediaTypeImageLayerGzip, packed, content}))
			_, err := readLayer(t, b.mustResolve(&pull.Client{}).Layers[0], pull.OpenOptions{})
			var fe *pull.FormatError
			if !errors.As(err, &fe) || !strings.Contains(fe.Object, "layer 1 of") {
				t.Errorf("error %v, want a FormatError that names the layer", err)
			}
		})
	}
	b := newBlobs(t)
	b.index(b.image(amd64(), layerBlob{ocispec.MediaTypeImageLayerGzip, []byte("\xfd7zXZ\x00....."), content}))
	_, err := readLayer(t, b.mustResolve(&pull.Client{}).Layers[0], pull.OpenOptions{})
	var ue *pull.UnsupportedError
	if !errors.As(err, &ue) || !strings.Contains(ue.What, "xz") {
		t.Errorf("xz: error %v, want an UnsupportedError", err)
	}
}

func TestLayerRatio(t *testing.T) {
	bomb := make([]byte, 8<<20)
	for name, packed := range map[string][]byte{"gzip": gzipBytes(t, bomb), "zstd": zstdBytes(t, bomb)} {
		b := newBlobs(t)
		b.index(b.image(amd64(), layerBlob{ocispec.MediaTypeImageLayerGzip, packed, bomb}))
		c := &pull.Client{Limits: pull.Limits{Ratio: 100, RatioFloor: 1 << 20}}
		got, err := readLayer(t, b.mustResolve(c).Layers[0], pull.OpenOptions{})
		var le *pull.LimitError
		if !errors.As(err, &le) || le.Limit != "Ratio" || le.Max != 100 || le.Got < 100 {
			t.Errorf("%s: error %v, want a LimitError of Ratio", name, err)
		}
		if len(got) > 3<<20 {
			t.Errorf("%s: %d bytes came through before the limit", name, len(got))
		}
		c = &pull.Client{Limits: pull.Limits{Ratio: 100}}
		if _, err := readLayer(t, b.mustResolve(c).Layers[0], pull.OpenOptions{}); err != nil {
			t.Errorf("%s: below the floor: %v", name, err)
		}
	}
}

func TestLayerZstdWindow(t *testing.T) {
	content := noise(3<<20, 9)
	b := newBlobs(t)
	b.index(b.image(amd64(), layerBlob{ocispec.MediaTypeImageLayerZstd, zstdBytes(t, content), content}))
	c := &pull.Client{Limits: pull.Limits{ZstdWindow: 1 << 20}}
	_, err := readLayer(t, b.mustResolve(c).Layers[0], pull.OpenOptions{})
	var le *pull.LimitError
	if !errors.As(err, &le) || le.Limit != "ZstdWindow" || le.Max != 1<<20 || le.Object == "" {
		t.Errorf("error %v, want a LimitError of ZstdWindow", err)
	}
}

var errDisk = errors.New("disk full")

// failingWriter fails after n bytes.
type failingWriter struct{ n int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.n -= len(p); w.n < 0 {
		return 0, errDisk
	}
	return len(p), nil
}

func TestLayerKeepFails(t *testing.T) {
	content := noise(5<<20, 10)
	for _, room := range []int{0, 1 << 20, 5 << 20} { // the last fails on the last block
		b := newBlobs(t)
		b.index(b.image(amd64(), gzipLayer(t, content)))
		_, err := readLayer(t, b.mustResolve(&pull.Client{}).Layers[0], pull.OpenOptions{Keep: &failingWriter{room}})
		if !errors.Is(err, errDisk) {
			t.Errorf("room for %d bytes: error %v, want that of Keep", room, err)
		}
	}
}

// settle waits until no more goroutines run than before.
func settle(t *testing.T, before int) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if runtime.NumGoroutine() <= before {
			return
		}
	}
	buf := make([]byte, 1<<16)
	t.Errorf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
}

// Goroutines end with the stream, wherever it is left.
func TestLayerCloseEarly(t *testing.T) {
	content := append(words(3<<20, 11), noise(3<<20, 12)...)
	for _, packed := range [][]byte{gzipBytes(t, content), zstdBytes(t, content), content} {
		b := newBlobs(t)
		b.index(b.image(amd64(), layerBlob{ocispec.MediaTypeImageLayerGzip, packed, content}))
		l := b.mustResolve(&pull.Client{}).Layers[0]
		before := runtime.NumGoroutine()
		for _, n := range []int64{0, 300_000, 5 << 20, int64(len(content))} {
			r, err := l.Open(t.Context(), pull.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, r, n); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(r.Close(), r.Close()); err != nil {
				t.Error(err)
			}
			if n, err := r.Read(make([]byte, 10)); n != 0 || err == nil || errors.Is(err, io.EOF) {
				t.Errorf("Read after Close: %d, %v", n, err)
			}
			settle(t, before)
		}
	}
}

func TestLayerCancel(t *testing.T) {
	content := noise(6<<20, 13)
	b := newBlobs(t)
	b.index(b.image(amd64(), gzipLayer(t, content)))
	l := b.mustResolve(&pull.Client{}).Layers[0]
	before := runtime.NumGoroutine()
	for _, n := range []int64{0, 1 << 20, 5 << 20} {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := l.Open(ctx, pull.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, r, n); err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
			t.Errorf("after %d bytes: error %v, want context.Canceled", n, err)
		}
		settle(t, before) // even before Close
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A blob whose beginning is there is fetched from there on, and verified whole.
func TestLayerResume(t *testing.T) {
	content := append(words(500_000, 20), noise(900_000, 21)...)
	packed := gzipBytes(t, content)
	b := newBlobs(t)
	b.index(b.image(amd64(), layerBlob{ocispec.MediaTypeImageLayerGzip, packed, content}))
	l := b.mustResolve(&pull.Client{}).Layers[0]
	for _, n := range []int{0, 1, 300_000, 256 << 10, len(packed) - 1, len(packed)} {
		var keep bytes.Buffer
		got, err := readLayer(t, l, pull.OpenOptions{Have: bytes.NewReader(packed[:n]), Keep: &keep})
		if err != nil || !bytes.Equal(got, content) || !bytes.Equal(keep.Bytes(), packed[n:]) {
			t.Errorf("Open with %d bytes: %d and %d bytes kept, %v", n, len(got), keep.Len(), err)
		}
		keep.Reset()
		err = l.Fetch(t.Context(), pull.OpenOptions{Have: iotest.HalfReader(bytes.NewReader(packed[:n])), Keep: &keep})
		if err != nil || !bytes.Equal(keep.Bytes(), packed[n:]) {
			t.Errorf("Fetch with %d bytes: %d bytes kept, %v", n, keep.Len(), err)
		}
	}
	var de *pull.DigestError
	for _, have := range [][]byte{flip(5)(packed[:400_000]), append(bytes.Clone(packed[:len(packed)-1]), "xx"...)} {
		if err := l.Fetch(t.Context(), pull.OpenOptions{Have: bytes.NewReader(have)}); !errors.As(err, &de) || de.Want != l.Descriptor.Digest {
			t.Errorf("wrong beginning: error %v, want a DigestError", err)
		}
	}
	if err := l.Fetch(t.Context(), pull.OpenOptions{Have: iotest.ErrReader(errDisk)}); !errors.Is(err, errDisk) {
		t.Errorf("error %v, want that of Have", err)
	}
	// What is there is not asked for again.
	b.overwrite(l.Descriptor.Digest, flip(100))
	if err := l.Fetch(t.Context(), pull.OpenOptions{Have: bytes.NewReader(packed[:1000])}); err != nil {
		t.Errorf("the beginning was read from the source: %v", err)
	}
	if err := l.Fetch(t.Context(), pull.OpenOptions{}); !errors.As(err, &de) {
		t.Errorf("error %v, want a DigestError", err)
	}
}

// brokenWriter fails as a connection does that the other side closed.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) {
	return 0, &pull.UnreachableError{Host: "example.com", Err: fmt.Errorf("read: %w", io.EOF)}
}

// io.EOF says that a layer is whole. An error that wraps it says no such thing.
func TestLayerFailureIsNoEOF(t *testing.T) {
	content := noise(1<<20, 22)
	b := newBlobs(t)
	b.index(b.image(amd64(), gzipLayer(t, content)))
	l := b.mustResolve(&pull.Client{}).Layers[0]
	check := func(what string, err error) {
		t.Helper()
		var ue *pull.UnreachableError
		if err == nil || errors.Is(err, io.EOF) || !errors.As(err, &ue) {
			t.Errorf("%s: error %v, is io.EOF: %v", what, err, errors.Is(err, io.EOF))
		}
	}
	for _, o := range []pull.OpenOptions{
		{Keep: brokenWriter{}},
		{Have: iotest.ErrReader(&pull.UnreachableError{Err: io.EOF})},
	} {
		_, err := readLayer(t, l, o)
		check("ReadAll", err)
		check("Fetch", l.Fetch(t.Context(), o))
		r, err := l.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, r)
		check("Copy", err)
		_ = r.Close()
	}
}
