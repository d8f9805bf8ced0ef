package serve_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/byhand/byhand/internal/demo"
	"github.com/byhand/byhand/internal/serve"
)

// FuzzRange: whatever is asked for, what comes is the whole blob, an error, or
// exactly the bytes that Content-Range says.
func FuzzRange(f *testing.F) {
	i := newImage(f, demo.Options{})
	h := open(f, i.dir).Handler(serve.Options{})
	layer := i.manifest.Layers[0]
	data := i.blob(f, layer.Digest)
	for _, seed := range []string{"bytes=0-1", "bytes=-1", "bytes=1-", "bytes=0-0,5-6", "bytes=9-1", "bytes=", "x", "bytes=18446744073709551616-"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest(http.MethodGet, "/v2/demo/blobs/"+layer.Digest.String(), http.NoBody)
		r.Header.Set("Range", header)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch w.Code {
		case http.StatusOK:
			if !bytes.Equal(w.Body.Bytes(), data) {
				t.Errorf("200 with %d bytes of %d", w.Body.Len(), len(data))
			}
		case http.StatusPartialContent:
			if strings.HasPrefix(w.Header().Get("Content-Type"), "multipart/byteranges") {
				return
			}
			var from, to, size int
			if _, err := fmt.Sscanf(w.Header().Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &size); err != nil {
				t.Fatalf("Content-Range %q: %v", w.Header().Get("Content-Range"), err)
			}
			if size != len(data) || from > to || to >= size || !bytes.Equal(w.Body.Bytes(), data[from:to+1]) {
				t.Errorf("%d bytes for %s", w.Body.Len(), w.Header().Get("Content-Range"))
			}
		case http.StatusRequestedRangeNotSatisfiable:
		default:
			t.Errorf("status %d", w.Code)
		}
	})
}

// FuzzPath: no path leads outside the layout or breaks the server. The secret
// beside the layout is what must never be seen.
func FuzzPath(f *testing.F) {
	i := newImage(f, demo.Options{})
	if err := os.WriteFile(filepath.Join(filepath.Dir(i.dir), "secret"), []byte("canary"), 0o600); err != nil {
		f.Fatal(err)
	}
	h := open(f, i.dir).Handler(serve.Options{})
	for _, seed := range []string{
		"/v2/", "/v2/demo/manifests/latest", "/v2/demo/blobs/" + i.manifest.Config.Digest.String(),
		"/v2/demo/blobs/sha256:../../../secret", "/v2/demo/blobs/../../secret", "/v2/../secret",
		"/v2/demo/tags/list?n=1&last=a", "/v2/demo%2f..%2f/blobs/x", "/v2/_catalog?n=0", "//", "/v2/a/manifests/manifests/b",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.Parse(target)
		if err != nil {
			return
		}
		r := &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}, Host: "localhost"}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK && (w.Code < 400 || w.Code > 499) {
			t.Errorf("status %d", w.Code)
		}
		if strings.Contains(w.Body.String(), "canary") {
			t.Error("a file outside the layout was served")
		}
	})
}

// FuzzParseSource: what is accepted has a path and a name that a registry
// could serve.
func FuzzParseSource(f *testing.F) {
	for _, seed := range []string{"dir", "a=dir", "a/b:c=oci:dir:tag", "oci:a=b", "docker-archive:f:x/y:z", "=", "oci:=x", "A=b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		source, err := serve.ParseSource(s)
		if err != nil {
			return
		}
		if source.Path == "" || !strings.Contains(s, source.Path) || strings.ContainsAny(source.Name, "=@ ") {
			t.Errorf("ParseSource(%q) = %+v", s, source)
		}
	})
}

// FuzzToken: only the very token that was given opens the door.
func FuzzToken(f *testing.F) {
	i := newImage(f, demo.Options{})
	server := start(f, serve.Options{Auth: serve.NewTokenAuth(serve.TokenOptions{})}, i.dir)
	var body struct{ Token string }
	if err := json.Unmarshal(get(f, server.URL+"/token?scope=repository:demo:pull").body, &body); err != nil {
		f.Fatal(err)
	}
	valid := body.Token
	for _, seed := range []string{valid, valid + "A", valid[1:], valid[:len(valid)-9] + "\n" + valid[len(valid)-9:], "..", "e30.e30.", strings.ToUpper(valid)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		r := httptest.NewRequest(http.MethodGet, "/v2/demo/manifests/latest", http.NoBody)
		r.Header["Authorization"] = []string{"Bearer " + token}
		w := httptest.NewRecorder()
		server.Config.Handler.ServeHTTP(w, r)
		want := http.StatusUnauthorized
		if strings.TrimSpace(token) == valid {
			want = http.StatusOK
		}
		if w.Code != want {
			t.Errorf("status %d, expected %d", w.Code, want)
		}
	})
}
