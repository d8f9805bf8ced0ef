package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Image says what a bundle was made from. It is the bundle's image.json.
type Image struct {
	Reference string          `json:"reference"`       // in full, as docker.io/library/alpine:latest
	Platform  string          `json:"platform"`        // as linux/arm64/v8
	Index     digest.Digest   `json:"index,omitempty"` // where the reference named one
	Manifest  digest.Digest   `json:"manifest"`
	Config    digest.Digest   `json:"config"`
	Layers    []digest.Digest `json:"layers"`   // as in the manifest, base first
	DiffIDs   []digest.Digest `json:"diffIDs"`  // of the same layers, uncompressed
	ChainIDs  []digest.Digest `json:"chainIDs"` // of each layer on top of those before it
	RootFS    string          `json:"rootfs"`   // RootFSOverlay or RootFSFlat
	// Entrypoint is what config.json's process.args begins with and other
	// arguments leave as it is.
	Entrypoint []string `json:"entrypoint,omitempty"`
}

// Command returns the command line args, of the bundle's config.json, with other
// arguments behind the entrypoint. Args that do not begin with it, as where
// somebody has edited config.json, are replaced altogether.
func (i Image) Command(args, arguments []string) []string {
	if len(i.Entrypoint) > len(args) || !slices.Equal(i.Entrypoint, args[:len(i.Entrypoint)]) {
		return arguments
	}
	return slices.Concat(i.Entrypoint, arguments)
}

// The kinds of rootfs directory.
const (
	RootFSOverlay = "overlay" // a mount point for lower, upper and work
	RootFSFlat    = "flat"    // plain files
)

const imageFile = "image.json"

// imageFileLimit bounds image.json; a digest has some hundred bytes at most
// and an image some hundred layers.
const imageFileLimit = 4 << 20

// WriteImage writes image.json. It goes first into a new bundle, as it is what
// tells an interrupted bundle from a directory of somebody else's.
func WriteImage(dir string, img Image) error {
	data, err := marshal(img)
	if err != nil {
		return fmt.Errorf("write %s: %w", imageFile, err)
	}
	return writeFile(dir, imageFile, data, true)
}

// ReadImage reads a bundle's image.json. For a directory without one the error
// is fs.ErrNotExist.
func ReadImage(dir string) (Image, error) {
	var img Image
	data, err := tree{os.DirFS(dir)}.readFile(imageFile, imageFileLimit)
	name := filepath.Join(dir, imageFile)
	if err == nil && data == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		var re *RootError
		if errors.As(err, &re) {
			err = errors.New(expected(re.Want, re.Got, re.Err))
		}
		return img, fmt.Errorf("read %s: %w", name, err)
	}
	if err := json.Unmarshal(data, &img); err != nil {
		return img, fmt.Errorf("read %s: %w", name, err)
	}
	return img, nil
}
