// Package testregistry is a registry for tests: it serves blobs and manifests
// from memory, asks for tokens or passwords if told to, fails in every way that
// tests want to see survived, and records what it was asked.
package testregistry

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Options configures a registry. The zero value is an open one over plain HTTP.
type Options struct {
	TLS      bool
	Config   *tls.Config // for TLS, beside httptest's own certificate; may be nil
	Auth     Auth
	PageSize int    // tags a page; 0: as many as the client asks for
	Prefix   string // of the API's path instead of /v2
	Rate     int64  // bytes a second that one connection delivers; 0: any number
}

// Registry is a running registry. It ends with the test.
type Registry struct {
	Server *httptest.Server

	opts    Options
	stopped chan struct{}
	tokens  tokenService

	mu       sync.Mutex
	blobs    map[string][]byte // repo@digest
	manifest map[string]document
	tags     map[string][]string
	faults   []*armedFault
	requests []Request
}

type document struct {
	mediaType string
	data      []byte
}

// Request is one request as it came, and what was answered.
type Request struct {
	Proto  string
	Method string
	Path   string
	Query  url.Values
	Header http.Header
	Body   string // of a POST
	Remote string // the client's end of the connection
	Status int
}

// New starts a registry.
func New(t testing.TB, o Options) *Registry {
	t.Helper()
	r := &Registry{
		opts: o, stopped: make(chan struct{}),
		blobs: map[string][]byte{}, manifest: map[string]document{}, tags: map[string][]string{},
	}
	r.tokens.valid = map[string]bool{}
	r.Server = httptest.NewUnstartedServer(r)
	r.Server.Config.ErrorLog = discardLogger()
	if o.Rate > 0 {
		r.Server.Listener = &slowListener{Listener: r.Server.Listener, rate: o.Rate}
	}
	if o.TLS {
		r.Server.TLS = o.Config
		r.Server.EnableHTTP2 = true
		r.Server.StartTLS()
	} else {
		r.Server.Start()
	}
	t.Cleanup(func() {
		close(r.stopped)
		r.Server.CloseClientConnections()
		r.Server.Close()
	})
	return r
}

// Host is the registry's host:port.
func (r *Registry) Host() string {
	return strings.TrimPrefix(strings.TrimPrefix(r.Server.URL, "http://"), "https://")
}

// Repo is the full name of a repository.
func (r *Registry) Repo(name string) string { return r.Host() + "/" + name }

// AddBlob stores data and returns its descriptor, without a media type.
func (r *Registry) AddBlob(repo string, data []byte) ocispec.Descriptor {
	d := digest.FromBytes(data)
	r.SetBlob(repo, d, data)
	return ocispec.Descriptor{Digest: d, Size: int64(len(data))}
}

// SetBlob serves data under d, be it right or wrong.
func (r *Registry) SetBlob(repo string, d digest.Digest, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blobs[repo+"@"+d.String()] = data
}

// AddManifest stores a manifest or index, under tag too if that is not "", and
// returns its descriptor.
func (r *Registry) AddManifest(repo, tag, mediaType string, data []byte) ocispec.Descriptor {
	d := digest.FromBytes(data)
	r.SetManifest(repo, d.String(), mediaType, data)
	if tag != "" {
		r.SetManifest(repo, tag, mediaType, data)
	}
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

// SetManifest serves data under ref, a tag or digest, be it right or wrong.
func (r *Registry) SetManifest(repo, ref, mediaType string, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.manifest[repo+"@"+ref] = document{mediaType, data}
	if !strings.Contains(ref, ":") && !slices.Contains(r.tags[repo], ref) {
		r.tags[repo] = append(r.tags[repo], ref)
	}
}

// SetTags makes repo list tags.
func (r *Registry) SetTags(repo string, tags []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tags[repo] = tags
}

// AddImage stores an image of gzip or plain layer blobs and returns the
// descriptor of its manifest. diffIDs are those of the layers.
func (r *Registry) AddImage(repo, tag string, layers []ocispec.Descriptor, diffIDs []digest.Digest) ocispec.Descriptor {
	config := mustJSON(ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: diffIDs},
	})
	c := r.AddBlob(repo, config)
	c.MediaType = ocispec.MediaTypeImageConfig
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: c, Layers: layers}
	m.SchemaVersion = 2
	return r.AddManifest(repo, tag, ocispec.MediaTypeImageManifest, mustJSON(m))
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // the types above can be encoded
	}
	return b
}

