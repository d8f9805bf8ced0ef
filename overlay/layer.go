package overlay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/unpack"
)

// Layer is one lower dir of the store.
type Layer struct {
	ChainID ChainID
	DiffID  DiffID
	Parent  ChainID // "" for a base layer
	Dir     string  // the lower dir, …/layers/CHAINID/diff
	Link    string  // the short link to it, …/l/SHORT
	Created time.Time
	Synced  bool // known to have reached the disk

	Counts  unpack.Counts
	Bytes   int64    // content bytes of its files
	TarSize int64    // bytes of its uncompressed tar
	Skipped []string // what could not be kept, one line each
}

// layerVersion is the version of layer.json.
const layerVersion = 1

// layerFile is layer.json. It is the last file written before a layer gets its
// final name.
type layerFile struct {
	Version int           `json:"version"`
	ChainID ChainID       `json:"chainId"`
	DiffID  DiffID        `json:"diffId"`
	Parent  ChainID       `json:"parent,omitempty"`
	Created time.Time     `json:"created"`
	Boot    string        `json:"boot"`   // the boot during which it was written
	Synced  bool          `json:"synced"` // everything was on the disk before this was set
	Counts  unpack.Counts `json:"counts"`
	Bytes   int64         `json:"bytes"`
	TarSize int64         `json:"tarSize"`
	Skipped []string      `json:"skipped,omitempty"`
	NotKept notKept       `json:"notKept,omitzero"`
}

// notKept says what the layer's directory lacks of what its tar says, so that
// it is not taken for damage.
type notKept struct {
	Attrs   []string `json:"xattrs,omitempty"` // names; as many as unpack.MostAttrs stand for all
	Devices bool     `json:"devices,omitempty"`
	Times   bool     `json:"times,omitempty"` // clamped
}

func (n *notKept) add(skip unpack.Skip) {
	switch skip.Kind {
	case unpack.SkipXattr:
		n.Attrs = skip.Attrs
	case unpack.SkipDevice:
		n.Devices = true
	case unpack.SkipTime:
		n.Times = true
	}
}

// merge adds what a layer below lacks: settling hands attributes of
// directories on.
func (n *notKept) merge(below notKept) {
	n.Attrs = append(slices.Clone(n.Attrs), below.Attrs...)
	n.Times = n.Times || below.Times
}

// lacks tells whether the attribute was refused when the layer was unpacked.
func (n *notKept) lacks(attr string) bool {
	return len(n.Attrs) >= unpack.MostAttrs || slices.Contains(n.Attrs, attr)
}

// Has reports whether the store has the layer and can trust it: it was
// verified, and nothing since can have damaged it unseen.
func (s *Store) Has(c ChainID) bool {
	_, err := s.load(c)
	return err == nil
}

// Layers returns the layers of an image, base first, from its diff IDs. A
// layer that is not there, or cannot be trusted, is a [MissingLayerError].
func (s *Store) Layers(diffIDs []digest.Digest) ([]Layer, error) {
	if err := validate(diffIDs); err != nil {
		return nil, err
	}
	layers := make([]Layer, 0, len(diffIDs))
	for _, c := range ChainIDs(diffIDs) {
		l, err := s.load(c)
		if err != nil {
			return nil, err
		}
		if err := s.ensureLink(c); err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	return layers, nil
}

// validate checks diff IDs before paths are made of them.
func validate(diffIDs []digest.Digest) error {
	for i, d := range diffIDs {
		if err := d.Validate(); err != nil {
			return &LayerError{Index: i + 1, DiffID: DiffID(d), Err: err}
		}
	}
	return nil
}

// load reads what is known of a layer. What cannot be trusted counts as
// missing.
func (s *Store) load(c ChainID) (Layer, error) {
	f, err := s.readLayerFile(c)
	if err != nil {
		return Layer{}, err
	}
	if s.inDoubt(f) {
		return Layer{}, &MissingLayerError{
			ChainID: c, Reason: "the machine was restarted before the layer was known to be on the disk",
		}
	}
	diff, err := os.Lstat(s.layout.diff(c))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Layer{}, fmt.Errorf("read layer: %w", err)
	}
	if err != nil || !diff.IsDir() {
		return Layer{}, &MissingLayerError{ChainID: c, Reason: "its directory is gone"}
	}
	return s.layerOf(f), nil
}

// readLayerFile reads a layer's record, whether it can be trusted or not.
func (s *Store) readLayerFile(c ChainID) (layerFile, error) {
	if err := c.Digest().Validate(); err != nil {
		return layerFile{}, &MissingLayerError{ChainID: c, Reason: err.Error()}
	}
	raw, err := readSmall(s.layout.layerJSON(c))
	if errors.Is(err, fs.ErrNotExist) {
		return layerFile{}, &MissingLayerError{ChainID: c, Reason: "not there"}
	}
	var corrupt *CorruptError
	if err != nil && !errors.As(err, &corrupt) {
		return layerFile{}, fmt.Errorf("read layer: %w", err)
	}
	var f layerFile
	if err == nil {
		err = json.Unmarshal(raw, &f)
	}
	switch {
	case err != nil, f.ChainID != c:
		// A power loss can leave an empty or foreign record.
		return layerFile{}, &MissingLayerError{ChainID: c, Reason: "its record is damaged"}
	case f.Version != layerVersion:
		return layerFile{}, &MissingLayerError{ChainID: c, Reason: fmt.Sprintf("its record has version %d, expected %d", f.Version, layerVersion)}
	}
	return f, nil
}

func (s *Store) layerOf(f layerFile) Layer {
	return Layer{
		ChainID: f.ChainID, DiffID: f.DiffID, Parent: f.Parent,
		Dir: s.layout.diff(f.ChainID), Link: s.layout.link(f.ChainID),
		Created: f.Created, Synced: f.Synced,
		Counts: f.Counts, Bytes: f.Bytes, TarSize: f.TarSize, Skipped: f.Skipped,
	}
}

// ensureLink makes the short link of a layer, or makes it right.
func (s *Store) ensureLink(c ChainID) error {
	path, want := s.layout.link(c), s.layout.linkTarget(c)
	if have, err := os.Readlink(path); err == nil && have == want {
		return nil
	}
	o, err := s.own()
	if err != nil {
		return err
	}
	temp := o.work(s.layout)
	if err := os.Symlink(want, temp); err != nil {
		return fmt.Errorf("link layer: %w", err)
	}
	if err := takePlace(temp, path); err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("link layer: %w", err)
	}
	return nil
}

// replaceFile replaces a file without waiting for the disk.
func (s *Store) replaceFile(path string, raw []byte) error {
	o, err := s.own()
	if err != nil {
		return err
	}
	temp := o.work(s.layout)
	err = writeNew(temp, raw, 0o644, false)
	if err == nil {
		err = takePlace(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
	}
	return err
}
