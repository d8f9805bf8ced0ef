package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// registry is a repository of a registry (distribution-spec, "Pull"). It asks
// the registry's mirrors first, each once, and then the registry itself, with
// the patience of the policy.
type registry struct {
	ref       Reference
	endpoints []*endpoint // mirrors first, the origin last
	policy    RetryPolicy
	limits    Limits
	observe   func(Event)
	memory    *rangeMemory
	split     splitRule

	mu       sync.Mutex
	rejected map[rejection]int
}

var _ provider = (*registry)(nil)

// rejection says that an endpoint delivered something wrong for a digest or tag.
type rejection struct {
	key      string
	endpoint *endpoint
}

// originChances is how often the origin is asked for an object that arrives
// damaged: the damage may have happened on the way.
const originChances = 2

// acceptManifests is what the client can read, best first, and what it can
// explain: a registry would otherwise convert or hide it.
func acceptManifests() []string {
	return []string{
		ocispec.MediaTypeImageIndex, mediaDockerList,
		ocispec.MediaTypeImageManifest, mediaDockerManifest,
		"*/*",
	}
}

// newRegistry returns the provider for ref. It does no I/O but reading the
// machine's configuration.
func newRegistry(c *Client, ref Reference) (provider, error) {
	// A Reference can be made without ParseReference. Its fields become parts
	// of addresses.
	if again, err := ParseReference(ref.String()); err != nil || again.Host != ref.Host || again.Repository != ref.Repository {
		return nil, &ReferenceError{Input: ref.String(), Reason: "not the name of an image of a registry"}
	}
	endpoints, err := c.endpoints(ref.Host)
	if err != nil {
		return nil, err
	}
	return &registry{
		ref:       ref,
		endpoints: endpoints,
		policy:    c.Retry.withDefaults(),
		limits:    c.Limits.withDefaults(),
		observe:   c.observe,
		memory:    c.rangeMemory(),
		split:     defaultSplitRule(),
		rejected:  map[rejection]int{},
	}, nil
}

// endpoints returns the endpoints of a registry, which are shared by all its
// repositories.
func (c *Client) endpoints(host string) ([]*endpoint, error) {
	list, warnings, err := c.findEndpoints(host)
	for _, err := range warnings {
		c.observe(Event{Kind: EventWarning, Object: host, Err: err, Message: err.Error()})
	}
	return list, err
}

// findEndpoints does so under the lock, which Observe must not be called with.
func (c *Client) findEndpoints(host string) (list []*endpoint, warnings []error, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if list := c.registries[host]; list != nil {
		return list, nil, nil
	}
	warn := func(err error) { warnings = append(warnings, err) }
	configs, err := c.hostConfigs(host, c.hostsRoots(), warn)
	for _, cfg := range configs {
		list = append(list, newEndpoint(c, host, cfg, warn))
	}
	if err != nil {
		return nil, warnings, err
	}
	if c.registries == nil {
		c.registries = map[string][]*endpoint{}
	}
	c.registries[host] = list
	return list, warnings, nil
}

func (r *registry) close() error { return nil } // connections belong to the client

// job is one object to get: which endpoints were wrong about it, and how much
// patience is left.
type job struct {
	object   string // for messages
	key      string // digest or tag, what rejections are kept by
	needs    capability
	request  request
	patience patience

	// Mirrors that failed are skipped. Those that may fare better another time
	// are asked again in the next round, which begins when the origin
	// failed: where a network has nothing but a mirror, all hangs on it.
	skip  map[*endpoint]bool
	again map[*endpoint]bool
}

func (r *registry) newJob(object, key string, needs capability, req request) *job {
	req.repo = r.ref.Repository
	req.object = object
	if d := digest.Digest(key); d.Validate() == nil {
		req.digest = d
	}
	return &job{
		object: object, key: key, needs: needs, request: req,
		patience: patience{policy: r.policy},
		skip:     map[*endpoint]bool{},
		again:    map[*endpoint]bool{},
	}
}

// next returns the endpoint to ask: the first mirror that may be asked, at the
// end the origin.
func (r *registry) next(j *job) *endpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.endpoints {
		if e.cfg.origin {
			return e
		}
		if e.cfg.caps&j.needs != j.needs || j.skip[e] || r.rejected[rejection{j.key, e}] > 0 {
			continue
		}
		if j.patience.attempts == 0 && e.resting() {
			j.skip[e], j.again[e] = true, true
			continue
		}
		return e
	}
	return r.endpoints[len(r.endpoints)-1]
}

// reject notes that e's copy of key was wrong, and reports whether asking again
// is worth while.
func (r *registry) reject(key string, e *endpoint) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rejected[rejection{key, e}]++
	return !e.cfg.origin || r.rejected[rejection{key, e}] < originChances
}

