package pull

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// request is a GET of something below the API's root.
type request struct {
	object string        // what is asked for, for display
	digest digest.Digest // of that, where it is known

	repo   string     // repository, without host
	path   string     // below the repository: "manifests/latest"
	query  url.Values // besides ns; may be nil
	accept []string

	// offset and end, when offset is not 0, ask for the bytes from offset up to
	// end, which is not among them.
	offset, end int64

	// within, if not 0, is how long the answer may take in all.
	within time.Duration

	// lane, if not nil, has the connection to use.
	lane *lane

	// fixed says that the content is known by digest, so that it does not
	// matter who delivers it.
	fixed bool

	// absolute, if not nil, is asked instead of the API: a layer's own URL.
	absolute *url.URL
}

// url returns the address of r at e.
func (e *endpoint) url(r request, scheme string) *url.URL {
	if r.absolute != nil {
		return r.absolute
	}
	u := &url.URL{Scheme: scheme, Host: e.cfg.host, Path: e.cfg.path + "/" + r.repo + "/" + r.path}
	q := url.Values{}
	maps.Copy(q, r.query)
	if e.cfg.ns {
		q.Set("ns", e.registry)
	}
	u.RawQuery = q.Encode()
	return u
}

func (r request) addHeaders(h http.Header) {
	h.Set("Accept", strings.Join(r.accept, ", ")) // in one line: some servers read only the first
	if r.offset > 0 {
		h.Set("Range", fmt.Sprintf("bytes=%d-%d", r.offset, r.end-1))
	}
}
