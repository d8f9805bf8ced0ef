package pull

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// authorizer answers one endpoint's challenges and keeps what it got for the
// next request.
type authorizer struct {
	endpoint *endpoint
	find     CredentialsFunc
	limit    int64 // bytes of a token service's answer

	mu    sync.Mutex
	repos map[string]*repoAuth
}

// repoAuth is what is known for one repository: tokens are for one, and logins
// can be.
type repoAuth struct {
	mu      sync.Mutex // held while a token is fetched, so that it is fetched once
	header  string     // value of Authorization, "" if none is known
	expires time.Time  // zero: never
	asked   bool       // whether login was looked for
	login   Credential
	source  string
	lookErr error
}

func newAuthorizer(e *endpoint, c *Client) *authorizer {
	return &authorizer{
		endpoint: e, find: c.Credentials,
		limit: c.Limits.withDefaults().Metadata,
		repos: map[string]*repoAuth{},
	}
}

func (a *authorizer) repo(name string) *repoAuth {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.repos[name]
	if r == nil {
		r = &repoAuth{}
		a.repos[name] = r
	}
	return r
}

// current returns the Authorization that worked before, "" if there is none.
func (a *authorizer) current(repo string) string {
	r := a.repo(repo)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.expires.IsZero() && time.Now().After(r.expires) {
		return ""
	}
	return r.header
}

// answer returns the Authorization for the challenges of a 401, "" if there is
// none to give. used is what the refused request had.
func (a *authorizer) answer(ctx context.Context, w *watchdog, repo string, resp *http.Response, used string) (string, error) {
	r := a.repo(repo)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.header != "" && r.header != used && (r.expires.IsZero() || time.Now().Before(r.expires)) {
		return r.header, nil // another request of this repository was faster
	}
	r.header, r.expires = "", time.Time{}
	challenges := parseChallenges(resp.Header.Values("Www-Authenticate"))
	var failed error
	for _, c := range challenges {
		if c.scheme != "bearer" || c.params["realm"] == "" {
			continue
		}
		t, err := a.token(ctx, w, repo, r, resp.Request.URL, c)
		if err == nil {
			r.header, r.expires = "Bearer "+t.value, t.expires
			return r.header, nil
		}
		failed = err
		break // one token service is enough; Basic may still work
	}
	for _, c := range challenges {
		if c.scheme != "basic" {
			continue
		}
		a.login(ctx, repo, r)
		header := basicHeader(r.login)
		if header != "" && header != used && a.mayHear(resp.Request.URL, resp.Request.URL) {
			r.header = header
			return header, nil
		}
	}
	return "", failed
}

// login finds the login for the repository, once.
func (a *authorizer) login(ctx context.Context, repo string, r *repoAuth) {
	if r.asked || a.find == nil {
		return
	}
	cred, source, err := a.find(ctx, a.host()+"/"+repo)
	if ctx.Err() != nil {
		return // not an answer
	}
	r.asked = true
	r.login, r.source, r.lookErr = cred, source, err
	if err != nil {
		a.endpoint.observe(Event{
			Kind: EventWarning, Object: a.host(), Err: err,
			Message: "look up login for " + a.host() + ": " + err.Error(),
		})
	}
}

// host is the name under which logins for the endpoint are kept.
func (a *authorizer) host() string {
	if a.endpoint.cfg.host == dockerHubHost {
		return dockerHub
	}
	return a.endpoint.cfg.host
}

// tried names the sources of logins that were used for repo.
func (a *authorizer) tried(repo string) []string {
	r := a.repo(repo)
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	if r.login.Empty() {
		list = append(list, "anonymous")
	}
	if r.source != "" {
		list = append(list, r.source)
	}
	if r.lookErr != nil {
		list = append(list, r.lookErr.Error())
	}
	return list
}

// basicHeader returns the Authorization of RFC 7617, "" for a login without a
// password.
func basicHeader(c Credential) string {
	if c.Username == "" && c.Password == "" {
		return ""
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password))
}

// mayHear reports whether secrets for the endpoint may be sent to u, an address
// that the answer from asked named. Over plain HTTP they go only where the
// registry itself speaks it and the listener is the registry's own host, this
// machine, or the user allowed plain HTTP anywhere.
func (a *authorizer) mayHear(u, asked *url.URL) bool {
	if u.Scheme == "https" {
		return true
	}
	if u.Scheme != "http" || asked.Scheme != "http" {
		return false
	}
	return u.Hostname() == asked.Hostname() || isLoopback(u.Host) || a.endpoint.plainOK
}

var errNoToken = errors.New("the token service's answer has no token")