// suspect reports whether some copy of key was wrong.
func (r *registry) suspect(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for rej := range r.rejected {
		if rej.key == key {
			return true
		}
	}
	return false
}

// get has use read an answer of status 200 from the first endpoint that gives
// one. What use returns counts as the endpoint's failure. get waits and tries
// again as the policy allows.
func (r *registry) get(ctx context.Context, j *job, use func(*endpoint, *http.Response) error) error {
	for {
		e := r.next(j)
		err := try(ctx, j, e, use)
		if err == nil {
			return nil
		}
		if err := r.recover(ctx, j, e, err); err != nil {
			return err
		}
	}
}

func try(ctx context.Context, j *job, e *endpoint, use func(*endpoint, *http.Response) error) error {
	resp, err := e.send(ctx, j.request)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return newAnswerError(resp)
	}
	return use(e, resp)
}

// recover decides what follows when e failed with err at j: nil means to go on
// with what next returns. It waits if it has to.
func (r *registry) recover(ctx context.Context, j *job, e *endpoint, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !e.cfg.origin {
		r.leave(j, e, err)
		return nil
	}
	wait, final := j.patience.next(err)
	if final != nil {
		if len(j.again) == 0 || !j.patience.more() || notThere(err) {
			return about(j.object, r.failure(j, e, final))
		}
		wait = j.patience.policy.backoff(j.patience.attempts)
	}
	for m := range j.again {
		delete(j.skip, m)
	}
	clear(j.again)
	r.observe(Event{Kind: EventRetry, Object: j.object, Wait: wait, Err: err})
	return sleep(ctx, wait)
}

// leave gives up a mirror for this object, and for a while altogether if it
// cannot be reached.
func (r *registry) leave(j *job, e *endpoint, err error) {
	j.skip[e] = true
	j.again[e], _ = temporary(err)
	if !j.again[e] {
		delete(j.again, e)
	}
	if !answered(err) {
		e.rest()
	}
	if e.firstWarning() {
		r.observe(Event{
			Kind: EventWarning, Object: j.object, Err: err,
			Message: fmt.Sprintf("mirror %s: %v; asking the next one", e.cfg.host, err),
		})
	}
}

// notThere reports whether the origin, which must know, does not have something.
func notThere(err error) bool {
	var answer *answerError
	return errors.As(err, &answer) && (answer.Code == http.StatusNotFound || answer.Code == http.StatusGone)
}

// answered reports whether err is about what a host said, not about reaching it.
func answered(err error) bool {
	var (
		answer *answerError
		dgst   *DigestError
		size   *SizeError
		format *FormatError
		limit  *LimitError
	)
	return errors.As(err, &answer) || errors.As(err, &dgst) || errors.As(err, &size) ||
		errors.As(err, &format) || errors.As(err, &limit)
}

// about adds what was asked for to an error that speaks of the host alone.
func about(object string, err error) error {
	switch err.(type) { //nolint:errorlint // as failure made it; an AuthError that wraps one names the repository
	case *UnreachableError, *StatusError:
		return fmt.Errorf("fetch %s: %w", object, err)
	}
	return err
}

// failure turns the error that ended the attempts into what the caller sees.
func (r *registry) failure(j *job, e *endpoint, err error) error {
	var (
		answer    *answerError
		tok       *tokenError
		exhausted *exhaustedError
		format    *FormatError
		limit     *LimitError
	)
	host := r.ref.Host
	switch {
	case errors.As(err, &exhausted) && closedAtOnce(err):
		return &UnreachableError{Host: host, Err: fmt.Errorf("%w; %s", err, clientRemedy)}
	case errors.As(err, &exhausted):
		return &UnreachableError{Host: host, Err: err}
	case errors.As(err, &tok):
		return &AuthError{Host: host, Tried: e.auth.tried(r.ref.Repository), Err: err}
	case errors.As(err, &answer):
		return r.refusal(j, e, answer.StatusError)
	case errors.As(err, &format), errors.As(err, &limit):
		return err
	case isAlert(err):
		return &UnreachableError{Host: host, Err: fmt.Errorf("%w; %s", err, clientRemedy)}
	case isCertificateError(err):
		return &UnreachableError{Host: host, Err: fmt.Errorf("%w; %s", err, certificateRemedy(err))}
	case wrongProtocol(err):
		return &UnreachableError{Host: host, Err: errors.New("it speaks plain HTTP; give --plain-http if its network can be trusted")}
	default:
		return &UnreachableError{Host: host, Err: err}
	}
}

