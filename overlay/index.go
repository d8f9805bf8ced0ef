package overlay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const indexRemedy = "move it away and pull the images again; unpacked layers are kept"

// readIndex reads index.json. A store without one has no images.
func (s *Store) readIndex() (ocispec.Index, error) {
	path := s.layout.index()
	raw, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newIndex(), nil
	}
	if err != nil {
		return ocispec.Index{}, fmt.Errorf("read index: %w", withRemedy(err, indexRemedy))
	}
	var idx ocispec.Index
	if err := json.Unmarshal(raw, &idx); err != nil {
		return ocispec.Index{}, &CorruptError{Path: path, Reason: "not JSON: " + err.Error(), Remedy: indexRemedy}
	}
	switch {
	case idx.SchemaVersion != 2:
		return ocispec.Index{}, &CorruptError{
			Path: path, Reason: fmt.Sprintf("schemaVersion is %d, expected 2", idx.SchemaVersion), Remedy: indexRemedy,
		}
	case idx.MediaType != "" && idx.MediaType != ocispec.MediaTypeImageIndex:
		return ocispec.Index{}, &CorruptError{
			Path: path, Reason: fmt.Sprintf("mediaType is %q, expected %q", idx.MediaType, ocispec.MediaTypeImageIndex),
			Remedy: indexRemedy,
		}
	}
	for i, d := range idx.Manifests {
		if err := d.Digest.Validate(); err != nil {
			return ocispec.Index{}, &CorruptError{
				Path: path, Reason: fmt.Sprintf("digest of entry %d: %v", i+1, err), Remedy: indexRemedy,
			}
		}
	}
	return idx, nil
}

func newIndex() ocispec.Index {
	return ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{},
	}
}

// updateIndex changes index.json under its lock.
func (s *Store) updateIndex(ctx context.Context, change func(*ocispec.Index) error) error {
	lock, err := lockDir(ctx, s.layout.indexLock(), true)
	if err != nil {
		return fmt.Errorf("lock index: %w", err)
	}
	defer func() { _ = lock.Close() }()
	idx, err := s.readIndex()
	if err != nil {
		return err
	}
	if err := change(&idx); err != nil {
		return err
	}
	return s.writeIndex(idx)
}

func (s *Store) writeIndex(idx ocispec.Index) error {
	raw, err := json.Marshal(idx)
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return s.writeFile(s.layout.index(), raw, 0o644)
}

// initIndex writes the empty index that an OCI image layout must have.
func (s *Store) initIndex(ctx context.Context) error {
	lock, err := lockDir(ctx, s.layout.indexLock(), true)
	if err != nil {
		return fmt.Errorf("lock index: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if _, err := readSmall(s.layout.index()); !errors.Is(err, fs.ErrNotExist) {
		return err // another process was first
	}
	return s.writeIndex(newIndex())
}
