package pull

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Exchange is a request and, once it came, what was answered to it. It has no
// secrets: Authorization, Cookie and whatever hosts.toml adds are named and not
// shown, addresses lack user, password and signed parameters, and what an
// answer repeats of the request's secrets is hidden.
type Exchange struct {
	Number      int64         // of the request, counted from 1 by the client
	Registry    string        // as references name it
	Object      string        // what is asked for, for people
	Digest      digest.Digest // of what is asked for, where it is known
	Mirror      bool          // a mirror is asked, not the registry itself
	Token       bool          // a token service is asked
	Hop         int           // how many redirects led to this address
	Elsewhere   bool          // the address is not the registry's, so that it got no login
	Method      string
	URL         string
	Hidden      bool     // URL lacks parameters, so that it cannot be asked as it stands
	Sent        []Header // that matter, in alphabetical order
	Form        []Header // of a POST
	Insecure    bool     // the certificate is not checked
	Authorities []string // files with certificate authorities besides the system's

	// Status is the answer's, 0 while there is none.
	Status   int
	Protocol string // "HTTP/1.1"
	Received []Header
	Took     time.Duration // from the request to the answer's headers
	// Failure says why no answer came.
	Failure string
}

// Header is one field of a request or an answer, fit for a terminal.
type Header struct{ Name, Value string }

// redacted stands in the place of a secret.
const redacted = "<redacted>"

// String tells the exchange on one or more lines.
func (x *Exchange) String() string {
	var b strings.Builder
	b.WriteString(x.Method + " " + x.URL)
	list := x.Received
	switch {
	case x.Failure != "":
		b.WriteString(": " + x.Failure)
	case x.Status != 0:
		fmt.Fprintf(&b, ": %d %s", x.Status, http.StatusText(x.Status))
	default:
		list = x.Sent
	}
	for _, h := range list {
		b.WriteString("\n" + h.Name + ": " + h.Value)
	}
	return b.String()
}

// purpose says what a request is for.
type purpose struct {
	object    string
	digest    digest.Digest
	hop       int
	token     bool
	elsewhere bool
}

// exchange describes req before it is sent.
func (e *endpoint) exchange(req *http.Request, a purpose) Exchange {
	x := Exchange{
		Number: e.requests.Add(1), Registry: e.registry, Mirror: !e.cfg.origin,
		Object: printable(a.object), Digest: a.digest, Token: a.token, Hop: a.hop, Elsewhere: a.elsewhere,
		Method: req.Method, URL: printable(redactURL(req.URL)), Sent: sentHeaders(req.Header),
	}
	x.Hidden = strings.Contains(x.URL, hiddenParams)
	if req.URL.Scheme == "https" {
		x.Insecure, x.Authorities = e.cfg.tls.skipVerify, e.authorities
	}
	if req.Method == http.MethodPost {
		x.Form = sentForm(req)
	}
	return x
}

func sentHeaders(h http.Header) []Header {
	var list []Header
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[name] {
			switch name {
			case "User-Agent":
				continue
			case "Accept", "Content-Type", "Range":
			case "Authorization":
				v = hideLogin(v)
			default:
				v = redacted
			}
			list = append(list, Header{printable(name), printableUpTo(v, maxShown)})
		}
	}
	return list
}

// hideLogin keeps the scheme of an Authorization.
func hideLogin(v string) string {
	for _, scheme := range []string{"Basic", "Bearer"} {
		if s, _, ok := strings.Cut(v, " "); ok && strings.EqualFold(s, scheme) {
			return scheme + " " + redacted
		}
	}
	return redacted
}

// sentForm has what a token is asked with, but for the secret.
func sentForm(req *http.Request) []Header {
	form := formOf(req)
	var list []Header
	for _, name := range slices.Sorted(maps.Keys(form)) {
		v := form.Get(name)
		if name == "refresh_token" {
			v = redacted
		}
		list = append(list, Header{name, printable(v)})
	}
	return list
}

// answered adds what came back.
func (x *Exchange) answered(resp *http.Response, took time.Duration, hide *strings.Replacer) {
	x.Status, x.Protocol, x.Took = resp.StatusCode, printable(resp.Proto), took
	x.Received = receivedHeaders(resp, hide)
}

// shownHeaders are those of an answer that tell what it means to a pull.
func shownHeaders() []string {
	return []string{
		"Content-Type", "Content-Length", "Content-Range", "Docker-Content-Digest",
		"Www-Authenticate", "Retry-After", "Link", "Location", "Ratelimit-Limit", "Ratelimit-Remaining",
	}
}

// maxShown bounds a header that is shown, in characters.
const maxShown = 1000

func receivedHeaders(resp *http.Response, hide *strings.Replacer) []Header {
	var list []Header
	for _, name := range shownHeaders() {
		for _, v := range resp.Header.Values(name) {
			switch name {
			case "Www-Authenticate":
				v = showChallenges(v)
			case "Location":
				v = showAddress(v)
			case "Link":
				v = showLinks(v)
			}
			list = append(list, Header{name, printableUpTo(hide.Replace(v), maxShown)})
		}
	}
	return list
}

// showAddress is an address of an answer without its secrets.
func showAddress(v string) string {
	u, err := url.Parse(v)
	if err != nil {
		return redacted // there is no telling what is in it
	}
	return redactURL(u)
}

// showChallenges writes the challenges of a header again, without what the
// address of a token service could have of secrets.
func showChallenges(v string) string {
	var out []string
	for _, c := range parseChallenges([]string{v}) {
		s := c.scheme
		if s != "" {
			s = strings.ToUpper(s[:1]) + s[1:]
		}
		sep := " "
		for _, name := range challengeOrder(c.params) {
			value := c.params[name]
			if name == "realm" && c.scheme == "bearer" {
				value = showAddress(value)
			}
			s += fmt.Sprintf("%s%s=%q", sep, name, value)
			sep = ","
		}
		if c.token != "" {
			s += " " + redacted
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

// challengeOrder has the parameters in the order in which registries write them.
func challengeOrder(params map[string]string) []string {
	var names []string
	for _, n := range []string{"realm", "service", "scope", "error"} {
		if _, ok := params[n]; ok {
			names = append(names, n)
		}
	}
	return names
}

// showLinks writes the targets of a Link header again.
func showLinks(v string) string {
	var out []string
	for _, l := range parseLinks(v) {
		out = append(out, fmt.Sprintf("<%s>; rel=%q", showAddress(l.target), strings.Join(l.rels, " ")))
	}
	return strings.Join(out, ", ")
}
