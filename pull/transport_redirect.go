package pull

import (
	"net/http"
	"net/url"
	"strings"
)

// redirectTarget returns where resp redirects to, or nil.
func redirectTarget(resp *http.Response, fixed bool) (*url.URL, error) {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil
	}
	from := resp.Request.URL
	bad := func(reason string) error {
		return &FormatError{Object: redactURL(from), Reason: "the answer redirects " + reason}
	}
	loc := resp.Header.Get("Location")
	if loc == "" {
		return nil, bad("without saying where to")
	}
	u, err := from.Parse(loc)
	if err != nil || u.Host == "" {
		return nil, bad("to a malformed address")
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, bad("to something that is not HTTP")
	}
	if from.Scheme == "https" && u.Scheme == "http" && !fixed {
		return nil, bad("from HTTPS to plain HTTP, where anybody could answer")
	}
	u.User = nil // a login that nobody here asked for
	u.Fragment = ""
	return u, nil
}

// sameOrigin compares scheme, host and port.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "http" {
		return "80"
	}
	return "443"
}
