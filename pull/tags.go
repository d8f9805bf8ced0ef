package pull

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/distribution/reference"
)

// tagPageSize is how many tags a page is asked for; registries may give fewer.
const tagPageSize = 1000

// Tags lists the tags of ref's repository, in the order of its source.
func (c *Client) Tags(ctx context.Context, ref Reference) ([]string, error) {
	s, err := c.newSource(ctx, ref)
	if err != nil {
		return nil, err
	}
	return s.provider.tags(ctx)
}

// tags implements provider (distribution-spec, "Listing Tags"). Only the origin
// knows all tags, so mirrors are not asked.
func (r *registry) tags(ctx context.Context) ([]string, error) {
	origin := r.endpoints[len(r.endpoints)-1]
	object := "tags of " + r.ref.Name()
	l := tagLister{
		registry: &registry{
			ref: r.ref, endpoints: []*endpoint{origin}, policy: r.policy,
			limits: r.limits, observe: r.observe, rejected: map[rejection]int{},
		},
		object: object, have: map[string]bool{}, seen: map[string]bool{},
	}
	query := url.Values{"n": {fmt.Sprint(tagPageSize)}}
	for page := 1; query != nil; page++ {
		if page > r.limits.TagPages {
			return nil, &LimitError{Object: object, Limit: "TagPages", Max: int64(r.limits.TagPages), Got: int64(page)}
		}
		var err error
		if query, err = l.page(ctx, query); err != nil {
			return nil, err
		}
		if len(l.tags) > r.limits.Tags {
			return nil, &LimitError{Object: object, Limit: "Tags", Max: int64(r.limits.Tags), Got: int64(len(l.tags))}
		}
	}
	return l.tags, nil
}

// tagLister gathers the pages of a tag list.
type tagLister struct {
	registry *registry
	object   string
	tags     []string
	have     map[string]bool // tags
	seen     map[string]bool // queries
}

// page reads one page and returns the query for the next one, nil at the end.
func (l *tagLister) page(ctx context.Context, query url.Values) (url.Values, error) {
	l.seen[query.Encode()] = true
	r := l.registry
	j := r.newJob(l.object, "", canResolve, request{
		path: "tags/list", query: query, accept: []string{"application/json"},
		within: r.policy.MetadataTime,
	})
	var next url.Values
	err := r.get(ctx, j, func(_ *endpoint, resp *http.Response) (err error) {
		next, err = l.read(resp)
		return err
	})
	return next, err
}

// read takes in one answer.
func (l *tagLister) read(resp *http.Response) (url.Values, error) {
	body, err := readBounded(l.object, "Metadata", resp.Body, l.registry.limits.Metadata)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Tags []string `json:"tags"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, &FormatError{Object: l.object, Reason: "not the JSON of a tag list"}
	}
	for _, t := range doc.Tags {
		if !anchoredTag(t) {
			return nil, &FormatError{Object: l.object, Reason: fmt.Sprintf("%q is not a tag", printable(t))}
		}
		if !l.have[t] {
			l.have[t] = true
			l.tags = append(l.tags, t)
		}
	}
	next, err := nextPage(resp.Header.Values("Link"), resp.Request.URL)
	if err != nil || next == nil {
		return nil, err
	}
	q := next.Query()
	q.Del("ns") // added to each request where it is due
	if l.seen[q.Encode()] {
		return nil, &FormatError{Object: l.object, Reason: "the list of pages goes round in a circle"}
	}
	return q, nil
}

func anchoredTag(t string) bool {
	loc := reference.TagRegexp.FindStringIndex(t)
	return loc != nil && loc[0] == 0 && loc[1] == len(t)
}

// nextPage finds the next page among Link headers (RFC 8288). It must be the
// same list: another host or path would get what is meant for this one.
func nextPage(headers []string, base *url.URL) (*url.URL, error) {
	for _, h := range headers {
		for _, l := range parseLinks(h) {
			if !l.hasRel("next") {
				continue
			}
			u, err := base.Parse(l.target)
			if err != nil {
				return nil, &FormatError{Object: "Link of " + redactURL(base), Reason: "malformed address"}
			}
			// Behind proxies, registries get scheme and host wrong, and
			// sometimes the prefix of the path. What counts is the query.
			if !strings.HasSuffix(u.Path, "/tags/list") || u.RawQuery == "" {
				return nil, &FormatError{Object: "Link of " + redactURL(base), Reason: "it does not lead to a tag list"}
			}
			return u, nil
		}
	}
	return nil, nil
}

// link is one value of a Link header.
type link struct {
	target string
	rels   []string
}

func (l link) hasRel(rel string) bool {
	for _, r := range l.rels {
		if strings.EqualFold(r, rel) {
			return true
		}
	}
	return false
}

// maxLink bounds a Link header, in bytes.
const maxLink = 16 << 10

// parseLinks parses the value of a Link header: <TARGET>; rel="NAME", ….
// Parameters other than rel are skipped.
func parseLinks(h string) []link {
	if len(h) > maxLink {
		return nil
	}
	var links []link
	for {
		open := strings.IndexByte(h, '<')
		if open < 0 {
			return links
		}
		end := strings.IndexByte(h[open:], '>')
		if end < 0 {
			return links
		}
		l := link{target: strings.TrimSpace(h[open+1 : open+end])}
		h = h[open+end+1:]
		// The parameters have the grammar of a challenge's.
		p := challengeParser{s: h}
		for p.skip(" \t"); p.peek() == ';'; p.skip(" \t") {
			p.i++
			p.skip(" \t")
			name := p.token()
			p.skip(" \t")
			value := ""
			if p.peek() == '=' {
				p.i++
				value = p.parameter()
			}
			if strings.EqualFold(name, "rel") && l.rels == nil {
				l.rels = strings.Fields(value)
			}
		}
		links = append(links, l)
		h = h[p.i:]
	}
}

// parameter is like value, for lists that are separated by ';'.
func (p *challengeParser) parameter() string {
	p.skip(" \t")
	if p.peek() == '"' {
		return p.value()
	}
	start := p.i
	for p.i < len(p.s) && strings.IndexByte(" \t,;\"", p.s[p.i]) < 0 {
		p.i++
	}
	return p.s[start:p.i]
}
