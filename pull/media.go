package pull

import (
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types beside those of the image-spec: Docker's image manifest
// version 2, schema 1 and 2.
const (
	mediaDockerList           = "application/vnd.docker.distribution.manifest.list.v2+json"
	mediaDockerManifest       = "application/vnd.docker.distribution.manifest.v2+json"
	mediaDockerConfig         = "application/vnd.docker.container.image.v1+json"
	mediaDockerPlugin         = "application/vnd.docker.plugin.v1+json"
	mediaDockerSchema1        = "application/vnd.docker.distribution.manifest.v1+json"
	mediaDockerSchema1Signed  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	annotationContainerdName  = "io.containerd.image.name"
	annotationReferenceType   = "vnd.docker.reference.type"
	platformUnknown           = "unknown"
	mediaOCIArtifact          = "application/vnd.oci.artifact.manifest.v1+json" // of image-spec 1.1's candidates, and not in it
	mediaHelmConfig           = "application/vnd.cncf.helm.config.v1+json"
	mediaWasmConfigPrefix     = "application/vnd.wasm.config."
	mediaInTotoLayer          = "application/vnd.in-toto+json"
	mediaCosignSignatureLayer = "application/vnd.dev.cosign.simplesigning.v1+json"
	mediaEncryptedSuffix      = "+encrypted"
	mediaOctetStream          = "application/octet-stream"
	schema1Advice             = "an image of Docker schema 1, which registries gave up years ago; pull and push it with an older docker to convert it"
	artifactAdvice            = "an artifact without a container to run"
)

// docKind is what a manifest-like document is.
type docKind int

const (
	kindUnknown docKind = iota
	kindIndex
	kindManifest
	kindSchema1
)

// kindOfMedia says what a media type announces; kindUnknown for all that are
// not about manifests, among them the generic ones some registries send.
func kindOfMedia(mediaType string) docKind {
	switch mediaType {
	case ocispec.MediaTypeImageIndex, mediaDockerList:
		return kindIndex
	case ocispec.MediaTypeImageManifest, mediaDockerManifest:
		return kindManifest
	case mediaDockerSchema1, mediaDockerSchema1Signed:
		return kindSchema1
	}
	return kindUnknown
}

// isConfig reports whether desc is of an image's config.
func isConfig(desc ocispec.Descriptor) bool {
	return desc.MediaType == ocispec.MediaTypeImageConfig || desc.MediaType == mediaDockerConfig
}

// bareMedia drops the parameters of a Content-Type ("; charset=utf-8").
func bareMedia(s string) string {
	s, _, _ = strings.Cut(s, ";")
	return strings.ToLower(strings.TrimSpace(s))
}

// runnableConfig says whether a config media type is an image's. Docker takes
// the generic ones for images too, since old registries sent nothing better.
func runnableConfig(mediaType string) bool {
	switch mediaType {
	case ocispec.MediaTypeImageConfig, mediaDockerConfig, mediaOctetStream, "application/json", "text/html", "":
		return true
	}
	return false
}

// describeArtifact says what a manifest that is no image is.
func describeArtifact(m ocispec.Manifest) string {
	switch {
	case m.Config.MediaType == mediaHelmConfig:
		return "a Helm chart, not a container image; use helm pull"
	case m.Config.MediaType == mediaDockerPlugin:
		return "a Docker plugin, not a container image"
	case strings.HasPrefix(m.Config.MediaType, mediaWasmConfigPrefix):
		return "a WebAssembly module, not a container image"
	case m.ArtifactType != "":
		return artifactAdvice + " (artifact type " + m.ArtifactType + ")"
	case m.Config.MediaType == ocispec.MediaTypeEmptyJSON:
		return artifactAdvice + " (its config is empty)"
	}
	return artifactAdvice + " (config of type " + m.Config.MediaType + ")"
}

// checkLayerMedia refuses what cannot be a tar of files. Anything that might
// be one passes: what it is shows in the bytes and is proven by the diff ID.
func checkLayerMedia(object, mediaType string) error {
	what := ""
	switch {
	case strings.HasSuffix(mediaType, mediaEncryptedSuffix):
		what = "the layer is encrypted (" + mediaType + "); decrypt the image first"
	case mediaType == mediaInTotoLayer:
		what = "an attestation (in-toto statements), not a container image"
	case mediaType == mediaCosignSignatureLayer:
		what = "a cosign signature, not a container image"
	case mediaType == "", mediaType == mediaOctetStream, strings.Contains(mediaType, "tar"):
	default:
		what = "the layer is not a tar of files (" + mediaType + ")"
	}
	if what != "" {
		return &UnsupportedError{Object: object, What: what}
	}
	return nil
}
