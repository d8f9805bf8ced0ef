package pull

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Client pulls images. Its zero value works: it asks registries over HTTPS
// (loopback ones over plain HTTP too), anonymously, with the mirrors and
// certificates that the machine has configured.
//
// A Client may be used by several goroutines. It keeps connections and tokens
// for reuse, must not be copied, and is released by Close.
type Client struct {
	// PlainHTTP speaks plain HTTP with registries, and HTTPS with those that
	// speak nothing else. Loopback registries are tried over HTTPS and then
	// over plain HTTP without it.
	PlainHTTP bool

	// SkipTLSVerify accepts any certificate, and plain HTTP like PlainHTTP.
	SkipTLSVerify bool

	// CertDirs are directories with CA certificates (*.crt) for the registry
	// and its mirrors, and client certificates (*.cert with *.key) for the
	// registry. The machine's own (/etc/docker/certs.d/HOST,
	// /etc/containers/certs.d/HOST, …) are read besides.
	CertDirs []string

	// HostsDirs are directories with HOST/hosts.toml files that name mirrors,
	// as containerd reads them; the first that knows the host decides. Nil
	// means /etc/byhand/certs.d and /etc/containerd/certs.d; empty, none. A
	// file that cannot be read is an error, but in containerd's directory a
	// warning, as containerd has it.
	HostsDirs []string

	// Credentials finds the login for a host. Nil means anonymous.
	Credentials CredentialsFunc

	Limits Limits
	Retry  RetryPolicy

	// Local is asked for a blob before the network is. Content that does not
	// match its digest is ignored.
	Local BlobOpener

	// Observe receives events. It is called from several goroutines, and must
	// return quickly.
	Observe func(Event)

	// Stdin is what docker-archive:- reads.
	Stdin io.Reader

	// UserAgent is sent with every request; "" means byhand's own.
	UserAgent string

	requests atomic.Int64 // sent so far, to number them
	secrets  secretMemory

	stdin stdinArchive // what Stdin held, once it was read

	mu         sync.Mutex
	closers    []func() error
	registries map[string][]*endpoint // by host as references name it
	ranges     *rangeMemory           // nil until a registry is asked
}

// Credential is a login. Either Username and Password are set, or
// IdentityToken, an OAuth2 refresh token.
type Credential struct {
	Username      string
	Password      string
	IdentityToken string
}

// Empty reports whether c is the anonymous login.
func (c Credential) Empty() bool { return c == Credential{} }

// String hides the secrets from careless formatting.
func (c Credential) String() string {
	if c.Empty() {
		return "anonymous"
	}
	return "credential(redacted)"
}

// GoString is like String, for %#v.
func (c Credential) GoString() string { return c.String() }

// CredentialsFunc returns the login for a repository and the name of the source
// it came from, for messages. repository is HOST/PATH in full, for example
// docker.io/library/alpine: logins can be for a part of a registry. An empty
// Credential means that there is none, and source then says where none was
// found. An error, which must not contain secrets, is reported as a warning, and
// the pull goes on with what was found.
type CredentialsFunc func(ctx context.Context, repository string) (cred Credential, source string, err error)

// BlobOpener has blobs at hand, for example a store that kept them. It
// answers fs.ErrNotExist for a blob that it does not have.
type BlobOpener interface {
	Blob(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error)
}

// onClose has f called by Close.
func (c *Client) onClose(f func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closers = append(c.closers, f)
}

// rangeMemory returns the memory that all blobs of the client share.
func (c *Client) rangeMemory() *rangeMemory {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ranges == nil {
		c.ranges = newRangeMemory(c.Limits.withDefaults())
	}
	return c.ranges
}

// Close releases connections and temporary files. Images and layers of the
// client must not be used afterwards.
func (c *Client) Close() error {
	c.mu.Lock()
	closers, registries := c.closers, c.registries
	c.closers, c.registries = nil, nil
	c.mu.Unlock()
	var errs []error
	for i := len(closers) - 1; i >= 0; i-- {
		errs = append(errs, closers[i]())
	}
	for _, endpoints := range registries {
		for _, e := range endpoints {
			e.closeIdle()
		}
	}
	return errors.Join(errs...)
}
