package pull

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// openParam knows the query parameters that hold no secrets. All others are
// hidden: storage services sign their addresses in parameters of many names.
func openParam(name string) bool {
	switch name {
	case "n", "last", "ns", "service", "scope":
		return true
	}
	return false
}

// hiddenParams stands for the parameters that redactURL leaves out.
const hiddenParams = "…"

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
			c.RawQuery += hiddenParams
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
func echoes(req *http.Request) *strings.Replacer { return hiding(secretsOf(req)) }

// secretsOf lists the secrets of a request.
func secretsOf(req *http.Request) []string {
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
	return append(secrets, formOf(req)["refresh_token"]...)
}

// secretMemory has what a client has sent of secrets: whom it was sent to can
// repeat it in any later answer.
type secretMemory struct {
	mu   sync.Mutex
	list []string
}

// hide returns what puts "…" in the place of all secrets that were sent, those
// of req among them.
func (m *secretMemory) hide(req *http.Request) *strings.Replacer {
	const most = 100 // tokens of a client that lives long
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range secretsOf(req) {
		if !slices.Contains(m.list, s) {
			m.list = append(m.list, s)
		}
	}
	m.list = m.list[max(0, len(m.list)-most):]
	return hiding(slices.Clone(m.list))
}

// formOf returns what a POST of ours says; nil for other requests.
func formOf(req *http.Request) url.Values {
	if req.GetBody == nil {
		return nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil
	}
	raw, _ := io.ReadAll(io.LimitReader(body, maxErrorBody)) // our own, in memory
	form, _ := url.ParseQuery(string(raw))
	return form
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
func printable(s string) string { return printableUpTo(s, 300) }

// printableUpTo is printable for texts of up to limit characters.
func printableUpTo(s string, limit int) string {
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
