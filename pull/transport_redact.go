package pull

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// openParams are the query parameters that hold no secrets. All others are
// hidden: storage services sign their addresses in parameters of many names.
func openParam(name string) bool {
	switch name {
	case "n", "last", "ns", "service", "scope":
		return true
	}
	return false
}

// redactURL returns u without user, fragment and the values of parameters that
// could be secrets.
func redactURL(u *url.URL) string {
	c := *u
	c.User, c.Fragment, c.RawFragment = nil, "", ""
	if c.RawQuery != "" {
		q := c.Query()
		c.RawQuery = ""
		open := url.Values{}
		hidden := len(q) == 0 // unreadable
		for k, v := range q {
			if openParam(k) {
				open[k] = v
			} else {
				hidden = true
			}
		}
		c.RawQuery = open.Encode()
		if hidden {
			if c.RawQuery != "" {
				c.RawQuery += "&"
			}
			c.RawQuery += "…"
		}
	}
	return c.String()
}

// maxErrorBody bounds how much of an error's body is read, in bytes.
const maxErrorBody = 16 << 10

// statusError turns an answer into an error and closes it.
func statusError(resp *http.Response) *StatusError {
	e := &StatusError{Method: resp.Request.Method, URL: redactURL(resp.Request.URL), Code: resp.StatusCode}
	body := readBriefly(resp, maxErrorBody)
	closeBody(resp)
	e.Errors = parseRegistryErrors(body, echoes(resp.Request))
	return e
}

// echoes hides the secrets of a request in what is said in answer to it:
// servers under development repeat them in their errors.
func echoes(req *http.Request) *strings.Replacer {
	var secrets []string
	for name, values := range req.Header {
		switch name {
		case "Accept", "Accept-Encoding", "Content-Type", "Range", "User-Agent":
			continue
		}
		for _, v := range values {
			_, bare, _ := strings.Cut(v, " ") // after "Basic" or "Bearer"
			secrets = append(secrets, v, bare)
		}
	}
	if _, password, ok := req.BasicAuth(); ok {
		secrets = append(secrets, password)
	}
	for name, values := range req.URL.Query() {
		if !openParam(name) && name != "account" {
			secrets = append(secrets, values...)
		}
	}
	if req.GetBody != nil {
		if body, err := req.GetBody(); err == nil {
			raw, _ := io.ReadAll(io.LimitReader(body, maxErrorBody)) // our own, in memory
			form, _ := url.ParseQuery(string(raw))
			secrets = append(secrets, form["refresh_token"]...)
		}
	}
	return hiding(secrets)
}

// hiding returns what puts "…" in the place of secrets. One of a few bytes
// would be found in any text.
func hiding(secrets []string) *strings.Replacer {
	const least = 4
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	var pairs []string
	for _, s := range secrets {
		for _, form := range []string{s, url.QueryEscape(s)} {
			if len(form) >= least {
				pairs = append(pairs, form, "…")
			}
		}
	}
	return strings.NewReplacer(pairs...)
}

// parseRegistryErrors reads the errors of distribution-spec's "Error Codes".
// Anything else is no error worth showing: often it is an HTML page.
func parseRegistryErrors(body []byte, hide *strings.Replacer) []RegistryError {
	var doc struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
		Details string `json:"details"` // as Docker Hub's token service answers
	}
	if json.Unmarshal(body, &doc) != nil {
		return nil
	}
	var list []RegistryError
	for _, e := range doc.Errors {
		if len(list) == 5 {
			break
		}
		list = append(list, RegistryError{Code: printable(hide.Replace(e.Code)), Message: printable(hide.Replace(e.Message))})
	}
	if len(list) == 0 && doc.Details != "" {
		list = append(list, RegistryError{Code: "DETAILS", Message: printable(hide.Replace(doc.Details))})
	}
	return list
}

// printable makes a foreign text fit for a terminal: one line, no control
// characters, not too long.
func printable(s string) string {
	const limit = 300
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "…"
	}
	return strings.TrimSpace(s)
}

// describeResponse tells what an answer's headers say, for the transcript.
func describeResponse(resp *http.Response) string {
	var b strings.Builder
	hide := echoes(resp.Request)
	fmt.Fprintf(&b, "%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	for _, name := range []string{
		"Content-Type", "Content-Length", "Content-Range", "Docker-Content-Digest",
		"Www-Authenticate", "Retry-After", "Link", "Ratelimit-Limit", "Ratelimit-Remaining",
	} {
		for _, v := range resp.Header.Values(name) {
			fmt.Fprintf(&b, "\n%s: %s", name, printable(hide.Replace(v)))
		}
	}
	if loc := resp.Header.Get("Location"); loc != "" {
		if u, err := url.Parse(loc); err == nil {
			fmt.Fprintf(&b, "\nLocation: %s", printable(redactURL(u)))
		}
	}
	return b.String()
}
