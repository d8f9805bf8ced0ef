package pull

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/byhand/byhand/internal/testregistry"
)

// secretive collects events, to see that no secret is in them.
type eventLog struct {
	mu     sync.Mutex
	events []Event
}

func (l *eventLog) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *eventLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("%+v", l.events)
}

func (l *eventLog) warnings() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []string
	for _, e := range l.events {
		if e.Kind == EventWarning {
			list = append(list, e.Message)
		}
	}
	return list
}

const (
	secretPassword = "hunter2secret"
	secretToken    = "identity-secret"
)

func loginFor(c Credential) CredentialsFunc {
	return func(context.Context, string) (Credential, string, error) { return c, "the test", nil }
}

func TestAuth(t *testing.T) {
	password := Credential{Username: "jo", Password: secretPassword}
	identity := Credential{IdentityToken: secretToken}
	jo := testregistry.Auth{Token: true, Username: "jo", Password: secretPassword}
	tests := map[string]struct {
		auth   testregistry.Auth
		login  CredentialsFunc
		want   error
		tokens int
	}{
		"anonymous token":              {auth: testregistry.Auth{Token: true}, tokens: 1},
		"access_token":                 {auth: testregistry.Auth{Token: true, AccessToken: true}, tokens: 1},
		"password for a token":         {auth: jo, login: loginFor(password), tokens: 1},
		"no password for a token":      {auth: jo, want: &AuthError{}, tokens: 1},
		"wrong password for a token":   {auth: jo, login: loginFor(Credential{Username: "jo", Password: "wrong"}), want: &AuthError{}, tokens: 1},
		"identity token":               {auth: testregistry.Auth{Token: true, Username: "nobody", IdentityToken: secretToken}, login: loginFor(identity), tokens: 1},
		"wrong identity token":         {auth: testregistry.Auth{Token: true, IdentityToken: "other"}, login: loginFor(identity), want: &AuthError{}, tokens: 1},
		"basic":                        {auth: testregistry.Auth{Basic: true, Username: "jo", Password: secretPassword}, login: loginFor(password)},
		"basic without a login":        {auth: testregistry.Auth{Basic: true, Username: "jo", Password: secretPassword}, want: &AuthError{}},
		"basic with the wrong login":   {auth: testregistry.Auth{Basic: true, Username: "jo", Password: "other"}, login: loginFor(password), want: &AuthError{}},
		"each token good for one use":  {auth: testregistry.Auth{Token: true, Uses: 1}, tokens: 5},
		"each token good for two uses": {auth: testregistry.Auth{Token: true, Uses: 2}, tokens: 3},
		"broken login source": {
			auth: testregistry.Auth{Token: true}, tokens: 1,
			login: func(context.Context, string) (Credential, string, error) {
				return Credential{}, "", errors.New("run credential helper docker-credential-x: not on PATH")
			},
		},
		"several challenges in odd quoting": {
			auth: testregistry.Auth{Token: true, Challenge: []string{
				`Negotiate, Digest realm="a, b", nonce=x`,
				`Custom abc==, bearer ,REALM = "%s/to\ken" , service=registry.test:5000,scope="repository:app:pull",, Basic realm=x`,
			}}, tokens: 1,
		},
		"a challenge that is none":          {auth: testregistry.Auth{Challenge: []string{`%%%% "`}}, want: &AuthError{}},
		"a realm that is no address":        {auth: testregistry.Auth{Challenge: []string{`Bearer realm="://"`}}, want: &FormatError{}},
		"bearer fails, basic works":         {auth: testregistry.Auth{Basic: true, Username: "jo", Password: secretPassword, Challenge: []string{`Bearer realm="%s/missing", Basic realm="x"`}}, login: loginFor(password)},
		"a token service that is not there": {auth: testregistry.Auth{Challenge: []string{`Bearer realm="http://127.0.0.1:1/token"`}}, want: &UnreachableError{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := testregistry.New(t, testregistry.Options{Auth: tt.auth})
			desc := reg.AddBlob("app", noise(100))
			c := quickClient(t)
			c.Credentials = tt.login
			var log eventLog
			c.Observe = log.add
			p := mustRegistry(t, c, reg.Repo("app"))
			var err error
			for range 5 {
				if _, err = readBlob(t.Context(), p, desc, 0); err != nil {
					break
				}
			}
			checkKind(t, err, tt.want)
			if n := reg.Count("/token"); n != tt.tokens {
				t.Errorf("asked for %d tokens, want %d", n, tt.tokens)
			}
			for _, s := range []string{secretPassword, secretToken, "token-1", base64.StdEncoding.EncodeToString([]byte("jo:" + secretPassword))} {
				if strings.Contains(log.String(), s) || err != nil && strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), s) {
					t.Errorf("the secret %q is in an event or error", s)
				}
			}
		})
	}
}

