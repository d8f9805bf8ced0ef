package pull

import (
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Transport is the kind of place that a [Reference] points to.
type Transport int

const (
	Registry      Transport = iota // a registry, over HTTP
	OCI                            // an OCI image layout directory
	OCIArchive                     // a tar file of one
	DockerArchive                  // a tar file as docker save writes it
)

// String returns the prefix that names t, without the colon.
func (t Transport) String() string {
	switch t {
	case Registry:
		return "docker"
	case OCI:
		return "oci"
	case OCIArchive:
		return "oci-archive"
	case DockerArchive:
		return "docker-archive"
	default:
		return "unknown"
	}
}

// Reference names an image. Which fields are set depends on the transport.
type Reference struct {
	Transport Transport

	// Registry: Host is docker.io, quay.io, localhost:5000, …; Repository is
	// the path on it. In a docker archive they are the parts of the name that
	// selects an image of several.
	Host, Repository string

	// Tag is the tag; in an OCI layout, its org.opencontainers.image.ref.name.
	// A registry reference has "latest" here when it has neither tag nor
	// digest. With a digest the digest decides, and the tag is for people.
	Tag string

	// Digest is the digest of the manifest or index, "" if not given.
	Digest digest.Digest

	// Path is the directory or file of the other transports; "-" is standard
	// input.
	Path string
}

// maxReference bounds what is parsed: a repository name has at most 255 bytes,
// a tag 128, a digest 7 + 128; paths maxPath.
const maxReference = 8192

// maxPath is Linux's PATH_MAX. A reference with such a path has a full form of
// less than maxReference bytes.
const maxPath = 4096

// ParseReference parses the name of an image:
//
//	alpine, alpine:3.20, quay.io/org/app@sha256:…, host:5000/app:tag@sha256:…
//	docker://NAME
//	oci:PATH[:TAG], oci:PATH@sha256:…
//	oci-archive:FILE[:TAG], oci-archive:FILE@sha256:…
//	docker-archive:FILE[:NAME[:TAG]]
//
// Names of registries are completed as Docker does. The error is a
// *ReferenceError.
func ParseReference(s string) (Reference, error) {
	ref, reason := parseReference(s)
	if reason != "" {
		if shown, ok := withoutLogin(s); ok {
			s, reason = shown, "a name has no login in it; give that with --creds or --creds-stdin"
		}
		if len(s) > maxPath {
			s = s[:64] + "…"
		}
		return Reference{}, &ReferenceError{Input: s, Reason: reason}
	}
	return ref, nil
}

// loginInName is what people know from addresses: USER:PASSWORD@HOST/NAME, where
// USER may be a mail address. Without a NAME the HOST has to look like one, as a
// tag and half a digest are no login.
var loginInName = regexp.MustCompile(`^((?:[A-Za-z]+://)?[^:/]*):.*@([^@/]+/.*|(?:localhost|[^@/:]*\.[^@/:]+)(?::[0-9]+)?)$`)

// withoutLogin takes the password out of a name, which would be read on a
// screen or in a log.
func withoutLogin(s string) (string, bool) {
	if t, _ := cutTransport(s); t != Registry {
		return s, false // of a path
	}
	m := loginInName.FindStringSubmatch(s)
	if m == nil {
		return s, false
	}
	return m[1] + ":…@" + m[2], true
}

func parseReference(s string) (Reference, string) {
	switch {
	case s == "":
		return Reference{}, "the name of an image is empty"
	case len(s) > maxReference:
		return Reference{}, "the name of an image is too long"
	case strings.ContainsRune(s, 0):
		return Reference{}, "the name of an image contains a zero byte"
	}
	if rest, ok := strings.CutPrefix(s, registryPrefix); ok {
		return parseName(rest)
	}
	switch t, rest := cutTransport(s); t {
	case Registry:
	case DockerArchive:
		return parseDockerArchive(rest)
	default:
		return parseLayout(t, rest)
	}
	if reason := foreignReason(s); reason != "" {
		return Reference{}, reason
	}
	return parseName(s)
}

const registryPrefix = "docker://"

// cutTransport tells by the beginning of s which transport is meant, and what
// follows. Without a transport's name that is Registry and s.
func cutTransport(s string) (t Transport, rest string) {
	for _, t := range []Transport{OCI, OCIArchive, DockerArchive} {
		if rest, ok := strings.CutPrefix(s, t.String()+":"); ok {
			return t, rest
		}
	}
	return Registry, s
}

// foreignReason says what to do about the transports of containers/image that
// this package has no use for. Taken for names they would be looked for on
// Docker Hub.
func foreignReason(s string) string {
	prefix, rest, _ := strings.Cut(s, ":")
	switch prefix {
	case "docker-daemon":
		return "the docker-daemon: transport is not supported; " +
			"write the image to a file with docker save -o FILE " + rest + " and use docker-archive:FILE"
	case "containers-storage":
		return "the containers-storage: transport is not supported; " +
			"write the image to a directory with skopeo copy " + s + " oci:DIR and use oci:DIR"
	case "dir":
		// dir:v1 may be a name with a tag, dir:5000/app one on a host.
		if strings.HasPrefix(rest, "/") || strings.HasPrefix(rest, ".") {
			return "the dir: transport is not supported; " +
				"write the image to an image layout with skopeo copy " + s + " oci:DIR and use oci:DIR"
		}
	}
	return ""
}

// parseName parses the name of an image of a registry.
func parseName(s string) (Reference, string) {
	named, err := reference.ParseDockerRef(s)
	if err != nil {
		return Reference{}, nameReason(s, err)
	}
	if reference.Domain(named) == "" {
		// What stands before the slash looks like a host and is none: 0_0.0/app.
		return Reference{}, "the name of a host has letters, digits, dots and inner hyphens; the form is [HOST/]NAME[:TAG][@DIGEST]"
	}
	ref := Reference{Host: reference.Domain(named), Repository: reference.Path(named)}
	if reason := portReason(ref.Host); reason != "" {
		return Reference{}, reason
	}
	// ParseDockerRef drops the tag of a name that has a digest too.
	if full, err := reference.ParseNormalizedNamed(s); err == nil {
		if t, ok := full.(reference.Tagged); ok {
			ref.Tag = t.Tag()
		}
	}
	if d, ok := named.(reference.Digested); ok {
		ref.Digest = d.Digest()
		if err := digestReason(ref.Digest); err != "" {
			return Reference{}, err
		}
	} else if ref.Tag == "" {
		ref.Tag = "latest"
	}
	if len(ref.Repository) > reference.RepositoryNameTotalLengthMax {
		return Reference{}, "the repository name is longer than 255 characters"
	}
	return ref, ""
}

// portReason wants a port that there can be, if the host has one.
func portReason(host string) string {
	i := strings.LastIndexByte(host, ':')
	if i < strings.LastIndexByte(host, ']') || i < 0 {
		return ""
	}
	if port, err := strconv.ParseUint(host[i+1:], 10, 16); err != nil || port == 0 {
		return "port " + host[i+1:] + " is none; ports are 1 to 65535"
	}
	return ""
}

// nameReason turns the parser's error into one that says what to do.
func nameReason(s string, err error) string {
	name, d, hasDigest := strings.Cut(s, "@")
	if hasDigest && digest.DigestRegexpAnchored.MatchString(d) {
		if reason := digestReason(digest.Digest(d)); reason != "" {
			return reason
		}
	}
	switch {
	case errors.Is(err, reference.ErrNameTooLong):
		return "the repository name is longer than 255 characters"
	case strings.Contains(err.Error(), "lowercase") && name != strings.ToLower(name):
		return "the repository name must be lower case: " + strings.ToLower(name)
	case strings.Contains(s, "://"):
		return "only docker:// may precede an image name; leave out http:// and https://"
	case strings.Contains(s, "@"):
		return "not an image name with a digest; the form is NAME@sha256:64 hexadecimal digits"
	default:
		return "not an image name; the form is [HOST/]NAME[:TAG][@DIGEST]"
	}
}

// digestReason wants an algorithm that this program can compute and the right
// number of digits.
func digestReason(d digest.Digest) string {
	switch err := d.Validate(); {
	case err == nil:
		return ""
	case errors.Is(err, digest.ErrDigestUnsupported):
		return "the digest algorithm is not supported; use sha256 or sha512"
	case errors.Is(err, digest.ErrDigestInvalidLength):
		return "the digest has the wrong length"
	default:
		return "malformed digest; the form is sha256:64 hexadecimal digits"
	}
}

// layoutTag is the grammar of org.opencontainers.image.ref.name (image-spec,
// annotations), also of full names with slashes and a port.
var layoutTag = regexp.MustCompile(`^[A-Za-z0-9]+([-._:@+/]+[A-Za-z0-9]+)*$`)

const pathTooLong = "the path is too long"

// parseLayout parses PATH[:TAG] or PATH@DIGEST. The path ends at the first
// colon: a tag may be a full name such as localhost:5000/app:1.
func parseLayout(t Transport, s string) (Reference, string) {
	ref := Reference{Transport: t}
	if i := strings.LastIndex(s, "@"); i >= 0 && looksLikeDigest(s[i+1:]) {
		ref.Digest = digest.Digest(s[i+1:])
		if reason := digestReason(ref.Digest); reason != "" {
			return Reference{}, reason
		}
		s = s[:i]
	}
	path, tag, tagged := strings.Cut(s, ":")
	ref.Path, ref.Tag = path, tag
	switch {
	case path == "":
		return Reference{}, "the path is missing; the form is " + t.String() + ":PATH[:TAG]"
	case len(path) > maxPath:
		return Reference{}, pathTooLong
	case tagged && !layoutTag.MatchString(tag):
		return Reference{}, "malformed tag of an image layout"
	}
	return ref, ""
}

// looksLikeDigest reports whether s is meant as a digest, be it well formed or
// not.
func looksLikeDigest(s string) bool {
	return digest.DigestRegexpAnchored.MatchString(s) ||
		strings.HasPrefix(s, "sha256:") || strings.HasPrefix(s, "sha512:")
}

// parseDockerArchive parses FILE[:NAME[:TAG]].
func parseDockerArchive(s string) (Reference, string) {
	path, name, named := strings.Cut(s, ":")
	ref := Reference{}
	if named {
		var reason string
		if ref, reason = parseName(name); reason != "" {
			return Reference{}, reason
		}
		if ref.Digest != "" {
			return Reference{}, "an image of a docker archive cannot be chosen by digest"
		}
	}
	switch {
	case path == "":
		return Reference{}, "the path is missing; the form is docker-archive:FILE[:NAME[:TAG]]"
	case len(path) > maxPath:
		return Reference{}, pathTooLong
	}
	ref.Transport, ref.Path = DockerArchive, path
	return ref, ""
}

// Name returns the repository in full, for example docker.io/library/alpine,
// or the path of the other transports.
func (r Reference) Name() string {
	if r.Transport == Registry {
		return r.Host + "/" + r.Repository
	}
	return r.Path
}

// String returns the full form, which ParseReference reads back.
func (r Reference) String() string {
	s := r.Name()
	switch r.Transport {
	case Registry:
		// A host may be called like a transport: oci:5000/app.
		if t, _ := cutTransport(s); t != Registry || foreignReason(s) != "" {
			s = registryPrefix + s
		}
	case DockerArchive:
		s = r.Transport.String() + ":" + s
		if r.Repository != "" {
			s += ":" + r.Host + "/" + r.Repository
		}
	default:
		s = r.Transport.String() + ":" + s
	}
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest.String()
	}
	return s
}

// Identifier returns what names the manifest at its source: the digest where
// there is one, else the tag.
func (r Reference) Identifier() string {
	if r.Digest != "" {
		return r.Digest.String()
	}
	return r.Tag
}
