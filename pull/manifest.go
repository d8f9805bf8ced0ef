package pull

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A manifestDoc is a parsed manifest or index; one of Index and Manifest is set.
type manifestDoc struct {
	Kind      docKind
	MediaType string
	Index     ocispec.Index
	Manifest  ocispec.Manifest
}

// parseManifest reads raw as a manifest or an index. declared is what the
// parent's descriptor, or failing that the Content-Type, says it is. Documents
// that can be read in two ways are refused (CVE-2021-41190): the kind by media
// type and the kind by content have to be the same one, and the media types
// that are stated have to be equal.
func parseManifest(object string, raw []byte, declared string) (*manifestDoc, error) {
	fail := func(format string, a ...any) (*manifestDoc, error) {
		return nil, &FormatError{Object: object, Reason: fmt.Sprintf(format, a...)}
	}
	keys, err := topKeys(raw)
	if err != nil {
		return fail("malformed manifest: %v", err)
	}
	var head struct {
		SchemaVersion int    `json:"schemaVersion"`
		MediaType     string `json:"mediaType"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return fail("malformed manifest: %v", err)
	}
	if slices.Contains(keys, "rootfs") && !slices.Contains(keys, "layers") && !slices.Contains(keys, "manifests") {
		return fail("it is an image's config, which the image's ID names, and no manifest; give the manifest's digest")
	}
	shape, err := kindOfKeys(keys)
	if err != nil {
		return fail("%v", err)
	}
	switch shape {
	case kindSchema1:
		return nil, &UnsupportedError{Object: object, What: schema1Advice}
	case kindUnknown:
		if head.MediaType == mediaOCIArtifact {
			return nil, &UnsupportedError{Object: object, What: artifactAdvice + " (an OCI artifact manifest)"}
		}
		return fail("neither a manifest nor an index: it has no config, no layers and no manifests")
	}
	mediaType, err := agreeMedia(bareMedia(declared), head.MediaType, shape)
	if err != nil {
		return fail("%v", err)
	}
	if v := head.SchemaVersion; v != 2 && v != 0 {
		return fail("schema version %d where 2 is expected", v)
	}
	doc := &manifestDoc{Kind: shape, MediaType: mediaType}
	if shape == kindIndex {
		err = json.Unmarshal(raw, &doc.Index)
	} else {
		err = json.Unmarshal(raw, &doc.Manifest)
	}
	if err != nil {
		return fail("malformed manifest: %v", err)
	}
	return doc, nil
}

// agreeMedia returns the media type of a document of the given shape, or why
// the declared one, the document's own and its content contradict each other.
func agreeMedia(declared, own string, shape docKind) (string, error) {
	dk, ok := kindOfMedia(declared), kindOfMedia(own)
	switch {
	case own != "" && dk != kindUnknown && own != declared:
		return "", fmt.Errorf("it was announced as %s and says of itself %s", declared, own)
	case dk != kindUnknown && dk != shape:
		return "", fmt.Errorf("it was announced as %s and has the content of %s", declared, shapeName(shape))
	case ok != kindUnknown && ok != shape:
		return "", fmt.Errorf("it says of itself %s and has the content of %s", own, shapeName(shape))
	case own != "" && ok == kindUnknown:
		return "", fmt.Errorf("its media type %q is not that of a manifest or an index", own)
	case own != "":
		return own, nil
	case dk != kindUnknown:
		return declared, nil
	case shape == kindIndex:
		return ocispec.MediaTypeImageIndex, nil
	}
	return ocispec.MediaTypeImageManifest, nil
}

func shapeName(k docKind) string {
	switch k {
	case kindIndex:
		return "an index"
	case kindManifest:
		return "a manifest"
	case kindSchema1:
		return "a schema 1 manifest"
	}
	return "nothing known"
}

// kindOfKeys tells by a document's members what it is, and refuses those that
// are several things at once.
func kindOfKeys(keys []string) (docKind, error) {
	var kinds []docKind
	for _, k := range []struct {
		kind    docKind
		members []string
	}{
		{kindIndex, []string{"manifests"}},
		{kindManifest, []string{"layers", "config"}},
		{kindSchema1, []string{"fsLayers", "history"}},
	} {
		if slices.ContainsFunc(k.members, func(m string) bool { return slices.Contains(keys, m) }) {
			kinds = append(kinds, k.kind)
		}
	}
	switch len(kinds) {
	case 0:
		return kindUnknown, nil
	case 1:
		return kinds[0], nil
	}
	return kindUnknown, fmt.Errorf("it can be read both as %s and as %s, which is refused", shapeName(kinds[0]), shapeName(kinds[1]))
}

// watchedKeys are the members that decide how a document is read.
var watchedKeys = []string{"schemaVersion", "mediaType", "manifests", "layers", "config", "fsLayers", "history"}

// topKeys lists the members of a JSON object. One of watchedKeys that occurs
// twice, or in other letter case, is an error: JSON readers disagree on which
// one counts.
func topKeys(raw []byte) ([]string, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil {
		return nil, err
	} else if t != json.Delim('{') {
		return nil, fmt.Errorf("not a JSON object")
	}
	var keys []string
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, ok := t.(string)
		if !ok {
			return nil, fmt.Errorf("not a JSON object")
		}
		for _, w := range watchedKeys {
			if !strings.EqualFold(w, key) {
				continue
			}
			if key != w {
				return nil, fmt.Errorf("member %q is spelled %q", w, key)
			}
			if slices.Contains(keys, key) {
				return nil, fmt.Errorf("member %q occurs twice", key)
			}
		}
		keys = append(keys, key)
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// checkManifest validates what Resolve relies on before any blob is read.
func checkManifest(object string, m *ocispec.Manifest, lim Limits) error {
	if !runnableConfig(m.Config.MediaType) {
		return &UnsupportedError{Object: object, What: describeArtifact(*m)}
	}
	if n := len(m.Layers); n > lim.Layers {
		return &LimitError{Object: object, Limit: "Layers", Max: int64(lim.Layers), Got: int64(n)}
	}
	if err := checkDescriptor("the config of "+object, m.Config); err != nil {
		return err
	}
	for i, d := range m.Layers {
		name := fmt.Sprintf("layer %d of %s", i+1, object)
		if err := checkLayerMedia(name, d.MediaType); err != nil {
			return err
		}
		if err := checkDescriptor(name, d); err != nil {
			return err
		}
	}
	return nil
}

// checkDescriptor validates a descriptor's digest and size.
func checkDescriptor(object string, d ocispec.Descriptor) error {
	if err := validDigest(object, d.Digest); err != nil {
		return err
	}
	if d.Size < 0 {
		return &FormatError{Object: object, Reason: fmt.Sprintf("its descriptor has the negative size %d", d.Size)}
	}
	return nil
}

// validDigest accepts sha256 and sha512, the algorithms that the image-spec
// registers and every registry has.
func validDigest(object string, d digest.Digest) error {
	if d == "" {
		return &FormatError{Object: object, Reason: "its descriptor has no digest"}
	}
	algorithm, _, _ := strings.Cut(string(d), ":")
	if algorithm != string(digest.SHA256) && algorithm != string(digest.SHA512) {
		return &FormatError{Object: object, Reason: fmt.Sprintf("digest %q is neither sha256 nor sha512", d)}
	}
	if err := d.Validate(); err != nil {
		return &FormatError{Object: object, Reason: fmt.Sprintf("malformed digest %q", d)}
	}
	return nil
}
