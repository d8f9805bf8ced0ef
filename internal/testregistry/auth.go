package testregistry

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
)

// Auth says what a registry wants to see. The zero value wants nothing.
type Auth struct {
	// Token makes clients go through a Bearer challenge and /token.
	Token bool
	// Basic asks for a password directly. With Token, both are offered.
	Basic bool

	// Username and Password are the login. Without them, tokens are
	// given to anybody.
	Username, Password string
	// IdentityToken, if set, is taken as a refresh token in place of them.
	IdentityToken string

	// Uses is how many requests a token is good for; 0: any number.
	Uses int
	// ExpiresIn is what /token says, in seconds; 0: nothing.
	ExpiresIn int
	// AccessToken makes /token use that name instead of "token".
	AccessToken bool
	// Realm replaces the address of /token, Challenge the whole header;
	// %s in it is the registry's address.
	Realm     string
	Challenge []string
}

type tokenService struct {
	mu    sync.Mutex
	count int
	valid map[string]bool
	uses  map[string]int
}

// ExpireTokens makes all tokens that were given invalid.
func (r *Registry) ExpireTokens() {
	r.tokens.mu.Lock()
	defer r.tokens.mu.Unlock()
	r.tokens.valid = map[string]bool{}
}

// authorized checks a request, and answers it if it is refused.
func (r *Registry) authorized(w http.ResponseWriter, q *http.Request) bool {
	a := r.opts.Auth
	if !a.Token && !a.Basic && len(a.Challenge) == 0 {
		return true
	}
	user, password, basic := q.BasicAuth()
	if a.Basic && basic && user == a.Username && password == a.Password {
		return true
	}
	if t, ok := strings.CutPrefix(q.Header.Get("Authorization"), "Bearer "); ok && r.tokens.use(t, a.Uses) {
		return true
	}
	for _, c := range r.challenges(q) {
		w.Header().Add("WWW-Authenticate", c)
	}
	registryError(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	return false
}

func (t *tokenService) use(token string, uses int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.valid[token] {
		return false
	}
	if t.uses == nil {
		t.uses = map[string]int{}
	}
	t.uses[token]++
	if uses > 0 && t.uses[token] >= uses {
		delete(t.valid, token)
	}
	return true
}

func (r *Registry) challenges(*http.Request) []string {
	a := r.opts.Auth
	var list []string
	if len(a.Challenge) > 0 {
		for _, c := range a.Challenge {
			list = append(list, strings.ReplaceAll(c, "%s", r.Server.URL))
		}
		return list
	}
	if a.Token {
		realm := a.Realm
		if realm == "" {
			realm = r.Server.URL + "/token"
		}
		list = append(list, fmt.Sprintf(`Bearer realm="%s",service="test,registry"`, realm))
	}
	if a.Basic {
		list = append(list, `Basic realm="test"`)
	}
	return list
}

// serveToken gives a token, by GET with a password or by OAuth2's POST.
func (r *Registry) serveToken(w http.ResponseWriter, q *http.Request) {
	a := r.opts.Auth
	_ = q.ParseForm()
	user, password, _ := q.BasicAuth()
	ok := user == a.Username && password == a.Password
	if q.Method == http.MethodPost {
		ok = a.IdentityToken != "" && q.PostForm.Get("grant_type") == "refresh_token" &&
			q.PostForm.Get("refresh_token") == a.IdentityToken && q.PostForm.Get("scope") != ""
	}
	if !ok {
		registryError(w, http.StatusUnauthorized, "UNAUTHORIZED", "incorrect username or password")
		return
	}
	r.tokens.mu.Lock()
	r.tokens.count++
	token := fmt.Sprintf("token-%d", r.tokens.count)
	r.tokens.valid[token] = true
	r.tokens.mu.Unlock()
	doc := map[string]any{"token": token}
	if a.AccessToken {
		doc = map[string]any{"access_token": token}
	}
	if a.ExpiresIn > 0 {
		doc["expires_in"] = a.ExpiresIn
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(mustJSON(doc))
}

func discardLogger() *log.Logger { return log.New(io.Discard, "", 0) }
