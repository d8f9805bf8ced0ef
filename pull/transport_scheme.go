package pull

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
)

// negotiate sends r over the first scheme that the host speaks.
func (e *endpoint) negotiate(ctx context.Context, w *watchdog, r request) (*http.Response, error) {
	schemes := e.cfg.schemes
	if s := e.spoken(); s != "" {
		schemes = []string{s}
	}
	if r.absolute != nil {
		schemes = []string{r.absolute.Scheme}
	}
	var first error
	for i, s := range schemes {
		resp, err := e.challenge(ctx, w, r, s)
		last := i == len(schemes)-1
		switch {
		case err == nil && (!last || first != nil) && refusedPlain(resp, s):
			closeBody(resp)
			continue
		case err == nil:
			return resp, nil
		case ctx.Err() != nil:
			return nil, err
		case first == nil || wrongProtocol(first):
			first = err
		}
		// Another request may have found the other scheme meanwhile.
		if e.spoken() == s || !otherSchemeMayWork(err, e.cfg.host) {
			break
		}
	}
	return nil, first
}

// spoken returns the scheme that has got an answer, "" if none has yet.
func (e *endpoint) spoken() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.scheme
}

// speaks notes that the host answered over scheme.
func (e *endpoint) speaks(scheme string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.scheme = scheme
}

// refusedPlain recognises the answer of a TLS server to plain HTTP. The words
// are those of Go's, nginx's and Apache's servers.
func refusedPlain(resp *http.Response, scheme string) bool {
	if scheme != "http" || resp.StatusCode != http.StatusBadRequest {
		return false
	}
	head := readBriefly(resp, 1<<10)
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), resp.Body), resp.Body}
	return strings.Contains(strings.ToLower(string(head)), "https")
}

// wrongProtocol reports whether the other side does not speak TLS.
func wrongProtocol(err error) bool {
	var rec tls.RecordHeaderError
	return errors.As(err, &rec) ||
		err != nil && strings.Contains(err.Error(), "HTTP response to HTTPS client")
}

// otherSchemeMayWork reports whether err leaves hope for another scheme.
func otherSchemeMayWork(err error, host string) bool {
	if isCertificateError(err) {
		return false
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		_, _, splitErr := net.SplitHostPort(host)
		return splitErr != nil // without a port the schemes use different ones
	}
	return true
}

// isCertificateError reports whether TLS is spoken and one side refuses the
// other's certificate or version.
func isCertificateError(err error) bool {
	var verify *tls.CertificateVerificationError
	return errors.As(err, &verify) || isAlert(err)
}

// certificateRemedy says what may help where the host's certificate was refused.
func certificateRemedy(err error) string {
	var (
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &name):
		return "call the registry by a name that its certificate has, or give --tls-verify=false"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the registry needs a new certificate, unless the clock here is wrong; --tls-verify=false takes the old one"
	}
	return "put the authority's certificate into a directory for --cert-dir, or give --tls-verify=false"
}

// isAlert reports whether TLS ended with an alert. crypto/tls has no exported
// type for it, but marks it by the operation.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error")
}

// clientRemedy is for a host that ends TLS without giving the reason.
const clientRemedy = "if it wants a client certificate, put NAME.cert and NAME.key into a directory for --cert-dir"

// closedAtOnce reports whether the connection was gone before HTTP/2 had said a
// word. A host that misses a client certificate ends TLS 1.3 when our side is
// through with it already, and its alert may come too late to be read. net/http
// has no exported error for that.
func closedAtOnce(err error) bool {
	return strings.Contains(err.Error(), "http2: client conn could not be established")
}