// TestAuthError names where logins were looked for.
func TestAuthError(t *testing.T) {
	t.Parallel()
	reg := testregistry.New(t, testregistry.Options{Auth: testregistry.Auth{Basic: true, Username: "x", Password: "y"}})
	c := quickClient(t)
	asked := ""
	c.Credentials = func(_ context.Context, repository string) (Credential, string, error) {
		asked = repository
		return Credential{}, "no login in /home/jo/.docker/config.json", errors.New("helper broken")
	}
	_, err := mustRegistry(t, c, reg.Repo("org/app")).manifest(t.Context(), "latest")
	var auth *AuthError
	if !errors.As(err, &auth) {
		t.Fatalf("error %v, want an AuthError", err)
	}
	want := []string{"anonymous", "no login in /home/jo/.docker/config.json", "helper broken"}
	if d := cmp.Diff(want, auth.Tried); d != "" {
		t.Errorf("tried (-want +got):\n%s", d)
	}
	if want := reg.Repo("org/app"); asked != want {
		t.Errorf("asked for the login of %q, want %q", asked, want)
	}
}

// TestTokenExpiry renews a token in the middle of a blob, and one that says
// when it expires before it does.
func TestTokenExpiry(t *testing.T) {
	t.Parallel()
	reg := testregistry.New(t, testregistry.Options{Auth: testregistry.Auth{Token: true, Uses: 1}})
	data := noise(1 << 20)
	desc := reg.AddBlob("app", data)
	reg.Fault("/blobs/", testregistry.Fault{Times: 1, Cut: new(int64(400_000))})
	got, err := readBlob(t.Context(), mustRegistry(t, quickClient(t), reg.Repo("app")), desc, 0)
	if err != nil || len(got) != len(data) {
		t.Fatalf("%d bytes, error %v", len(got), err)
	}
	if n := reg.Count("/token"); n != 2 {
		t.Errorf("asked for %d tokens, want 2", n)
	}
}

func TestParseToken(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	tests := map[string]struct {
		body  string
		value string
		life  time.Duration
	}{
		"docker":            {`{"token":"a","expires_in":300,"issued_at":"x"}`, "a", 270 * time.Second},
		"oauth2":            {`{"access_token":"b"}`, "b", 54 * time.Second},
		"too short a life":  {`{"token":"a","expires_in":1}`, "a", 54 * time.Second},
		"a life in quotes":  {`{"token":"a","expires_in":"300"}`, "a", 270 * time.Second},
		"a life of words":   {`{"token":"a","expires_in":"long"}`, "a", 54 * time.Second},
		"negative life":     {`{"token":"a","expires_in":-5}`, "a", 54 * time.Second},
		"life of centuries": {`{"token":"a","expires_in":1e30}`, "a", 365 * 24 * time.Hour * 9 / 10},
		"none":              {`{}`, "", 0},
		"not JSON":          {`<html>`, "", 0},
		"line break":        {`{"token":"a\r\nX-Evil: 1"}`, "", 0},
		"too long":          {`{"token":"` + strings.Repeat("x", maxToken+1) + `"}`, "", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseToken([]byte(tt.body), "host", now)
			if (err != nil) != (tt.value == "") {
				t.Fatalf("error %v", err)
			}
			if err == nil && (got.value != tt.value || got.expires.Sub(now) != tt.life) {
				t.Errorf("got %q for %v, want %q for %v", got.value, got.expires.Sub(now), tt.value, tt.life)
			}
		})
	}
}