// Requests returns what was asked so far, except for tokens, whose path is
// /token.
func (r *Registry) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// Count returns how many requests had a path that contains part.
func (r *Registry) Count(part string) int {
	n := 0
	for _, q := range r.Requests() {
		if strings.Contains(q.Path, part) {
			n++
		}
	}
	return n
}

// ServeHTTP implements http.Handler.
func (r *Registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	rec := &recorder{ResponseWriter: w, status: http.StatusOK}
	entry := Request{Proto: q.Proto, Method: q.Method, Path: q.URL.Path, Query: q.URL.Query(), Header: q.Header.Clone(), Remote: q.RemoteAddr}
	r.mu.Lock()
	index := len(r.requests)
	r.requests = append(r.requests, entry)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.requests[index].Status = rec.status
		r.requests[index].Body = q.PostForm.Encode()
		r.mu.Unlock()
	}()
	if q.URL.Path == "/token" {
		if f := r.fault(q); f == nil || !r.inject(rec, q, f, document{}) {
			r.serveToken(rec, q)
		}
		return
	}
	if !r.authorized(rec, q) {
		return
	}
	r.serveAPI(rec, q)
}

func (r *Registry) serveAPI(w http.ResponseWriter, q *http.Request) {
	prefix := r.opts.Prefix
	if prefix == "" {
		prefix = "/v2"
	}
	rest, ok := strings.CutPrefix(q.URL.Path, prefix+"/")
	if !ok {
		registryError(w, http.StatusNotFound, "NAME_UNKNOWN", "no such path")
		return
	}
	if rest == "" {
		w.WriteHeader(http.StatusOK)
		return
	}
	doc, status, code := r.lookup(w, q, rest)
	if f := r.fault(q); f != nil && r.inject(w, q, f, doc) {
		return
	}
	if status != http.StatusOK {
		registryError(w, status, code, "not here")
		return
	}
	serve(w, q, doc)
}

// lookup finds what the path below the prefix names.
func (r *Registry) lookup(w http.ResponseWriter, q *http.Request, rest string) (document, int, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if repo, ok := strings.CutSuffix(rest, "/tags/list"); ok {
		return r.tagList(w, q, repo)
	}
	if repo, ref, ok := cutLast(rest, "/manifests/"); ok {
		doc, ok := r.manifest[repo+"@"+ref]
		if !ok {
			return doc, http.StatusNotFound, "MANIFEST_UNKNOWN"
		}
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(doc.data).String())
		return doc, http.StatusOK, ""
	}
	if repo, ref, ok := cutLast(rest, "/blobs/"); ok {
		data, ok := r.blobs[repo+"@"+ref]
		if !ok {
			return document{}, http.StatusNotFound, "BLOB_UNKNOWN"
		}
		w.Header().Set("Docker-Content-Digest", ref)
		return document{"application/octet-stream", data}, http.StatusOK, ""
	}
	return document{}, http.StatusNotFound, "UNSUPPORTED"
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+len(sep):], true
}

// tagList answers one page.
func (r *Registry) tagList(w http.ResponseWriter, q *http.Request, repo string) (document, int, string) {
	tags, ok := r.tags[repo]
	if !ok {
		return document{}, http.StatusNotFound, "NAME_UNKNOWN"
	}
	if last := q.URL.Query().Get("last"); last != "" {
		tags = tags[slices.Index(tags, last)+1:]
	}
	n, _ := strconv.Atoi(q.URL.Query().Get("n"))
	if r.opts.PageSize > 0 && (n == 0 || n > r.opts.PageSize) {
		n = r.opts.PageSize
	}
	if n > 0 && len(tags) > n {
		tags = tags[:n]
		w.Header().Set("Link", fmt.Sprintf(`<%s?n=%d&last=%s>; rel="next"`, q.URL.Path, n, url.QueryEscape(tags[n-1])))
	}
	return document{"application/json", mustJSON(map[string]any{"name": repo, "tags": tags})}, http.StatusOK, ""
}

func registryError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(mustJSON(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}}))
}

// recorder remembers the status.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
