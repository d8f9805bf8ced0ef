package serve

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
)

// Kind says how a source stores its images.
type Kind string

// The kinds of sources. Detect looks at the path: a directory is a layout, a
// file is an archive of whichever kind its members show.
const (
	Detect        Kind = ""
	OCI           Kind = "oci"
	OCIArchive    Kind = "oci-archive"
	DockerArchive Kind = "docker-archive"
)

// Source names images to serve.
type Source struct {
	// Name is the repository, with or without a tag, to serve the images
	// under; empty to derive it from the images' own names.
	Name string
	Kind Kind
	Path string
	// Ref restricts the source to the image with this name.
	Ref string
}

// NoImageError reports a source without an image, or without one called Ref.
type NoImageError struct{ Ref string }

func (e *NoImageError) Error() string {
	if e.Ref == "" {
		return "find image: it has none"
	}
	return fmt.Sprintf("find image: nothing in it has the name %q", e.Ref)
}

// Is makes the error an [fs.ErrNotExist].
func (*NoImageError) Is(target error) bool { return target == fs.ErrNotExist }

// FormatError reports a file that is no archive of images.
type FormatError struct {
	Path string
	Err  error
}

func (e *FormatError) Error() string { return "read archive " + e.Path + ": " + e.Err.Error() }

func (e *FormatError) Unwrap() error { return e.Err }

// SourceError says why a source argument cannot be understood.
type SourceError struct {
	Input  string
	Reason string
}

func (e *SourceError) Error() string {
	return fmt.Sprintf("parse source %q: %s; a source is [NAME[:TAG]=]PATH or "+
		"[NAME[:TAG]=]oci:DIR[:TAG], oci-archive:FILE[:TAG] or docker-archive:FILE[:REF]", e.Input, e.Reason)
}

// Grammar of the distribution specification, section "Pulling manifests".
var (
	repositoryName = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagName        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// maxRepositoryName is what common registries and clients accept.
const maxRepositoryName = 255

func validRepository(s string) bool {
	return len(s) <= maxRepositoryName && repositoryName.MatchString(s)
}

// ParseSource reads one source argument. The part before the first "=" is a
// name if it has the form of one and is no transport; so a path with an "="
// in it is written with its transport or with "./" in front.
func ParseSource(s string) (Source, error) {
	var src Source
	rest := s
	if name, after, ok := strings.Cut(s, "="); ok && isName(name) {
		src.Name, rest = name, after
	}
	for _, kind := range []Kind{OCI, OCIArchive, DockerArchive} {
		if after, ok := strings.CutPrefix(rest, string(kind)+":"); ok {
			src.Kind = kind
			// The first colon ends the path, as it does for skopeo: what
			// follows may be a full reference with colons of its own.
			rest, src.Ref, _ = strings.Cut(after, ":")
			break
		}
	}
	if rest == "" {
		return Source{}, &SourceError{Input: s, Reason: "the path is missing"}
	}
	src.Path = rest
	return src, nil
}

// isName tells whether s, found before a "=", is a repository with or without
// a tag rather than the start of a path.
func isName(s string) bool {
	repository, tag, tagged := strings.Cut(s, ":")
	switch Kind(repository) {
	case OCI, OCIArchive, DockerArchive:
		return !tagged
	}
	return validRepository(repository) && (!tagged || tagName.MatchString(tag))
}

// target says where one image of a source is served: repository and tag, the
// tag empty if it is reachable by digest only.
func (s Source) target(refName string) (repository, tag string, err error) {
	repository, tag = splitRef(refName)
	if repository == "" {
		repository = baseName(s.Path)
	}
	if s.Name != "" {
		name, nameTag, tagged := strings.Cut(s.Name, ":")
		repository = name
		if tagged {
			tag = nameTag
		}
	}
	if !validRepository(repository) || tag != "" && !tagName.MatchString(tag) {
		return "", "", fmt.Errorf("serve %s: the image name %q is no repository and tag of a registry; "+
			"name it with NAME=%s", s.Path, refName, s.Path)
	}
	return repository, tag, nil
}

// splitRef takes an image's own name apart. Layouts write anything from a bare
// tag to a full reference; a host in front is dropped, since this registry
// takes its place.
func splitRef(refName string) (repository, tag string) {
	if refName == "" {
		return "", "latest"
	}
	if tagName.MatchString(refName) {
		return "", refName
	}
	name, _, _ := strings.Cut(refName, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, tag = name[:i], name[i+1:]
	}
	if host, path, ok := strings.Cut(name, "/"); ok && (strings.ContainsAny(host, ".:") || host == "localhost") {
		name = path
	}
	if tag == "" && !strings.Contains(refName, "@") {
		tag = "latest"
	}
	return name, tag
}

// archiveSuffix says what a file is, which is no part of a name.
var archiveSuffix = regexp.MustCompile(`\.(tar|tar\.(gz|zst|bz2|xz)|tgz|tbz2?|txz)$`)

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// baseName makes a repository name of a path's last element.
func baseName(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	base := strings.ToLower(filepath.Base(path))
	base = archiveSuffix.ReplaceAllString(base, "")
	base = strings.Trim(notInName.ReplaceAllString(base, "-"), "-")
	if base == "" {
		return "image"
	}
	return base
}
