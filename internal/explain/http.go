package explain

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/byhand/byhand/internal/shell"
	"github.com/byhand/byhand/pull"
)

// request tells that a request is sent.
func (n *Narrator) request(x *pull.Exchange) {
	e := Event{Kind: "request", Title: briefly(x), Layer: n.layerOf(x.Digest), Facts: []Fact{
		{Name: "method", Value: x.Method, Silent: true},
		{Name: "url", Value: x.URL, Silent: true},
		{Name: "registry", Value: x.Registry, Silent: true},
		{Name: "for", Value: x.Object, Silent: true},
		{Name: "mirror", Value: x.Mirror, Silent: true},
		{Name: "redirects", Value: x.Hop, Silent: true},
		{Name: "sent", Value: Headers{Mark: ">", List: headers(x.Sent), Brief: n.brief(x)}},
	}}
	if len(x.Form) > 0 {
		e.Facts = append(e.Facts, Fact{Name: "form", Value: Headers{Mark: "> form", List: headers(x.Form)}})
	}
	if x.Mirror && !x.Elsewhere {
		e.Notes = append(e.Notes, "A mirror of "+x.Registry+", as a hosts.toml says.")
	}
	if x.Hop > 0 {
		note := "Where the answer redirected to."
		if x.Elsewhere {
			note = "Where the answer redirected to: another host, which gets no login."
		}
		e.Notes = append(e.Notes, note)
	}
	step := n.w.Put(e)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.steps[x.Number] = step
}

// briefly is an exchange's first line, with the digest shortened: its command
// has it in full.
func briefly(x *pull.Exchange) string { return shorten(x, x.Method+" "+x.URL) }

func shorten(x *pull.Exchange, s string) string {
	if x.Digest == "" {
		return s
	}
	return strings.ReplaceAll(s, x.Digest.String(), short(x.Digest))
}

// brief is what is sent, without what is the same every time.
func (n *Narrator) brief(x *pull.Exchange) []Header {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := []Header{}
	for _, h := range headers(x.Sent) {
		if h.Name == "Accept" && h.Value == "*/*" {
			continue
		}
		if h.Name == "Accept" && h.Value == n.accept {
			h.Value = "the same"
		} else if h.Name == "Accept" && strings.Contains(h.Value, "manifest") {
			n.accept = h.Value
		}
		list = append(list, h)
	}
	return list
}

func headers(list []pull.Header) []Header {
	out := make([]Header, len(list))
	for i, h := range list {
		out[i] = Header(h)
	}
	return out
}

// response tells what was answered.
func (n *Narrator) response(x *pull.Exchange) {
	n.mu.Lock()
	step := n.steps[x.Number]
	delete(n.steps, x.Number)
	if x.Token {
		n.token = step
	}
	received := headers(x.Received)
	brief := headers(x.Received)
	for i := range brief {
		brief[i].Value = shorten(x, brief[i].Value)
	}
	e := Event{
		Kind: "response", Step: step, Layer: n.layerOfLocked(x.Digest), Resume: briefly(x),
		Title: fmt.Sprintf("< %s %d %s", x.Protocol, x.Status, http.StatusText(x.Status)),
		Facts: []Fact{
			{Name: "status", Value: x.Status, Silent: true},
			{Name: "protocol", Value: x.Protocol, Silent: true},
			{Name: "seconds", Value: x.Took.Seconds(), Silent: true},
			{Name: "received", Value: Headers{Mark: "<", List: received, Brief: brief}},
		},
		Shell: n.curl(x),
		Notes: rateLimit(x.Received),
	}
	n.mu.Unlock()
	if x.Failure != "" {
		e.Title = "no answer: " + x.Failure
		e.Facts = []Fact{{Name: "failure", Value: x.Failure, Silent: true}}
	}
	n.w.Put(e)
}

// curl is the command for an exchange. Of a redirect the first request's
// command follows it. The caller holds the lock.
func (n *Narrator) curl(x *pull.Exchange) []string {
	address, whole := strings.CutSuffix(x.URL, "…")
	address = strings.TrimRight(address, "?&")
	if x.Hop > 0 || whole && !x.Token || n.asked[x.URL] && good(x.Status) {
		return nil
	}
	tls, quoted := transport(x), shell.Quote(address)
	if x.Failure != "" {
		return []string{strings.Join(slices.Concat([]string{"curl -v -o /dev/null"}, tls, []string{quoted}), " ")}
	}
	var commands []string
	if accept := sentAccept(x); accept == n.accept && accept != "" && !n.asked[accept] {
		n.asked[accept] = true
		commands = append(commands, "ACCEPT="+shell.Quote(accept))
	}
	get := func(flags string, rest ...string) string {
		return strings.Join(slices.Concat([]string{"curl " + flags}, tls, n.fields(x), rest), " ")
	}
	switch {
	case !good(x.Status):
		return append(commands, get("-sS -D - -o /dev/null", quoted))
	case x.Token:
		return append(commands, "TOKEN=$("+get("-sSf", quoted, "| jq -r '.token // .access_token'")+")")
	case strings.Contains(x.URL, "/tags/list"):
		return append(commands, get("-sSfL", quoted, "| jq -r '.tags[]'"))
	}
	n.asked[x.URL] = true
	flags := "-sSfL"
	if configured(x) {
		flags = "-sSf" // curl would take what is configured for this host to another one
	}
	file := n.fileFor(x)
	n.fetched[file] = true
	return append(commands, get(flags, "-o "+shell.Quote(file), quoted))
}

