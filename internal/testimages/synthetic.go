package testimages

import (
	"archive/tar"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Synthetic is an image of files of one size, for measuring how time grows
// with the number of layers, files and bytes.
type Synthetic struct {
	Layers int
	Files  int   // in all layers together
	Bytes  int64 // in all files together
}

// filesPerDir is as many as directories of real images have at most, or so.
const filesPerDir = 200

// Write makes the image as an OCI layout in dir.
func (s Synthetic) Write(dir string) error {
	l, err := newLayout(dir)
	if err != nil {
		return err
	}
	text := pseudoText()
	for i := range s.Layers {
		err := l.layer("synthetic", false, func(w io.Writer) error { return s.layer(w, i, text) })
		if err != nil {
			return fmt.Errorf("make layer %d of %d: %w", i+1, s.Layers, err)
		}
	}
	return l.finish(ocispec.ImageConfig{Cmd: []string{"/none"}})
}

// layer writes the tar of the layer i, with its part of the files.
func (s Synthetic) layer(w io.Writer, i int, text []byte) error {
	t := tar.NewWriter(w)
	size := s.Bytes / int64(max(s.Files, 1))
	when := time.Unix(1_700_000_000, 0)
	// Like Docker, with the parents of what is there, and without the root.
	for _, dir := range []string{"srv/", fmt.Sprintf("srv/layer%d/", i)} {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: when}); err != nil {
			return err
		}
	}
	for n := i; n < s.Files; n += s.Layers {
		dir := fmt.Sprintf("srv/layer%d/%d/", i, n/s.Layers/filesPerDir)
		if n/s.Layers%filesPerDir == 0 {
			if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: when}); err != nil {
				return err
			}
		}
		h := &tar.Header{Name: fmt.Sprintf("%sfile%d", dir, n), Mode: 0o644, Size: size, ModTime: when}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		for left := size; left > 0; {
			part := text[int(left+int64(n))%4096:]
			part = part[:min(left, int64(len(part)))]
			if _, err := t.Write(part); err != nil {
				return err
			}
			left -= int64(len(part))
		}
	}
	return t.Close()
}

// pseudoText compresses about as well as programs do, to two fifths.
func pseudoText() []byte {
	r := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, 0, 8<<20)
	for len(text) < cap(text)-64 {
		if n := len(text); n > 1000 && r.IntN(3) > 0 {
			from := n - 1 - r.IntN(min(n-1, 30_000))
			text = append(text, text[from:min(n, from+4+r.IntN(20))]...)
			continue
		}
		for range 1 + r.IntN(8) {
			text = append(text, byte(r.NormFloat64()*30))
		}
	}
	return text
}
