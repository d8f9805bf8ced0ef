package serve

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	tokenPath = "/token"
	// defaultTokenLife is what Docker Hub gives: long enough for one pull of
	// moderate size, short enough that clients must renew in a large one.
	defaultTokenLife = 5 * time.Minute
	// maxTokenRequest bounds the body of an OAuth2 token request.
	maxTokenRequest = 64 << 10
)

// TokenAuth is the token protocol of the Docker registry: a request without a
// token is answered 401 with a Bearer challenge that names a realm, a service
// and a scope; the realm, this server's own /token, gives a signed token for
// it; the request is repeated with that.
type TokenAuth struct {
	// Username and Password must be shown for a token; both empty give a
	// token to everybody, as public registries do.
	Username, Password string

	service string
	life    time.Duration
	key     []byte
	now     func() time.Time
}

// TokenOptions of a TokenAuth; the zero value gives tokens to everybody.
type TokenOptions struct {
	Username, Password string
	// Life is how long a token is good for; zero is five minutes.
	Life time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// NewTokenAuth makes a token authority with a signing key of its own, so that
// no token outlives the process.
func NewTokenAuth(o TokenOptions) *TokenAuth {
	a := &TokenAuth{
		Username: o.Username, Password: o.Password,
		service: "byhand", life: o.Life, now: o.Now, key: make([]byte, sha256.Size),
	}
	if a.life <= 0 {
		a.life = defaultTokenLife
	}
	if a.now == nil {
		a.now = time.Now
	}
	_, _ = rand.Read(a.key) // never fails: crypto/rand ends the program instead
	return a
}

// access is one entry of a token: what may be done with which repository.
type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// claims of a token, named as in the registry token specification.
type claims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  string   `json:"aud"`
	Expires   int64    `json:"exp"`
	NotBefore int64    `json:"nbf"`
	IssuedAt  int64    `json:"iat"`
	ID        string   `json:"jti"`
	Access    []access `json:"access"`
}

// jwtHeader is the only one that sign writes and verify takes: what a token
// says of its own algorithm is never believed.
const jwtHeader = `{"alg":"HS256","typ":"JWT"}`

func (a *TokenAuth) sign(c claims) (string, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	enc := base64.RawURLEncoding
	signed := enc.EncodeToString([]byte(jwtHeader)) + "." + enc.EncodeToString(payload)
	return signed + "." + enc.EncodeToString(a.mac(signed)), nil
}

func (a *TokenAuth) mac(signed string) []byte {
	m := hmac.New(sha256.New, a.key)
	_, _ = m.Write([]byte(signed)) // hash.Hash never fails
	return m.Sum(nil)
}

var errToken = errors.New("invalid token")

// verify returns the claims of a token that this authority signed and that has
// not expired.
func (a *TokenAuth) verify(token string) (claims, error) {
	var c claims
	i := strings.LastIndexByte(token, '.')
	if i < 0 {
		return c, errToken
	}
	// The text is compared: decoding would pass over line breaks.
	enc := base64.RawURLEncoding
	if !hmac.Equal([]byte(token[i+1:]), []byte(enc.EncodeToString(a.mac(token[:i])))) {
		return c, errToken
	}
	_, payload, _ := strings.Cut(token[:i], ".")
	raw, err := enc.DecodeString(payload)
	if err != nil || json.Unmarshal(raw, &c) != nil {
		return c, errToken
	}
	if now := a.now().Unix(); c.Audience != a.service || now >= c.Expires || now < c.NotBefore {
		return c, fmt.Errorf("%w: expired", errToken)
	}
	return c, nil
}

