package testimages

import (
	_ "crypto/sha256" // go-digest finds its algorithms by import
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// layout is an OCI image layout in the making.
type layout struct {
	dir      string
	manifest ocispec.Manifest
	config   ocispec.Image
}

func newLayout(dir string) (*layout, error) {
	l := &layout{dir: dir}
	l.manifest.Versioned = specs.Versioned{SchemaVersion: 2}
	l.manifest.MediaType = ocispec.MediaTypeImageManifest
	l.config.Platform = ocispec.Platform{Architecture: runtime.GOARCH, OS: "linux"}
	l.config.RootFS.Type = "layers"
	return l, os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755)
}

// layer adds the one whose tar write makes.
func (l *layout) layer(createdBy string, useZstd bool, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(l.dir, "layer-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	mediaType := ocispec.MediaTypeImageLayerGzip
	packed, raw := digest.SHA256.Digester(), digest.SHA256.Digester()
	out := io.MultiWriter(f, packed.Hash())
	var packer io.WriteCloser = gzip.NewWriter(out)
	if useZstd {
		mediaType = ocispec.MediaTypeImageLayerZstd
		if packer, err = zstd.NewWriter(out); err != nil {
			return err
		}
	}
	if err = write(io.MultiWriter(packer, raw.Hash())); err != nil {
		return err
	}
	if err = packer.Close(); err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	if err = errors.Join(f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: packed.Digest(), Size: size}
	now := time.Now().UTC()
	l.manifest.Layers = append(l.manifest.Layers, d)
	l.config.RootFS.DiffIDs = append(l.config.RootFS.DiffIDs, raw.Digest())
	l.config.History = append(l.config.History, ocispec.History{Created: &now, CreatedBy: createdBy})
	return os.Rename(f.Name(), l.blobPath(d.Digest))
}

func (l *layout) blobPath(d digest.Digest) string {
	return filepath.Join(l.dir, "blobs", d.Algorithm().String(), d.Encoded())
}

func (l *layout) blobJSON(mediaType string, v any) (ocispec.Descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	return d, os.WriteFile(l.blobPath(d.Digest), data, 0o644)
}

// finish writes config, manifest, index and, last, the file that makes the
// directory a layout.
func (l *layout) finish(c ocispec.ImageConfig) error {
	now := time.Now().UTC()
	l.config.Created = &now
	l.config.Config = c
	config, err := l.blobJSON(ocispec.MediaTypeImageConfig, l.config)
	if err != nil {
		return err
	}
	l.manifest.Config = config
	root, err := l.blobJSON(ocispec.MediaTypeImageManifest, l.manifest)
	if err != nil {
		return err
	}
	root.Platform = &l.config.Platform
	root.Annotations = map[string]string{ocispec.AnnotationRefName: Tag}
	index, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{root},
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.dir, ocispec.ImageIndexFile), index, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.dir, ocispec.ImageLayoutFile), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
}

// Write makes an OCI image layout in dir of the given uncompressed layers, base
// first. It is one image for this machine, called Tag.
func Write(dir string, c ocispec.ImageConfig, layers ...[]byte) error {
	l, err := newLayout(dir)
	if err != nil {
		return err
	}
	for i, raw := range layers {
		err := l.layer(fmt.Sprintf("layer %d", i+1), i%2 == 1, func(w io.Writer) error {
			_, err := w.Write(raw)
			return err
		})
		if err != nil {
			return err
		}
	}
	return l.finish(c)
}
