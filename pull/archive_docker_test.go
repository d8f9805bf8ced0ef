package pull

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
)

// countingFile counts the bytes that are read of it.
type countingFile struct {
	*bytes.Reader
	read atomic.Int64
}

func (f *countingFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.Reader.ReadAt(p, off)
	f.read.Add(int64(n))
	return n, err
}

// TestOneEntryManyLayers: an archive whose list names one compressed entry for
// each of many layers has it read once for its digest.
func TestOneEntryManyLayers(t *testing.T) {
	const layers, size = 100, 1 << 20
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	put := func(name string, data []byte) {
		t.Helper()
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	list := func(v string) []string {
		var all []string
		for range layers {
			all = append(all, v)
		}
		return all
	}
	document := func(v any) []byte {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	put("layer.tar", append([]byte{0x1f, 0x8b, 0x08}, make([]byte, size)...)) // gzip, by its beginning
	put("config", document(map[string]any{"rootfs": map[string]any{"diff_ids": list(digest.FromString("").String())}}))
	put("manifest.json", document([]dockerImage{{Config: "config", Layers: list("layer.tar")}}))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := &countingFile{Reader: bytes.NewReader(buf.Bytes())}
	archive := &archiveFile{data: file, size: file.Size()}
	p, err := newArchiveProvider(t.Context(), archive, Reference{Transport: DockerArchive, Path: "x"}, "x", Limits{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	l, ok := p.(lister)
	if !ok {
		t.Fatalf("%T lists nothing", p)
	}
	if _, err := l.list(context.Background(), ""); err != nil {
		t.Fatal(err)
	}
	if n := file.read.Load(); n > 2*size {
		t.Errorf("%d bytes were read of an archive of %d", n, file.Size())
	}
}