// admit lets a request through or answers it with the challenge.
func (a *TokenAuth) admit(w http.ResponseWriter, r *http.Request, repository string) bool {
	scope := ""
	if validRepository(repository) {
		scope = "repository:" + repository + ":pull"
	}
	problem := ""
	if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		c, err := a.verify(strings.TrimSpace(token))
		switch {
		case err != nil:
			problem = "invalid_token"
		case scope == "" || c.allows(repository):
			return true
		default:
			problem = "insufficient_scope"
		}
	}
	challenge := fmt.Sprintf(`Bearer realm="%s",service="%s"`, realm(r), a.service)
	if scope != "" {
		challenge += fmt.Sprintf(`,scope="%s"`, scope)
	}
	if problem != "" {
		challenge += fmt.Sprintf(`,error="%s"`, problem)
	}
	w.Header().Set("WWW-Authenticate", challenge)
	writeError(w, http.StatusUnauthorized, codeUnauthorized, "authentication required")
	return false
}

func (c claims) allows(repository string) bool {
	return slices.ContainsFunc(c.Access, func(x access) bool {
		return x.Type == "repository" && x.Name == repository && slices.Contains(x.Actions, "pull")
	})
}

// realm is the address of /token as the client reaches this server. Quotes
// cannot come out of it: the host is kept only if it is plain.
func realm(r *http.Request) string {
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if host == "" || strings.ContainsFunc(host, func(c rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]", c)
	}) {
		host = "localhost"
	}
	return scheme + "://" + host + tokenPath
}

// serveToken answers GET with query parameters and Basic credentials, and the
// OAuth2 form by POST with grant_type=password.
func (a *TokenAuth) serveToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	username, password, _ := r.BasicAuth()
	wanted := r.URL.Query()
	switch r.Method {
	case http.MethodGet:
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, maxTokenRequest)
		if r.ParseForm() != nil || r.PostForm.Get("grant_type") != "password" {
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"})
			return
		}
		username, password = r.PostForm.Get("username"), r.PostForm.Get("password")
		wanted = r.PostForm
	default:
		w.Header().Set("Allow", "GET, POST")
		writeError(w, http.StatusMethodNotAllowed, codeUnsupported, "tokens are had by GET or POST")
		return
	}
	if !a.known(username, password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="`+a.service+`"`)
		writeError(w, http.StatusUnauthorized, codeUnauthorized, "wrong user name or password")
		return
	}
	if service := wanted.Get("service"); service != "" && service != a.service {
		writeError(w, http.StatusBadRequest, codeUnsupported, "unknown service")
		return
	}
	a.writeToken(w, username, grant(wanted["scope"]))
}

// known compares in constant time and without showing lengths.
func (a *TokenAuth) known(username, password string) bool {
	if a.Username == "" && a.Password == "" {
		return true
	}
	want := sha256.Sum256([]byte(a.Username + "\x00" + a.Password))
	got := sha256.Sum256([]byte(username + "\x00" + password))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// grant gives of the wanted scopes what a read-only registry can: to pull.
func grant(scopes []string) []access {
	granted := []access{}
	for _, list := range scopes {
		for scope := range strings.FieldsSeq(list) {
			kind, rest, _ := strings.Cut(scope, ":")
			i := strings.LastIndexByte(rest, ':')
			if kind != "repository" || i < 0 || !validRepository(rest[:i]) {
				continue
			}
			x := access{Type: kind, Name: rest[:i], Actions: []string{}}
			if actions := strings.Split(rest[i+1:], ","); slices.Contains(actions, "pull") || slices.Contains(actions, "*") {
				x.Actions = append(x.Actions, "pull")
			}
			granted = append(granted, x)
		}
	}
	return granted
}

func (a *TokenAuth) writeToken(w http.ResponseWriter, subject string, granted []access) {
	now := a.now()
	token, err := a.sign(claims{
		Issuer: a.service, Subject: subject, Audience: a.service, ID: rand.Text(),
		Expires: now.Add(a.life).Unix(), NotBefore: now.Unix(), IssuedAt: now.Unix(), Access: granted,
	})
	if err != nil {
		writeError(w, http.StatusInternalServerError, codeUnknown, "no token could be made")
		return
	}
	writeJSON(w, http.StatusOK, struct {
		Token     string `json:"token"`
		Access    string `json:"access_token"`
		ExpiresIn int64  `json:"expires_in"`
		IssuedAt  string `json:"issued_at"`
	}{token, token, int64(a.life / time.Second), now.UTC().Format(time.RFC3339)})
}
