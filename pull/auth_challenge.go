package pull

import "strings"

// challenge is one challenge of a WWW-Authenticate header (RFC 7235, 2.1).
type challenge struct {
	scheme string            // lower case
	token  string            // token68 form, "" otherwise
	params map[string]string // names in lower case; the first of equal names counts
}

// maxChallenge bounds how much of the headers is looked at, in bytes.
const maxChallenge = 64 << 10

// parseChallenges parses the values of WWW-Authenticate headers. A server may
// send several headers, several challenges in one, or both. Registries are
// sloppy with quoting, so the parser takes what is unambiguous: values without
// quotes that contain ':' or '/', a missing closing quote at the end, stray
// commas. What cannot be read is skipped.
func parseChallenges(headers []string) []challenge {
	var all []challenge
	for _, h := range headers {
		if len(h) > maxChallenge {
			h = h[:maxChallenge]
		}
		p := challengeParser{s: h}
		all = append(all, p.parse()...)
	}
	return all
}

type challengeParser struct {
	s string
	i int
}

func (p *challengeParser) parse() []challenge {
	var all []challenge
	for {
		p.skip(" \t,")
		if p.i >= len(p.s) {
			return all
		}
		word := p.token()
		if word == "" {
			p.i++ // a byte that cannot start anything
			continue
		}
		after := p.i
		p.skip(" \t")
		// "name =" continues the last challenge, unless the = are the
		// padding of a token68, which follows a scheme and is read there.
		if p.peek() == '=' && len(all) > 0 {
			p.i++
			all[len(all)-1].set(word, p.value())
			continue
		}
		if p.peek() == '=' { // a parameter without a scheme
			p.i++
			p.value()
			continue
		}
		c := challenge{scheme: strings.ToLower(word), params: map[string]string{}}
		if p.i > after {
			c.token = p.token68()
		}
		all = append(all, c)
	}
}

func (c *challenge) set(name, value string) {
	name = strings.ToLower(name)
	if _, dup := c.params[name]; !dup {
		c.params[name] = value
	}
}

func (p *challengeParser) peek() byte {
	if p.i < len(p.s) {
		return p.s[p.i]
	}
	return 0
}

func (p *challengeParser) skip(set string) {
	for p.i < len(p.s) && strings.IndexByte(set, p.s[p.i]) >= 0 {
		p.i++
	}
}

func (p *challengeParser) token() string {
	start := p.i
	for p.i < len(p.s) && isTokenByte(p.s[p.i]) {
		p.i++
	}
	return p.s[start:p.i]
}

// token68 reads the credentials-like form after a scheme, if it is there: it
// must fill the place up to a comma or the end.
func (p *challengeParser) token68() string {
	start := p.i
	i := p.i
	for i < len(p.s) && isToken68Byte(p.s[i]) {
		i++
	}
	n := i
	for i < len(p.s) && p.s[i] == '=' {
		i++
	}
	end := i
	for i < len(p.s) && (p.s[i] == ' ' || p.s[i] == '\t') {
		i++
	}
	if n == start || (i < len(p.s) && p.s[i] != ',') {
		return ""
	}
	p.i = i
	return p.s[start:end]
}

// value reads a parameter's value, quoted or not.
func (p *challengeParser) value() string {
	p.skip(" \t")
	if p.peek() != '"' {
		start := p.i
		for p.i < len(p.s) && strings.IndexByte(" \t,\"", p.s[p.i]) < 0 {
			p.i++
		}
		return p.s[start:p.i]
	}
	p.i++
	var b strings.Builder
	for p.i < len(p.s) {
		ch := p.s[p.i]
		p.i++
		switch {
		case ch == '"':
			return b.String()
		case ch == '\\' && p.i < len(p.s):
			b.WriteByte(p.s[p.i])
			p.i++
		default:
			b.WriteByte(ch)
		}
	}
	return b.String()
}

// isTokenByte reports whether c may be in a token (RFC 7230, 3.2.6).
func isTokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isToken68Byte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("-._~+/", c) >= 0
}
