package pull

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// RetryPolicy says how patient a pull is. Zero fields have the defaults that
// are given here.
type RetryPolicy struct {
	// Attempts is how often a request is made before its failure counts: 6.
	// A blob whose transfer was cut starts a new count whenever bytes arrived.
	Attempts int

	// Base and Max bound the wait before the next attempt, which doubles from
	// Base (500 ms) to Max (30 s), with jitter.
	Base, Max time.Duration

	// RetryAfter bounds the wait that a registry may ask for: 2 min. One that
	// asks for more has failed.
	RetryAfter time.Duration

	// Stall is how long an answer or a transfer may make no progress: 30 s.
	Stall time.Duration

	// Dial bounds making a connection, TLS included: 15 s.
	Dial time.Duration

	// MetadataTime is how long one manifest, config, page of tags or token may
	// take from the request to its last byte, waits before further attempts
	// not counted: 60 s. Progress does not extend it.
	MetadataTime time.Duration
}

func (p RetryPolicy) withDefaults() RetryPolicy {
	if p.Attempts <= 0 {
		p.Attempts = 6
	}
	setDefault(&p.Base, 500*time.Millisecond)
	setDefault(&p.Max, 30*time.Second)
	setDefault(&p.RetryAfter, 2*time.Minute)
	setDefault(&p.Stall, 30*time.Second)
	setDefault(&p.Dial, 15*time.Second)
	setDefault(&p.MetadataTime, time.Minute)
	return p
}

func setDefault(d *time.Duration, v time.Duration) {
	if *d <= 0 {
		*d = v
	}
}

// lateAttempts is how often something small is asked for that does not arrive
// within MetadataTime.
const lateAttempts = 2

// lateError reports an answer that took longer than MetadataTime in all.
type lateError struct{ limit time.Duration }

func (e *lateError) Error() string {
	return fmt.Sprintf("still not complete after the limit MetadataTime of %s; raise that limit if the network is that slow", e.limit)
}

// Timeout says that this is one, as net.Error has it.
func (e *lateError) Timeout() bool { return true }

// refusedAttempts is how often a host is tried that refuses connections: it
// may be restarting, but more often nothing is there.
const refusedAttempts = 3

// backoff returns the wait after the attempt of that number, counted from 1. The
// jitter, half of the wait, keeps clients that failed together apart.
func (p RetryPolicy) backoff(attempt int) time.Duration {
	d := p.Base
	for range attempt - 1 {
		if d >= p.Max/2 {
			d = p.Max
			break
		}
		d *= 2
	}
	d = min(d, p.Max)
	return d/2 + rand.N(d/2+1)
}

// sleep waits for d, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// answerError is an answer that is no success, with the wait it asks for.
type answerError struct {
	*StatusError
	after    time.Duration
	hasAfter bool
}

func newAnswerError(resp *http.Response) *answerError {
	e := &answerError{}
	e.after, e.hasAfter = parseRetryAfter(resp.Header, time.Now())
	e.StatusError = statusError(resp)
	return e
}

// Unwrap makes the StatusError visible to errors.As.
func (e *answerError) Unwrap() error { return e.StatusError }

// parseRetryAfter reads Retry-After (RFC 9110, 10.2.3): seconds, or a date,
// which is compared with the server's own clock where it tells it.
func parseRetryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0, false
	}
	if n, err := strconv.ParseUint(v, 10, 64); err == nil {
		return time.Duration(min(n, 1<<31)) * time.Second, true
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return max(t.Sub(now), 0), true
}

// temporary reports whether trying again may help, and how often at most; 0
// means as often as the policy says.
func temporary(err error) (again bool, attempts int) {
	var (
		answer *answerError
		dns    *net.DNSError
		late   *lateError
	)
	switch {
	case errors.As(err, &late):
		return true, lateAttempts
	case errors.As(err, &answer):
		return temporaryStatus(answer.Code), 0
	case isCertificateError(err), wrongProtocol(err), answered(err):
		return false, 0
	case errors.As(err, &dns):
		return !dns.IsNotFound, 0
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return true, refusedAttempts
	default:
		return true, 0
	}
}

func temporaryStatus(code int) bool {
	switch code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return code >= 500
}

// patience counts the attempts at one object.
type patience struct {
	policy   RetryPolicy
	attempts int
}

// next returns the wait before the next attempt after err, or the error that
// the attempts end with.
func (p *patience) next(err error) (time.Duration, error) {
	again, most := temporary(err)
	if !again {
		return 0, err
	}
	p.attempts++
	if most == 0 || most > p.policy.Attempts {
		most = p.policy.Attempts
	}
	if p.attempts >= most {
		return 0, &exhaustedError{attempts: p.attempts, err: err}
	}
	wait := p.policy.backoff(p.attempts)
	var answer *answerError
	if errors.As(err, &answer) && answer.hasAfter {
		if answer.after > p.policy.RetryAfter {
			return 0, &exhaustedError{
				attempts: p.attempts,
				err:      fmt.Errorf("%w; it asks to wait %s, more than the limit RetryAfter of %s", err, answer.after, p.policy.RetryAfter),
			}
		}
		wait = max(wait, answer.after)
	}
	return wait, nil
}

// more spends an attempt on something else than the origin, if there is one left.
func (p *patience) more() bool {
	p.attempts++
	return p.attempts < p.policy.Attempts
}

// exhaustedError reports the last failure of a host that was tried as often as
// the policy allows.
type exhaustedError struct {
	attempts int
	err      error
}

func (e *exhaustedError) Error() string {
	if e.attempts == 1 {
		return e.err.Error()
	}
	return fmt.Sprintf("%v (after %d attempts)", e.err, e.attempts)
}

func (e *exhaustedError) Unwrap() error { return e.err }
