package pull

import (
	"maps"
	"slices"
)

// Endpoint is a place that the content of an image may come from: a mirror
// that a hosts.toml names, or the registry itself.
type Endpoint struct {
	// URLs are the base of the API, which paths such as /REPOSITORY/blobs/…
	// follow, in the order in which they are tried: for registries on this
	// machine HTTPS comes first, and then plain HTTP.
	URLs   []string
	Mirror bool
	// Namespace is the value of the parameter ns of each request, which tells
	// the endpoint which registry is meant; "" for none.
	Namespace string
	// Authorities are files of certificates that are trusted besides the
	// system's, ClientCerts those that the endpoint may ask for.
	Authorities []string
	ClientCerts []CertFiles
	SkipVerify  bool
	// Headers are the names of those that a hosts.toml adds to each request.
	// Their values are secrets.
	Headers []string
}

// CertFiles are the files, in PEM, of a certificate and its key; they may be
// the same one.
type CertFiles struct{ Cert, Key string }

// Endpoints returns where content of the image that ref names may be had by
// its digest, in the order in which the places are tried: mirrors first, the
// registry last. A hosts.toml that cannot be read is an error; what else is wrong with
// the machine's configuration goes to Observe, as an event, and is left out.
func (c *Client) Endpoints(ref Reference) ([]Endpoint, error) {
	if ref.Transport != Registry {
		return nil, nil
	}
	warn := func(err error) {
		c.observe(Event{Kind: EventWarning, Object: ref.Host, Message: err.Error(), Err: err})
	}
	var list []Endpoint
	configs, err := c.hostConfigs(ref.Host, c.hostsRoots(), warn)
	for _, h := range configs {
		if h.caps&canPull == 0 {
			continue
		}
		files := h.tls.read(warn)
		e := Endpoint{Mirror: !h.origin, Authorities: files.files, SkipVerify: h.tls.skipVerify, Headers: slices.Sorted(maps.Keys(h.header))}
		for _, p := range files.pairs {
			e.ClientCerts = append(e.ClientCerts, CertFiles{Cert: p.cert, Key: p.key})
		}
		for _, scheme := range h.schemes {
			e.URLs = append(e.URLs, scheme+"://"+h.host+h.path)
		}
		if h.ns {
			e.Namespace = ref.Host
		}
		list = append(list, e)
	}
	return list, err
}
