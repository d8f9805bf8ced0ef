package serve

import (
	"io"
	"net/http"
	"strings"
	"time"
)

// observed tells observe of each request once next has answered it.
func observed(next http.Handler, observe func(Access)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w}
		next.ServeHTTP(rec, r)
		observe(Access{
			Method: r.Method, Path: r.URL.Path, Range: r.Header.Get("Range"),
			Authorization: scheme(r.Header.Get("Authorization")),
			Status:        rec.status, Bytes: rec.bytes, Duration: time.Since(start),
		})
	})
}

// scheme is the part of an Authorization that is no secret, of those that a
// registry knows.
func scheme(authorization string) string {
	word, _, ok := strings.Cut(authorization, " ")
	for _, known := range []string{"Basic", "Bearer"} {
		if ok && strings.EqualFold(word, known) {
			return known
		}
	}
	if authorization != "" {
		return "unknown"
	}
	return ""
}

type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// ReadFrom keeps sendfile within reach of http.ServeContent.
func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := io.Copy(r.ResponseWriter, src)
	r.bytes += n
	return n, err
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