// refusal explains a status that trying again does not change.
func (r *registry) refusal(j *job, e *endpoint, err *StatusError) error {
	switch err.Code {
	case http.StatusNotFound, http.StatusGone:
		return &NotFoundError{Object: j.object}
	case http.StatusUnauthorized, http.StatusForbidden:
		// Registries answer so for what is not there, too, to tell nothing
		// about what is.
		return &AuthError{
			Host: r.ref.Host, Tried: e.auth.tried(r.ref.Repository),
			Err: fmt.Errorf("%s does not exist or is not for this login: %w", r.ref.Name(), err),
		}
	default:
		return err
	}
}

// manifest implements provider.
func (r *registry) manifest(ctx context.Context, ref string) (rawDocument, error) {
	want, err := digest.Parse(ref)
	byDigest := err == nil
	needs, sep := canResolve, ":"
	if byDigest {
		needs, sep = canPull, "@"
	}
	j := r.newJob("manifest "+r.ref.Name()+sep+ref, ref, needs, request{
		path: "manifests/" + ref, accept: acceptManifests(), fixed: byDigest, within: r.policy.MetadataTime,
	})
	var doc rawDocument
	err = r.get(ctx, j, func(e *endpoint, resp *http.Response) (err error) {
		if doc, err = r.readDocument(resp, j); err != nil {
			return err
		}
		doc.reject = func() bool { return r.reject(ref, e) }
		if byDigest && !e.cfg.origin {
			return checkBytes(j.object, doc.raw, want, -1)
		}
		return nil
	})
	if err != nil {
		return rawDocument{}, err
	}
	return doc, nil
}

// readDocument reads a manifest's body within its limit.
func (r *registry) readDocument(resp *http.Response, j *job) (rawDocument, error) {
	if resp.ContentLength > r.limits.Metadata {
		return rawDocument{}, &LimitError{Object: j.object, Limit: "Metadata", Max: r.limits.Metadata, Got: resp.ContentLength}
	}
	mediaType := resp.Header.Get("Content-Type")
	if !j.request.fixed && bareMedia(mediaType) == "text/html" {
		return rawDocument{}, &FormatError{
			Object: j.object,
			Reason: "the answer is a web page, not a manifest; is " + resp.Request.URL.Host + " a registry, or does a login page of the network stand before it?",
		}
	}
	raw, err := readBounded(j.object, "Metadata", resp.Body, r.limits.Metadata)
	if err != nil {
		return rawDocument{}, err
	}
	return rawDocument{
		mediaType: mediaType,
		digest:    printable(resp.Header.Get("Docker-Content-Digest")),
		raw:       raw,
	}, nil
}

// blob implements provider.
func (r *registry) blob(ctx context.Context, object string, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	q := request{path: "blobs/" + desc.Digest.String(), accept: []string{"*/*"}, fixed: true}
	if isConfig(desc) {
		q.within = r.policy.MetadataTime // a layer may take as long as it makes progress
	}
	j := r.newJob(object, desc.Digest.String(), canPull, q)
	body, err := r.openBlob(ctx, j, desc, offset)
	if err == nil || !mayBeElsewhere(desc) || !absent(err) {
		return body, err
	}
	for _, address := range desc.URLs {
		if body, urlErr := r.openURL(ctx, object, address, desc, offset); urlErr == nil {
			return body, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return nil, err
}

// mayBeElsewhere reports whether a layer is one that registries may not hold, so
// that its descriptor says where it is (image-spec, "descriptor", urls).
func mayBeElsewhere(desc ocispec.Descriptor) bool {
	return len(desc.URLs) > 0 &&
		(strings.Contains(desc.MediaType, ".nondistributable.") || strings.Contains(desc.MediaType, ".foreign."))
}

// absent reports whether the registry does not have something, or may not give
// it.
func absent(err error) bool {
	return errors.As(err, new(*NotFoundError)) || errors.As(err, new(*AuthError))
}

// openURL opens a blob that is kept elsewhere on the web. That host gets no
// login, and nothing else that is meant for the registry.
func (r *registry) openURL(ctx context.Context, object, address string, desc ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, &UnsupportedError{Object: object, What: "its address is not one of the web"}
	}
	u.User = nil
	origin := r.endpoints[len(r.endpoints)-1:]
	elsewhere := &registry{
		ref:       Reference{Host: u.Host, Repository: strings.TrimPrefix(u.Path, "/")},
		endpoints: origin, policy: r.policy, limits: r.limits, observe: r.observe,
		memory: r.memory, split: r.split, rejected: map[rejection]int{},
	}
	j := elsewhere.newJob(object+" at "+redactURL(u), desc.Digest.String(), canPull, request{
		accept: []string{"*/*"}, fixed: true, absolute: u,
	})
	return elsewhere.openBlob(ctx, j, desc, offset)
}
