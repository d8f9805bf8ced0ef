package pull

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// clientID names the program to token services (distribution, "OAuth2
	// token authentication").
	clientID = "byhand"

	// minTokenLife is how long a token is good that does not say so, and the
	// least that services may give (distribution, "Token authentication").
	minTokenLife = 60 * time.Second

	// maxToken bounds a token, in bytes; servers take headers of 8 to 16 KiB.
	maxToken = 64 << 10
)

// token is a bearer token.
type token struct {
	value   string
	life    time.Duration
	expires time.Time
}

// token asks the service that a Bearer challenge names. asked is the address
// that the challenge came from.
func (a *authorizer) token(ctx context.Context, w *watchdog, repo string, r *repoAuth, asked *url.URL, c challenge) (token, error) {
	realm, err := asked.Parse(c.params["realm"])
	if err != nil || realm.Host == "" || realm.Scheme != "http" && realm.Scheme != "https" {
		return token{}, &FormatError{Object: "challenge of " + a.endpoint.cfg.host, Reason: "the token service's address is malformed"}
	}
	realm.User, realm.Fragment = nil, ""
	a.login(ctx, repo, r)
	login := r.login
	if !login.Empty() && !a.mayHear(realm, asked) {
		a.endpoint.observe(Event{
			Kind: EventWarning, Object: a.endpoint.cfg.host,
			Message: "the token service " + redactURL(realm) + " is not encrypted: the login is not sent to it",
		})
		login = Credential{}
	}
	scopes := strings.Fields(c.params["scope"])
	if len(scopes) == 0 {
		scopes = []string{"repository:" + repo + ":pull"}
	}
	limit := a.endpoint.policy.MetadataTime
	ctx, cancel := context.WithTimeoutCause(ctx, limit, &lateError{limit: limit})
	defer cancel()
	req, err := tokenRequest(ctx, realm, c.params["service"], scopes, login)
	if err != nil {
		return token{}, err
	}
	resp, err := a.sendToken(w, req, asked)
	if err != nil {
		return token{}, attemptError(ctx, err)
	}
	if resp.StatusCode != http.StatusOK {
		return token{}, &tokenError{err: newAnswerError(resp)}
	}
	defer closeBody(resp)
	body, err := readBounded("token from "+realm.Host, "Metadata", &armedReader{r: resp.Body, w: w}, a.limit)
	if err != nil {
		return token{}, attemptError(ctx, err)
	}
	t, err := parseToken(body, realm.Host, time.Now())
	if err == nil {
		a.endpoint.observe(Event{Kind: EventToken, Object: a.endpoint.cfg.host, Token: &TokenGrant{
			From: realm.Host, Service: printable(c.params["service"]), Scopes: printableAll(scopes),
			Login: r.loginSource(login), Life: t.life,
		}})
	}
	return t, err
}

// tokenRequest builds the request for a token: OAuth2 for an identity token,
// else GET, with the login if there is one.
func tokenRequest(ctx context.Context, realm *url.URL, service string, scopes []string, login Credential) (*http.Request, error) {
	if login.IdentityToken != "" {
		form := url.Values{
			"grant_type": {"refresh_token"}, "client_id": {clientID},
			"service": {service}, "scope": {strings.Join(scopes, " ")},
			"refresh_token": {login.IdentityToken},
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(form.Encode()))
		if err == nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return req, err
	}
	u := *realm
	q := u.Query()
	if service != "" {
		q.Set("service", service)
	}
	for _, s := range scopes {
		q.Add("scope", s)
	}
	if login.Username != "" {
		q.Set("account", login.Username)
	}
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err == nil {
		if h := basicHeader(login); h != "" {
			req.Header.Set("Authorization", h)
		}
	}
	return req, err
}

// sendToken sends req. A GET follows redirects, and leaves the login behind
// when they lead elsewhere; a POST has the secret in its body and follows none.
func (a *authorizer) sendToken(w *watchdog, req *http.Request, asked *url.URL) (*http.Response, error) {
	start := req.URL
	tr := a.endpoint.foreign
	if sameOrigin(start, asked) {
		tr = a.endpoint.own
		for k, v := range a.endpoint.cfg.header {
			if k != "Authorization" {
				req.Header[k] = v
			}
		}
	}
	for n := 0; ; n++ {
		resp, err := a.endpoint.roundTrip(w, tr, req, purpose{object: "token", hop: n, token: true})
		if err != nil || req.Method != http.MethodGet {
			return resp, err
		}
		next, err := redirectTarget(resp, false)
		if err != nil || next == nil {
			if err != nil {
				closeBody(resp)
			}
			return resp, err
		}
		closeBody(resp)
		if n == a.endpoint.redirects {
			return nil, &LimitError{Object: redactURL(start), Limit: "Redirects", Max: int64(n), Got: int64(n) + 1}
		}
		again, err := http.NewRequestWithContext(req.Context(), http.MethodGet, next.String(), nil)
		if err != nil {
			return nil, fmt.Errorf("make request for %s: malformed address", redactURL(next))
		}
		if sameOrigin(next, req.URL) {
			again.Header = req.Header
		} else {
			tr = a.endpoint.foreign
		}
		req = again
	}
}

// parseToken reads a token service's answer. Services name the token in one of
// two ways.
func parseToken(body []byte, host string, now time.Time) (token, error) {
	var doc struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		// Some write the number as a string.
		ExpiresIn json.RawMessage `json:"expires_in"`
	}
	bad := func(reason string) (token, error) {
		return token{}, &FormatError{Object: "token from " + host, Reason: reason}
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return bad("not the JSON of a token service")
	}
	t := doc.Token
	if t == "" {
		t = doc.AccessToken
	}
	if t == "" {
		return bad(errNoToken.Error())
	}
	if len(t) > maxToken {
		return bad("the token is too long")
	}
	for i := range len(t) {
		if t[i] <= ' ' || t[i] > '~' {
			return bad("the token has bytes that no header may have")
		}
	}
	life := minTokenLife
	seconds, err := strconv.ParseFloat(strings.Trim(string(doc.ExpiresIn), `"`), 64)
	if err == nil && seconds > minTokenLife.Seconds() {
		life = time.Duration(min(seconds, 365*24*3600) * float64(time.Second))
	}
	// A tenth is kept in hand for the way there. A token that turns out to
	// have expired earlier costs one more 401.
	return token{value: t, life: life, expires: now.Add(life - life/10)}, nil
}

// tokenError reports that a token service gave no token.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return "get token: " + e.err.Error() }
func (e *tokenError) Unwrap() error { return e.err }

// loginSource says where the login that was sent came from.
func (r *repoAuth) loginSource(sent Credential) string {
	if sent.Empty() {
		return ""
	}
	if r.source == "" {
		return "a login"
	}
	return r.source
}

func printableAll(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = printable(s)
	}
	return out
}