// good tells whether curl -fL gets the content.
func good(status int) bool { return status >= 200 && status < 400 }

// configured tells whether a hosts.toml adds headers.
func configured(x *pull.Exchange) bool {
	return slices.ContainsFunc(x.Sent, func(h pull.Header) bool { return h.Name != "Authorization" && h.Value == hidden })
}

// hidden stands in the place of a secret.
const hidden = "<redacted>"

// transport are the options for TLS.
func transport(x *pull.Exchange) []string {
	var args []string
	if x.Insecure {
		args = append(args, "-k")
	}
	if len(x.Authorities) == 1 { // curl takes no more; they replace the system's
		args = append(args, "--cacert "+shell.Quote(x.Authorities[0]))
	}
	return args
}

func sentAccept(x *pull.Exchange) string {
	for _, h := range x.Sent {
		if h.Name == "Accept" {
			return h.Value
		}
	}
	return ""
}

// fields are the options for what is sent. Secrets are variables.
func (n *Narrator) fields(x *pull.Exchange) []string {
	var args []string
	for _, h := range x.Sent {
		switch {
		case h.Name == "Accept" && n.asked[h.Value]:
			args = append(args, `-H "Accept: $ACCEPT"`)
		case h.Name == "Authorization" && strings.HasPrefix(h.Value, "Bearer "):
			args = append(args, `-H "Authorization: Bearer $TOKEN"`)
		case h.Name == "Authorization" && strings.HasPrefix(h.Value, "Basic "):
			args = append(args, `-u "${LOGIN:?set it to USER:PASSWORD}"`)
		case h.Name == "Range", h.Name == "Content-Type", h.Name == "Accept" && h.Value == "*/*":
		case h.Value == hidden:
			v := variable(h.Name)
			args = append(args, fmt.Sprintf(`-H "%s: ${%s:?set it to the header}"`, h.Name, v))
		default:
			args = append(args, "-H "+shell.Quote(h.Name+": "+h.Value))
		}
	}
	for _, f := range x.Form {
		if f.Value == hidden {
			args = append(args, fmt.Sprintf(`--data-urlencode "%s=${REFRESH_TOKEN:?set it to the identity token}"`, f.Name))
			continue
		}
		args = append(args, "--data-urlencode "+shell.Quote(f.Name+"="+f.Value))
	}
	return args
}

// variable makes the name of a shell variable of a header's.
func variable(header string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		if r >= 'a' && r <= 'z' {
			return r - 'a' + 'A'
		}
		return '_'
	}, "H_"+header)
}

// fileFor names the file that an answer goes to by hand.
func (n *Narrator) fileFor(x *pull.Exchange) string {
	name := n.files[x.Digest]
	switch {
	case name != "" && x.Digest != "":
		return name
	case strings.Contains(x.URL, "/manifests/"):
		name = "manifest.json"
		for _, h := range x.Received {
			if h.Name == "Content-Type" && isIndex(h.Value) {
				name = "index.json"
				n.index = name
			}
		}
		n.doc = name
	default:
		name = "image-config.json"
	}
	if x.Digest != "" {
		n.files[x.Digest] = name
	}
	return name
}

func isIndex(mediaType string) bool {
	return strings.Contains(mediaType, "image.index") || strings.Contains(mediaType, "manifest.list")
}

// token tells what a token is good for.
func (n *Narrator) tokenGranted(t *pull.TokenGrant) {
	n.mu.Lock()
	step := n.token
	n.mu.Unlock()
	login := t.Login
	if login == "" {
		login = "no login: anybody gets it"
	}
	n.w.Put(Event{
		Kind: "token", Step: step, Resume: "token from " + t.From, Title: "a token, kept secret",
		Facts: []Fact{
			{Name: "scope", Value: strings.Join(t.Scopes, " ")},
			{Name: "service", Value: t.Service, Silent: true},
			{Name: "from", Value: t.From, Silent: true},
			{Name: "life", Label: "good for", Value: duration(t.Life)},
			{Name: "seconds", Value: t.Life.Seconds(), Silent: true},
			{Name: "login", Label: "given to", Value: login},
		},
	})
}

// duration is one without zeros at its end.
func duration(d time.Duration) string {
	s := d.Round(100 * time.Millisecond).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	return s
}

// rate is how Docker Hub writes its limits: 100;w=21600.
var rate = regexp.MustCompile(`^(\d+);w=(\d+)$`)

// rateLimit puts the limits of an answer into words.
func rateLimit(received []pull.Header) []string {
	var notes []string
	for _, h := range received {
		m := rate.FindStringSubmatch(h.Value)
		switch {
		case m == nil:
		case h.Name == "Ratelimit-Limit":
			notes = append(notes, fmt.Sprintf("The registry allows %s requests like this in %s seconds.", m[1], m[2]))
		case h.Name == "Ratelimit-Remaining":
			notes = append(notes, fmt.Sprintf("Of them %s are left.", m[1]))
		}
	}
	return notes
}
