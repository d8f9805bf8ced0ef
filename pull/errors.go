package pull

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/opencontainers/go-digest"
)

// DigestError reports content whose digest is not the expected one. Want comes
// from the reference or from a document that was itself verified, never from a
// header of the answer that carried the content.
type DigestError struct {
	Object string        // what was checked, for example "layer 3 of docker.io/library/alpine:latest (sha256:…)"
	Want   digest.Digest // the digest that was asked for
	Got    digest.Digest // the digest of what arrived
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("verify %s: expected digest %s, found %s", oneLine(e.Object), e.Want, e.Got)
}

// SizeError reports content whose size in bytes is not the one its descriptor
// states. For content that is longer than that, Got is the least size that is
// known, since reading stops there.
type SizeError struct {
	Object    string
	Want, Got int64
}

func (e *SizeError) Error() string {
	if e.Got > e.Want {
		return fmt.Sprintf("verify %s: expected %d bytes, found at least %d", oneLine(e.Object), e.Want, e.Got)
	}
	return fmt.Sprintf("verify %s: expected %d bytes, found %d", oneLine(e.Object), e.Want, e.Got)
}

// LimitError reports content that goes past one of the limits of [Limits].
// Limit is the name of the field, which can be raised.
type LimitError struct {
	Object   string
	Limit    string
	Max, Got int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("read %s: %d is more than the limit %s of %d; raise that limit if the image can be trusted",
		oneLine(e.Object), e.Got, e.Limit, e.Max)
}

// FormatError reports content that is not what it claims to be: malformed
// JSON, a manifest that is also an index, a damaged archive or compression.
type FormatError struct {
	Object string
	Reason string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("read %s: %s", oneLine(e.Object), oneLine(e.Reason))
}

// RegistryError is one entry of the errors list in a registry's answer
// (distribution-spec, "Error Codes").
type RegistryError struct {
	Code    string
	Message string
}

// StatusError reports an HTTP answer that is not a success. URL has no
// credentials, query secrets or fragments in it.
type StatusError struct {
	Method string
	URL    string
	Code   int
	Errors []RegistryError
}

func (e *StatusError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: status %d", e.Method, e.URL, e.Code)
	for i, r := range e.Errors {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		b.WriteString(sep)
		b.WriteString(r.Code)
		if r.Message != "" {
			b.WriteString(" (" + r.Message + ")")
		}
	}
	return b.String()
}

// NotFoundError reports an object that its source does not have. Available
// lists what there is instead, where that is known.
type NotFoundError struct {
	Object    string
	Available []string
}

func (e *NotFoundError) Error() string {
	if len(e.Available) == 0 {
		return fmt.Sprintf("find %s: not found", oneLine(e.Object))
	}
	return fmt.Sprintf("find %s: not found; there is %s", oneLine(e.Object), enumerate(e.Available))
}

// AuthError reports that Host refused every credential that was tried. Tried
// names the sources of the credentials, never the secrets.
type AuthError struct {
	Host  string
	Tried []string
	Err   error
}

func (e *AuthError) Error() string {
	tried := "anonymous access only"
	if len(e.Tried) > 0 {
		tried = strings.Join(e.Tried, ", ")
	}
	s := fmt.Sprintf("authorize at %s: access denied (tried: %s); log in with docker or podman, or give --creds", e.Host, tried)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the answer that refused.
func (e *AuthError) Unwrap() error { return e.Err }

// UnreachableError reports a host that could not be reached, or that still
// failed after all retries.
type UnreachableError struct {
	Host string
	Err  error
}

func (e *UnreachableError) Error() string { return fmt.Sprintf("reach %s: %v", e.Host, e.Err) }

// Unwrap returns the last failure.
func (e *UnreachableError) Unwrap() error { return e.Err }

// ReferenceError reports a malformed image reference or platform.
type ReferenceError struct {
	Input  string
	Reason string
}

func (e *ReferenceError) Error() string { return fmt.Sprintf("parse %q: %s", e.Input, e.Reason) }

// PlatformError reports an index that has no image for the wanted platform.
type PlatformError struct {
	Object string
	Want   string
	Have   []string
}

func (e *PlatformError) Error() string {
	if len(e.Have) == 0 {
		return fmt.Sprintf("find platform %s in %s: the index lists no image", e.Want, oneLine(e.Object))
	}
	return fmt.Sprintf("find platform %s in %s: not there; choose one of %s with --platform",
		e.Want, oneLine(e.Object), enumerate(e.Have))
}

// UnsupportedError reports something that is well formed but is not an image
// this package can pull. What says what it is.
type UnsupportedError struct {
	Object string
	What   string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("pull %s: %s", oneLine(e.Object), oneLine(e.What))
}

var (
	_ error = (*DigestError)(nil)
	_ error = (*SizeError)(nil)
	_ error = (*LimitError)(nil)
	_ error = (*FormatError)(nil)
	_ error = (*StatusError)(nil)
	_ error = (*NotFoundError)(nil)
	_ error = (*AuthError)(nil)
	_ error = (*UnreachableError)(nil)
	_ error = (*ReferenceError)(nil)
	_ error = (*PlatformError)(nil)
	_ error = (*UnsupportedError)(nil)
)

// oneLine makes a text with foreign parts fit for a terminal: what is not
// printable is escaped, and what is very long is cut.
func oneLine(s string) string {
	const limit = 4096
	var b strings.Builder
	for i, r := range s {
		if i > limit {
			b.WriteString("…")
			break
		}
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// enumerate joins names, and cuts a long list short.
func enumerate(names []string) string {
	const limit = 40
	more := ""
	if n := len(names) - limit; n > 0 {
		names, more = names[:limit], fmt.Sprintf(" and %d more", n)
	}
	clean := make([]string, len(names))
	for i, s := range names {
		clean[i] = oneLine(s)
	}
	return strings.Join(clean, ", ") + more
}
