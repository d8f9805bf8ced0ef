package pull

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultUserAgent = "byhand"

	// maxResponseHeader bounds the headers of an answer, in bytes. Go's
	// default is 10 MiB; registries send less than 4 KiB.
	maxResponseHeader = 256 << 10

	// maxIdle is how many connections to a host are kept for reuse: enough for
	// all layers that are fetched at once.
	maxIdle = 16

	// mirrorRest is how long a mirror that could not be reached is left alone.
	mirrorRest = time.Minute

	// drainLimit is how much of an unwanted body is read so that the
	// connection can be used again, in bytes.
	drainLimit = 16 << 10

	// drainWait is how long that, or the body of an error, may take.
	drainWait = 2 * time.Second
)

// endpoint is one host that speaks the registry API: a mirror or the origin. It
// lives as long as the client, and keeps connections and tokens.
type endpoint struct {
	cfg       hostConfig
	registry  string // as references name it
	policy    RetryPolicy
	redirects int
	userAgent string
	plainOK   bool // the user allowed plain HTTP to any host
	observe   func(Event)
	requests  *atomic.Int64 // of the client so far
	secrets   *secretMemory

	authorities []string // certificate files of its own, for display

	own     *http.Transport // for cfg.host: with client certificates
	foreign *http.Transport // for hosts that it redirects to: without
	auth    *authorizer

	mu        sync.Mutex
	lanes     []*lane // unused ones
	scheme    string  // "" until one has worked
	restUntil time.Time
	warned    bool
}

func newEndpoint(c *Client, registry string, cfg hostConfig, warn func(error)) *endpoint {
	e := &endpoint{
		cfg:       cfg,
		registry:  registry,
		policy:    c.Retry.withDefaults(),
		redirects: c.Limits.withDefaults().Redirects,
		userAgent: c.UserAgent,
		plainOK:   c.PlainHTTP || c.SkipTLSVerify,
		observe:   c.observe,
		requests:  &c.requests,
		secrets:   &c.secrets,
	}
	if e.userAgent == "" {
		e.userAgent = defaultUserAgent
	}
	dial := e.policy.Dial
	if cfg.dialTimeout > 0 {
		dial = cfg.dialTimeout
	}
	conf, authorities := cfg.tls.load(warn)
	e.authorities = authorities
	e.own = newTransport(conf, dial)
	bare := conf.Clone()
	bare.Certificates = nil
	e.foreign = newTransport(bare, dial)
	e.auth = newAuthorizer(e, c)
	return e
}

func newTransport(conf *tls.Config, dial time.Duration) *http.Transport {
	return &http.Transport{
		Proxy:               proxy,
		DialContext:         (&net.Dialer{Timeout: dial, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: dial,
		TLSClientConfig:     conf,
		ForceAttemptHTTP2:   true,
		// The bytes are hashed as the registry stores them. A transport that
		// unpacks what it calls a content encoding would change them.
		DisableCompression:     true,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxResponseHeader,
		ReadBufferSize:         64 << 10,
		// A connection that died silently would otherwise hang every stream
		// on it until each of them stalls.
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second,
			MaxReadFrameSize: 256 << 10, // fewer, larger reads than 16 KiB frames
		},
	}
}

// proxy returns the environment's proxy (HTTP_PROXY, HTTPS_PROXY, NO_PROXY).
func proxy(req *http.Request) (*url.URL, error) {
	u, err := http.ProxyFromEnvironment(req)
	if err != nil {
		// The original quotes the address, with the login in it.
		return nil, &FormatError{Object: "proxy of the environment", Reason: "malformed address; check HTTPS_PROXY and HTTP_PROXY"}
	}
	return u, nil
}

func (e *endpoint) closeIdle() {
	e.own.CloseIdleConnections()
	e.foreign.CloseIdleConnections()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.lanes {
		l.own.CloseIdleConnections()
		l.foreign.CloseIdleConnections()
	}
}

// rest leaves the endpoint alone for a while, since it cannot be reached.
func (e *endpoint) rest() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.restUntil = time.Now().Add(mirrorRest)
}

func (e *endpoint) resting() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Now().Before(e.restUntil)
}

// firstWarning reports true once.
func (e *endpoint) firstWarning() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	first := !e.warned
	e.warned = true
	return first
}

