package pull

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
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
	e.Errors = parseRegistryErrors(body)
	return e
}

// parseRegistryErrors reads the errors of distribution-spec's "Error Codes".
// Anything else is no error worth showing: often it is an HTML page.
func parseRegistryErrors(body []byte) []RegistryError {
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
		list = append(list, RegistryError{Code: printable(e.Code), Message: printable(e.Message)})
	}
	if len(list) == 0 && doc.Details != "" {
		list = append(list, RegistryError{Code: "DETAILS", Message: printable(doc.Details)})
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
	fmt.Fprintf(&b, "%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	for _, name := range []string{
		"Content-Type", "Content-Length", "Content-Range", "Docker-Content-Digest",
		"Www-Authenticate", "Retry-After", "Link", "Ratelimit-Limit", "Ratelimit-Remaining",
	} {
		for _, v := range resp.Header.Values(name) {
			fmt.Fprintf(&b, "\n%s: %s", name, printable(v))
		}
	}
	if loc := resp.Header.Get("Location"); loc != "" {
		if u, err := url.Parse(loc); err == nil {
			fmt.Fprintf(&b, "\nLocation: %s", printable(redactURL(u)))
		}
	}
	return b.String()
}
