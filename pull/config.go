package pull

import (
	"encoding/json"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// parseConfig reads an image config and checks it against its manifest. What
// is odd but harmless comes back as warnings.
func parseConfig(object string, raw []byte, m *ocispec.Manifest) (ocispec.Image, []string, error) {
	img, err := decodeConfig(raw)
	if err != nil {
		return img, nil, &FormatError{Object: object, Reason: fmt.Sprintf("malformed image config: %v", err)}
	}
	if img.OS != "" && img.OS != "linux" {
		return img, nil, &UnsupportedError{
			Object: object,
			What:   fmt.Sprintf("an image for %s, and only Linux containers can be made here", FormatPlatform(img.Platform)),
		}
	}
	if t := img.RootFS.Type; t != "" && t != "layers" {
		return img, nil, &UnsupportedError{Object: object, What: fmt.Sprintf("its root filesystem is of type %q, not layers", t)}
	}
	if got, want := len(img.RootFS.DiffIDs), len(m.Layers); got != want {
		return img, nil, &FormatError{
			Object: object,
			Reason: fmt.Sprintf("it lists %d diff IDs for the %d layers of the manifest", got, want),
		}
	}
	for i, d := range img.RootFS.DiffIDs {
		if err := validDigest(fmt.Sprintf("the diff ID of layer %d in %s", i+1, object), d); err != nil {
			return img, nil, err
		}
	}
	return img, historyWarnings(img), nil
}

// document is an image config as Docker reads it, too.
type document struct {
	ocispec.Image
	Config struct {
		ocispec.ImageConfig
		Entrypoint, Cmd command
	} `json:"config"`
}

// command is an array of strings, or the single string that early images have.
type command []string

func (c *command) UnmarshalJSON(raw []byte) error {
	if len(raw) == 0 || raw[0] != '"' {
		return json.Unmarshal(raw, (*[]string)(c))
	}
	var one string
	err := json.Unmarshal(raw, &one)
	if one != "" {
		*c = command{one}
	}
	return err
}

func decodeConfig(raw []byte) (ocispec.Image, error) {
	var d document
	err := json.Unmarshal(raw, &d)
	img := d.Image
	img.Config = d.Config.ImageConfig
	img.Config.Entrypoint, img.Config.Cmd = d.Config.Entrypoint, d.Config.Cmd
	return img, err
}

// historyWarnings compares the history with the layers. It is for display
// only, so that a difference is no reason to refuse an image.
func historyWarnings(img ocispec.Image) []string {
	if len(img.History) == 0 {
		return nil
	}
	n := 0
	for _, h := range img.History {
		if !h.EmptyLayer {
			n++
		}
	}
	if n == len(img.RootFS.DiffIDs) {
		return nil
	}
	return []string{fmt.Sprintf("its history speaks of %d layers, and there are %d", n, len(img.RootFS.DiffIDs))}
}