// send makes one attempt at r: it finds the scheme, answers a challenge, follows
// redirects. The result may have any status. Its body ends in a stallError if
// it makes no progress, and must be closed.
func (e *endpoint) send(ctx context.Context, r request) (*http.Response, error) {
	actx, cancel := context.WithCancelCause(ctx)
	w := newWatchdog(e.policy.Stall, cancel)
	if r.within > 0 {
		w.total = time.AfterFunc(r.within, func() { cancel(&lateError{limit: r.within}) })
	}
	resp, err := e.negotiate(actx, w, r)
	if err != nil {
		w.stop()
		err = attemptError(actx, err)
		cancel(nil)
		return nil, err
	}
	resp.Body = &guardedBody{
		body: resp.Body, watchdog: w, cancel: cancel,
		explain: func(err error) error { return attemptError(actx, err) },
	}
	return resp, nil
}

// attemptError replaces the cancellation that ended an attempt by its cause.
func attemptError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// challenge sends r and answers a challenge, at most twice: a token that was
// kept can have expired, and a new one may still need another scope.
func (e *endpoint) challenge(ctx context.Context, w *watchdog, r request, scheme string) (*http.Response, error) {
	header := ""
	if r.absolute == nil {
		header = e.auth.current(r.repo)
	}
	for round := 0; ; round++ {
		resp, err := e.follow(ctx, w, r, scheme, header)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || round == 2 || r.absolute != nil {
			return resp, err
		}
		if !sameOrigin(resp.Request.URL, e.url(r, scheme)) {
			return resp, nil // not this host's challenge: its secrets are not for that one
		}
		next, err := e.auth.answer(ctx, w, r.repo, resp, header)
		if err != nil {
			closeBody(resp)
			return nil, err
		}
		if next == "" || next == header {
			return resp, nil
		}
		closeBody(resp)
		header = next
	}
}

// follow sends r and follows redirects. Authorization, configured headers and
// client certificates go to the endpoint's own address only.
func (e *endpoint) follow(ctx context.Context, w *watchdog, r request, scheme, auth string) (*http.Response, error) {
	start := e.url(r, scheme)
	u, away := start, r.absolute != nil
	if !away && e.spoken() == "" {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
				if err == nil {
					e.speaks("https") // whatever happens to the request
				}
			},
		})
	}
	for n := 0; ; n++ {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return nil, fmt.Errorf("make request for %s: malformed address", redactURL(u))
		}
		tr := e.transport(r.lane, away)
		if !away {
			maps.Copy(req.Header, e.cfg.header)
			if auth != "" {
				req.Header.Set("Authorization", auth)
			}
		}
		r.addHeaders(req.Header)
		resp, err := e.roundTrip(w, tr, req, purpose{object: r.object, digest: r.digest, hop: n, elsewhere: away})
		if err != nil {
			return nil, err
		}
		if !away && (u.Scheme != "http" || resp.StatusCode != http.StatusBadRequest) {
			e.speaks(u.Scheme)
		}
		next, err := redirectTarget(resp, r.fixed)
		if err != nil || next == nil {
			if err != nil {
				closeBody(resp)
			}
			return resp, err
		}
		closeBody(resp)
		if n == e.redirects {
			return nil, &LimitError{Object: redactURL(start), Limit: "Redirects", Max: int64(e.redirects), Got: int64(n) + 1}
		}
		away = away || !sameOrigin(start, next)
		u = next
	}
}

// roundTrip sends one request. The watchdog bounds the time until its answer.
func (e *endpoint) roundTrip(w *watchdog, tr *http.Transport, req *http.Request, a purpose) (*http.Response, error) {
	req.Header.Set("User-Agent", e.userAgent)
	sent := e.exchange(req, a)
	e.observe(Event{Kind: EventRequest, Object: e.cfg.host, Exchange: &sent})
	begun := time.Now()
	w.arm()
	resp, err := tr.RoundTrip(req)
	w.disarm()
	done := sent // observers may keep what they got
	if err != nil {
		done.Failure = printable(e.secrets.hide(req).Replace(err.Error()))
	} else {
		done.answered(resp, time.Since(begun), e.secrets.hide(req))
	}
	e.observe(Event{Kind: EventResponse, Object: e.cfg.host, Exchange: &done})
	return resp, err
}

// closeBody gives up a body. What little is left is read, so that the
// connection can be used again, but not for long.
func closeBody(resp *http.Response) {
	if resp.ContentLength >= 0 && resp.ContentLength <= drainLimit {
		_ = readBriefly(resp, drainLimit)
	}
	_ = resp.Body.Close()
}

// readBriefly returns what arrives of a body that is not worth waiting for.
func readBriefly(resp *http.Response, limit int64) []byte {
	stop := time.AfterFunc(drainWait, func() { _ = resp.Body.Close() })
	defer stop.Stop()
	head, _ := io.ReadAll(io.LimitReader(resp.Body, limit))
	return head
}
