package pull

import (
	"net/url"
	"strings"
	"testing"
)

// FuzzChallenges: every scheme is a token, no value comes from nowhere, and a
// well-formed challenge behind anything that ends in a comma is still found.
func FuzzChallenges(f *testing.F) {
	for _, s := range []string{
		`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull"`,
		`Basic realm="x"`, `Negotiate, Basic realm=x`, `Custom abc==, Bearer realm="a,b\"c" , service=x`,
		`Bearer realm=https://h/t,service=s`, `Digest qop="auth, auth-int"`, `,,, = "`, `Bearer realm="open`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, c := range parseChallenges([]string{s}) {
			if !validHeaderName(c.scheme) || c.scheme != strings.ToLower(c.scheme) {
				t.Errorf("scheme %q", c.scheme)
			}
			if !strings.Contains(s, c.token) {
				t.Errorf("token %q is not in %q", c.token, s)
			}
			for k, v := range c.params {
				if k != strings.ToLower(k) || !validHeaderName(k) || !strings.Contains(strings.ReplaceAll(s, `\`, ""), strings.ReplaceAll(v, `\`, "")) {
					t.Errorf("parameter %q = %q of %q", k, v, s)
				}
			}
		}
		if strings.ContainsAny(s, `"\`) || len(s) > 1000 {
			return
		}
		all := parseChallenges([]string{s + `, Bearer realm="https://h/token",service="s, t"`})
		last := all[len(all)-1]
		if last.scheme != "bearer" || last.params["service"] != "s, t" {
			t.Errorf("the challenge after %q was lost: %+v", s, all)
		}
	})
}

// FuzzLinks: a next page is a tag list with a query, or an error.
func FuzzLinks(f *testing.F) {
	for _, s := range []string{
		`</v2/app/tags/list?last=b&n=2>; rel="next"`, `<http://h/v2/a/tags/list?x>; rel=next`, `<x>; rel="prev", <?last=c>; title="<"; rel=next`,
		`<<<>>>;;;===`, `<a>;rel`, `<?a>;rel="next`, `<?a>;rel="n\ext"`,
	} {
		f.Add(s)
	}
	base := &url.URL{Scheme: "https", Host: "h", Path: "/v2/app/tags/list"}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := nextPage([]string{s}, base)
		if err != nil || u == nil {
			return
		}
		if !strings.HasSuffix(u.Path, "/tags/list") || u.RawQuery == "" {
			t.Errorf("%q leads to %q", s, u)
		}
		if !strings.Contains(strings.ReplaceAll(strings.ToLower(s), `\`, ""), "next") {
			t.Errorf("%q has no next page, got %q", s, u)
		}
	})
}

// FuzzContentRange: a range that is accepted is written back as it was.
func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "bytes 5-9/*", "bytes */10", "bytes 9-5/10", "BYTES 1-1/2", "bytes -1-2/3", "bytes 0-99999999999999999999/1", "byteſ 0-9/10"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		from, to, total, err := parseContentRange(s)
		if err != nil {
			return
		}
		if from < 0 || to < from || total < -1 || total >= 0 && to >= total {
			t.Errorf("%q: from %d to %d of %d", s, from, to, total)
		}
		if !strings.HasPrefix(strings.ToLower(strings.TrimSpace(s)), "bytes ") {
			t.Errorf("%q was accepted", s)
		}
	})
}

// FuzzHostsFile: what is accepted can be asked, in the order of the file, and
// headers cannot carry others.
func FuzzHostsFile(f *testing.F) {
	for _, s := range []string{
		"server = \"https://h\"\n[host.\"https://m\"]\ncapabilities = [\"pull\"]\n",
		"[host.\"http://a:5\"]\nclient = [[\"a\",\"b\"]]\n[host.\"http://a:5\".header]\nx = [\"y\"]\n",
		"host.\"a\" = {skip_verify = true}\nca = [\"x\"]", "[host]\n[host.b]\n[host.a]\n", "[[host]]", "header = {a = \"b\\nc\"}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := parseHostsFile(data, "/d")
		if err != nil {
			return
		}
		for _, c := range h.mirrors {
			u := url.URL{Scheme: c.schemes[0], Host: c.host, Path: c.path}
			if len(c.schemes) != 1 || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
				t.Errorf("mirror %+v", c)
			}
			for k, vs := range c.header {
				if !validHeaderName(k) || strings.ContainsAny(strings.Join(vs, ""), "\r\n") {
					t.Errorf("header %q: %q", k, vs)
				}
			}
		}
	})
}
