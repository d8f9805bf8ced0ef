package serve

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Options of a handler; the zero value serves to everybody and says nothing.
type Options struct {
	// Auth makes clients get a token first; nil lets everybody in.
	Auth *TokenAuth
	// Observe is told of each request when it has been answered. It may be
	// called by several goroutines at once.
	Observe func(Access)
}

// Access is one answered request. It holds no secret: neither the query, which
// may carry an account name, nor a header but Range and the scheme of
// Authorization.
type Access struct {
	Method, Path, Range string
	Authorization       string // its scheme, as in "Bearer"; "" without one
	Status              int
	Bytes               int64 // of the body
	Duration            time.Duration
}

// Handler answers the pull part of the distribution API from the catalog.
func (c *Catalog) Handler(o Options) http.Handler {
	h := &handler{catalog: c, auth: o.Auth}
	if o.Observe == nil {
		return h
	}
	return observed(h, o.Observe)
}

type handler struct {
	catalog *Catalog
	auth    *TokenAuth
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if h.auth != nil && r.URL.Path == tokenPath {
		h.auth.serveToken(w, r)
		return
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	if r.URL.Path == "/v2" {
		rest, ok = "", true
	}
	if !ok {
		writeError(w, http.StatusNotFound, codeUnsupported, "this is a registry; its API is below /v2/")
		return
	}
	req := route(rest)
	if h.auth != nil && !h.auth.admit(w, r, req.name) {
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeError(w, http.StatusMethodNotAllowed, codeUnsupported, "this registry is read-only")
		return
	}
	switch req.kind {
	case kindPing:
		writeJSON(w, http.StatusOK, struct{}{})
	case kindCatalog:
		h.serveCatalog(w, r)
	case kindTags, kindManifest, kindBlob:
		h.serveRepository(w, r, req)
	default:
		writeError(w, http.StatusNotFound, codeUnsupported, "no such endpoint")
	}
}

type requestKind int

const (
	kindUnknown requestKind = iota
	kindPing
	kindCatalog
	kindTags
	kindManifest
	kindBlob
)

// request is what a path below /v2/ asks for.
type request struct {
	kind      requestKind
	name, ref string
}

// route reads a path from its end, since a repository may have components
// called manifests, blobs or tags.
func route(rest string) request {
	switch rest {
	case "":
		return request{kind: kindPing}
	case "_catalog":
		return request{kind: kindCatalog}
	}
	if name, ok := strings.CutSuffix(rest, "/tags/list"); ok {
		return request{kind: kindTags, name: name}
	}
	i := strings.LastIndexByte(rest, '/')
	if i < 0 {
		return request{}
	}
	head, ref := rest[:i], rest[i+1:]
	if name, ok := strings.CutSuffix(head, "/manifests"); ok {
		return request{kind: kindManifest, name: name, ref: ref}
	}
	if name, ok := strings.CutSuffix(head, "/blobs"); ok {
		return request{kind: kindBlob, name: name, ref: ref}
	}
	return request{}
}

func (h *handler) serveRepository(w http.ResponseWriter, r *http.Request, req request) {
	if !validRepository(req.name) {
		writeError(w, http.StatusBadRequest, codeNameInvalid, "invalid repository name")
		return
	}
	repo := h.catalog.repositories[req.name]
	if repo == nil {
		writeError(w, http.StatusNotFound, codeNameUnknown, "repository name not known to registry")
		return
	}
	switch req.kind {
	case kindTags:
		repo.serveTags(w, r, req.name)
	case kindManifest:
		repo.serveManifest(w, r, req.ref)
	default:
		repo.serveBlob(w, r, req.ref)
	}
}

func (repo *repository) serveManifest(w http.ResponseWriter, r *http.Request, ref string) {
	d, tagged := repo.tags[ref]
	if !tagged {
		if tagName.MatchString(ref) {
			writeError(w, http.StatusNotFound, codeManifestUnknown, "no such tag")
			return
		}
		d = digest.Digest(ref)
		if d.Validate() != nil {
			writeError(w, http.StatusBadRequest, codeDigestInvalid, "neither a tag nor a digest")
			return
		}
	}
	o, ok := repo.objects[d]
	if !ok || !o.manifest {
		writeError(w, http.StatusNotFound, codeManifestUnknown, "no such manifest")
		return
	}
	mediaType := o.descriptor.MediaType
	if mediaType == "" {
		mediaType = "application/json"
	}
	serveObject(w, r, o, mediaType, codeManifestUnknown)
}

func (repo *repository) serveBlob(w http.ResponseWriter, r *http.Request, ref string) {
	d := digest.Digest(ref)
	if d.Validate() != nil {
		writeError(w, http.StatusBadRequest, codeDigestInvalid, "invalid digest")
		return
	}
	o, ok := repo.objects[d]
	if !ok {
		writeError(w, http.StatusNotFound, codeBlobUnknown, "no such blob")
		return
	}
	serveObject(w, r, o, "application/octet-stream", codeBlobUnknown)
}

// serveObject sends an object or the ranges of it that were asked for. The
// digest in the header is what the object is filed under, whatever its bytes
// are: the client computes its own.
func serveObject(w http.ResponseWriter, r *http.Request, o object, mediaType, unknown string) {
	f, err := o.content.open()
	if errors.Is(err, fs.ErrNotExist) {
		writeError(w, http.StatusNotFound, unknown, "the source does not have it")
		return
	}
	if err != nil {
		writeError(w, http.StatusInternalServerError, codeUnknown, "the source cannot be read")
		return
	}
	defer func() { _ = f.Close() }()
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", o.descriptor.Digest.String())
	w.Header().Set("Etag", `"`+o.descriptor.Digest.String()+`"`)
	if wantsLastNothing(r.Header.Get("Range")) {
		w.Header().Set("Content-Range", "bytes */"+strconv.FormatInt(f.size, 10))
		writeError(w, http.StatusRequestedRangeNotSatisfiable, codeUnsupported, "the range has no bytes")
		return
	}
	http.ServeContent(w, r, "", time.Time{}, f)
}

// wantsLastNothing finds a range of the last 0 bytes, which RFC 9110, section
// 14.1.2, calls unsatisfiable; http.ServeContent answers it with an impossible
// Content-Range.
func wantsLastNothing(header string) bool {
	list, ok := strings.CutPrefix(header, "bytes=")
	for spec := range strings.SplitSeq(list, ",") {
		suffix, isSuffix := strings.CutPrefix(strings.TrimSpace(spec), "-")
		suffix = strings.TrimSpace(suffix)
		if ok && isSuffix && suffix != "" && strings.Trim(suffix, "+0") == "" {
			return true
		}
	}
	return false
}

func (repo *repository) serveTags(w http.ResponseWriter, r *http.Request, name string) {
	page, ok := paginate(w, r, keys(repo.tags))
	if ok {
		writeJSON(w, http.StatusOK, struct {
			Name string   `json:"name"`
			Tags []string `json:"tags"`
		}{name, page})
	}
}

func (h *handler) serveCatalog(w http.ResponseWriter, r *http.Request) {
	page, ok := paginate(w, r, keys(h.catalog.repositories))
	if ok {
		writeJSON(w, http.StatusOK, struct {
			Repositories []string `json:"repositories"`
		}{page})
	}
}

func keys[V any](m map[string]V) []string {
	list := make([]string, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// paginate picks the page that n and last ask for and sets the Link to the
// next one: distribution specification, section "Listing Tags". all is sorted.
func paginate(w http.ResponseWriter, r *http.Request, all []string) ([]string, bool) {
	query := r.URL.Query()
	if last := query.Get("last"); last != "" {
		i, found := slices.BinarySearch(all, last)
		if found {
			i++
		}
		all = all[i:]
	}
	if !query.Has("n") {
		return all, true
	}
	n, err := strconv.Atoi(query.Get("n"))
	if err != nil || n < 0 {
		writeError(w, http.StatusBadRequest, codePagination, "n must be a number of at least 0")
		return nil, false
	}
	if n >= len(all) {
		return all, true
	}
	if n > 0 {
		next := url.URL{Path: r.URL.Path, RawQuery: url.Values{"last": {all[n-1]}, "n": {strconv.Itoa(n)}}.Encode()}
		w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
	}
	return all[:n], true
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone has nobody to tell
}
