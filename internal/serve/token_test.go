package serve_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/byhand/byhand/internal/demo"
	"github.com/byhand/byhand/internal/serve"
)

// newToken gets a token as a client does.
func newToken(t *testing.T, request string, header ...string) string {
	t.Helper()
	a := get(t, request, header...)
	var body struct {
		Token     string
		ExpiresIn int `json:"expires_in"`
	}
	if err := json.Unmarshal(a.body, &body); err != nil || a.status != http.StatusOK || body.Token == "" || body.ExpiresIn != 300 {
		t.Fatalf("token: status %d, body %s: %v", a.status, a.body, err)
	}
	return body.Token
}

var challengeForm = regexp.MustCompile(`^Bearer realm="([^"]+)",service="([^"]+)"(?:,scope="([^"]+)")?(?:,error="([^"]+)")?$`)

func TestTokenProtocol(t *testing.T) {
	i := newImage(t, demo.Options{})
	server := start(t, serve.Options{Auth: serve.NewTokenAuth(serve.TokenOptions{})}, "one="+i.dir, "two="+i.dir)
	manifest := server.URL + "/v2/one/manifests/latest"

	a := get(t, manifest)
	c := challengeForm.FindStringSubmatch(a.header.Get("WWW-Authenticate"))
	if a.status != http.StatusUnauthorized || c == nil {
		t.Fatalf("status %d, challenge %q", a.status, a.header.Get("WWW-Authenticate"))
	}
	if c[1] != server.URL+"/token" || c[3] != "repository:one:pull" || c[4] != "" {
		t.Errorf("challenge %q", c)
	}
	token := newToken(t, c[1]+"?service="+c[2]+"&scope="+c[3])
	if a = get(t, manifest, "Authorization", "Bearer "+token); a.status != http.StatusOK {
		t.Errorf("with the token: status %d", a.status)
	}
	if a = get(t, server.URL+"/v2/", "Authorization", "Bearer "+token); a.status != http.StatusOK {
		t.Errorf("ping with the token: status %d", a.status)
	}

	refused := map[string]struct{ url, authorization, problem string }{
		"another repository": {server.URL + "/v2/two/manifests/latest", "Bearer " + token, "insufficient_scope"},
		"a changed token":    {manifest, "Bearer " + strings.Replace(token, ".", ".e30", 1), "invalid_token"},
		"no signature":       {manifest, "Bearer " + token[:strings.LastIndex(token, ".")+1], "invalid_token"},
		"no token at all":    {manifest, "Bearer ", "invalid_token"},
		"another scheme":     {manifest, "Basic dTpw", ""},
		"to push": {
			manifest, "Bearer " + newToken(t, c[1]+"?scope=repository:one:push"), "insufficient_scope",
		},
	}
	for name, tt := range refused {
		a := get(t, tt.url, "Authorization", tt.authorization)
		c := challengeForm.FindStringSubmatch(a.header.Get("WWW-Authenticate"))
		if a.status != http.StatusUnauthorized || c == nil || c[4] != tt.problem {
			t.Errorf("%s: status %d, challenge %q", name, a.status, c)
		}
	}
	both := newToken(t, c[1]+"?scope=repository:one:pull&scope=repository:two:pull,push")
	if a := get(t, server.URL+"/v2/two/manifests/latest", "Authorization", "Bearer "+both); a.status != http.StatusOK {
		t.Errorf("token with two scopes: status %d", a.status)
	}
}

func TestTokenExpires(t *testing.T) {
	i := newImage(t, demo.Options{})
	now := time.Now()
	auth := serve.NewTokenAuth(serve.TokenOptions{Now: func() time.Time { return now }})
	server := start(t, serve.Options{Auth: auth}, "one="+i.dir)
	token := newToken(t, server.URL+"/token?scope=repository:one:pull")
	for after, want := range map[time.Duration]int{0: 200, 299 * time.Second: 200, 300 * time.Second: 401} {
		was := now
		now = now.Add(after)
		a := get(t, server.URL+"/v2/one/manifests/latest", "Authorization", "Bearer "+token)
		if a.status != want {
			t.Errorf("after %s: status %d, expected %d", after, a.status, want)
		}
		now = was
	}
	other := start(t, serve.Options{Auth: serve.NewTokenAuth(serve.TokenOptions{})}, "one="+i.dir)
	if a := get(t, other.URL+"/v2/one/manifests/latest", "Authorization", "Bearer "+token); a.status != 401 {
		t.Errorf("a token of another server: status %d", a.status)
	}
}

func TestTokenPassword(t *testing.T) {
	i := newImage(t, demo.Options{})
	auth := serve.NewTokenAuth(serve.TokenOptions{Username: "lab", Password: "s3cret"})
	server := start(t, serve.Options{Auth: auth}, "one="+i.dir)
	request := server.URL + "/token?scope=repository:one:pull"
	basic := func(user, password string) string {
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, password)
		return r.Header.Get("Authorization")
	}
	token := newToken(t, request, "Authorization", basic("lab", "s3cret"))
	if a := get(t, server.URL+"/v2/one/manifests/latest", "Authorization", "Bearer "+token); a.status != 200 {
		t.Errorf("with the token: status %d", a.status)
	}
	for _, authorization := range []string{"", basic("lab", "wrong"), basic("", "s3cret"), basic("labs", "3cret")} {
		if a := get(t, request, "Authorization", authorization); a.status != 401 {
			t.Errorf("token for %q: status %d", authorization, a.status)
		}
	}
	form := url.Values{
		"grant_type": {"password"}, "username": {"lab"}, "password": {"s3cret"},
		"service": {"byhand"}, "scope": {"repository:one:pull"},
	}
	for password, want := range map[string]int{"s3cret": 200, "wrong": 401} {
		form.Set("password", password)
		resp, err := http.PostForm(server.URL+"/token", form)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("OAuth2 with %q: status %d", password, resp.StatusCode)
		}
	}
}

// TestRealmHasNoQuotes: a Host header cannot end the quoted realm.
func TestRealmHasNoQuotes(t *testing.T) {
	i := newImage(t, demo.Options{})
	server := start(t, serve.Options{Auth: serve.NewTokenAuth(serve.TokenOptions{})}, i.dir)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/v2/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = `evil",realm="http://evil`
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return // refused before it was sent is as good
	}
	_ = resp.Body.Close()
	if c := resp.Header.Get("WWW-Authenticate"); strings.Contains(c, "evil") {
		t.Errorf("challenge %q", c)
	}
}