// TestTokenOnce asks for one token, however many blobs wait for it.
func TestTokenOnce(t *testing.T) {
	t.Parallel()
	reg := testregistry.New(t, testregistry.Options{Auth: testregistry.Auth{Token: true}})
	reg.Fault("/token", testregistry.Fault{Times: 1, Status: http.StatusServiceUnavailable})
	desc := reg.AddBlob("app", noise(100))
	p := mustRegistry(t, quickClient(t), reg.Repo("app"))
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := readBlob(t.Context(), p, desc, 0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := reg.Count("/token"); n != 2 {
		t.Errorf("asked for %d tokens, want 2: one that failed, one for all", n)
	}
}

// TestTokenRedirects: a token service that sends the client round and round is
// asked as often as the limit says.
func TestTokenRedirects(t *testing.T) {
	reg := testregistry.New(t, testregistry.Options{Auth: testregistry.Auth{Challenge: []string{`Bearer realm="%s/token",service="x"`}}})
	desc := reg.AddBlob("app", noise(10))
	reg.Fault("/token", testregistry.Fault{Redirect: reg.Server.URL + "%s"})
	c := quickClient(t)
	c.Limits.Redirects = 3
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // or it would go on for ever
	defer cancel()
	_, err := readBlob(ctx, mustRegistry(t, c, reg.Repo("app")), desc, 0)
	var limit *LimitError
	if !errors.As(err, &limit) || limit.Limit != "Redirects" || limit.Max != 3 {
		t.Errorf("error %v", err)
	}
	if asked := reg.Count("/token"); asked != 4 {
		t.Errorf("the token service was asked %d times, want 4", asked)
	}
}

// TestSecretsStay lets an HTTPS registry send the client elsewhere in every
// way; the password must not follow.
func TestSecretsStay(t *testing.T) {
	evil := testregistry.New(t, testregistry.Options{})
	login := loginFor(Credential{Username: "jo", Password: secretPassword})
	auth := testregistry.Auth{Basic: true, Username: "jo", Password: secretPassword}
	data := noise(100)
	tests := map[string]struct {
		auth  testregistry.Auth
		fault testregistry.Fault
		part  string
		want  error
	}{
		"redirect to another host": {auth: auth, part: "/blobs/", fault: testregistry.Fault{Redirect: evil.Server.URL + "%s"}},
		"redirect with a user in it": {
			auth: auth, part: "/blobs/", fault: testregistry.Fault{Redirect: "http://user:pw@" + evil.Host() + "%s"},
		},
		"plain HTTP realm": {
			auth: testregistry.Auth{Challenge: []string{`Bearer realm="` + evil.Server.URL + `/token",service="x"`}}, want: &AuthError{},
		},
		"token service redirects": {
			auth: testregistry.Auth{Challenge: []string{`Bearer realm="%s/token",service="x"`}}, part: "/token",
			fault: testregistry.Fault{Redirect: evil.Server.URL + "%s"}, want: &FormatError{},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			reg := testregistry.New(t, testregistry.Options{TLS: true, Auth: tt.auth})
			desc := reg.AddBlob("app", data)
			evil.AddBlob("app", data)
			if tt.part != "" {
				reg.Fault(tt.part, tt.fault)
			}
			c := quickClient(t)
			c.SkipTLSVerify = true
			c.Credentials = login
			before := len(evil.Requests())
			_, err := readBlob(t.Context(), mustRegistry(t, c, reg.Repo("app")), desc, 0)
			checkKind(t, err, tt.want)
			requests := evil.Requests()[before:]
			if len(requests) == 0 && tt.want == nil {
				t.Error("nothing was asked of the other host: the test tests nothing")
			}
			for _, q := range requests {
				if a := q.Header.Get("Authorization"); a != "" {
					t.Errorf("the other host was sent %q", a)
				}
				if q.Query.Get("account") != "" {
					t.Errorf("the other host was sent the account %q", q.Query.Get("account"))
				}
			}
		})
	}
}

// TestSecretsStayEncrypted is like TestSecretsStay, with another host that speaks
// HTTPS too and asks for the login itself.
func TestSecretsStayEncrypted(t *testing.T) {
	login := loginFor(Credential{Username: "jo", Password: secretPassword})
	tests := map[string]struct {
		auth testregistry.Auth
		part string
	}{
		"token service redirects":   {auth: testregistry.Auth{Token: true, Username: "jo", Password: secretPassword}, part: "/token"},
		"challenge after redirect":  {part: "/blobs/"},
		"basic, and then elsewhere": {auth: testregistry.Auth{Basic: true, Username: "jo", Password: secretPassword}, part: "/blobs/"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			evil := testregistry.New(t, testregistry.Options{TLS: true, Auth: testregistry.Auth{
				Token: true, Basic: true, Username: "jo", Password: secretPassword,
			}})
			reg := testregistry.New(t, testregistry.Options{TLS: true, Auth: tt.auth})
			desc := reg.AddBlob("app", noise(10))
			reg.Fault(tt.part, testregistry.Fault{Redirect: evil.Server.URL + "%s"})
			c := quickClient(t)
			c.SkipTLSVerify, c.Credentials = true, login
			_, err := readBlob(t.Context(), mustRegistry(t, c, reg.Repo("app")), desc, 0)
			checkKind(t, err, &AuthError{})
			if len(evil.Requests()) == 0 {
				t.Error("nothing was asked of the other host: the test tests nothing")
			}
			for _, q := range evil.Requests() {
				if a := q.Header.Get("Authorization"); a != "" || q.Path == "/token" && tt.part != "/token" {
					t.Errorf("the other host was asked %s with authorization %q", q.Path, a)
				}
			}
		})
	}
}
