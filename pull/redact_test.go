package pull

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/byhand/byhand/internal/testregistry"
)

// TestSignedAddress follows a redirect to an address that is itself a secret, as
// storage services have them, and sees that it is shown nowhere, whatever
// happens there. Headers that are configured for the mirror stay there.
func TestSignedAddress(t *testing.T) {
	const signature = "s1gnature"
	at := testregistry.At
	for name, f := range map[string]testregistry.Fault{
		"works": {}, "403": {Status: 403}, "500": {Status: 500}, "cut": {Cut: at(3)}, "hangs up": {Hangup: true},
		"redirects on": {Redirect: "%s"}, "too short": {Drop: at(3)},
		"echoes": {Status: 403, Body: []byte(`{"errors":[{"code":"DENIED","message":"no"}]}`)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storage := testregistry.New(t, testregistry.Options{})
			reg := testregistry.New(t, testregistry.Options{})
			desc := storage.AddBlob("app", noise(100))
			if name != "works" {
				storage.Fault("/blobs/", f)
			}
			reg.Fault("/blobs/", testregistry.Fault{
				Redirect: storage.Server.URL + "/v2/app/blobs/" + desc.Digest.String() + "?X-Amz-Signature=" + signature,
			})
			c := quickClient(t)
			var log eventLog
			c.Observe = log.add
			c.HostsDirs = []string{hostsDir(t, reg.Host(), "[header]\nX-Key = \""+signature+"\"\n")}
			_, err := readBlob(t.Context(), mustRegistry(t, c, reg.Repo("app")), desc, 0)
			if (err == nil) != (name == "works") {
				t.Errorf("error %v", err)
			}
			if strings.Contains(fmt.Sprintf("%v %+v", err, err), signature) || strings.Contains(log.String(), signature) {
				t.Errorf("the signature is in the error %v or an event", err)
			}
			if got := reg.Requests()[0].Header.Get("X-Key"); got != signature {
				t.Errorf("the registry got the header %q", got)
			}
			for _, q := range storage.Requests() {
				if q.Header.Get("X-Key") != "" {
					t.Error("the storage got the registry's header")
				}
				if q.Query.Get("X-Amz-Signature") != signature && name != "redirects on" {
					t.Error("the storage did not get the signature: the test tests nothing")
				}
			}
		})
	}
}

// TestHostConfigs shows what is asked where the machine says nothing.
func TestHostConfigs(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	tests := map[string]struct {
		client  *Client
		host    string
		schemes []string
		dir     string // among the certificate directories
	}{
		"docker.io":                     {schemes: []string{"https"}, host: "registry-1.docker.io", dir: "/etc/docker/certs.d/docker.io"},
		"quay.io":                       {schemes: []string{"https"}, dir: filepath.Join(home, ".config/containers/certs.d/quay.io")},
		"localhost:5000":                {schemes: []string{"https", "http"}, dir: "/etc/containers/certs.d/localhost:5000"},
		"127.1.2.3":                     {schemes: []string{"https", "http"}},
		"[::1]:5000":                    {schemes: []string{"https", "http"}},
		"plain.test":                    {client: &Client{PlainHTTP: true}, schemes: []string{"http", "https"}},
		"skip.test":                     {client: &Client{SkipTLSVerify: true}, schemes: []string{"https", "http"}},
		"certs.test:5000":               {client: &Client{CertDirs: []string{"/given"}}, schemes: []string{"https"}, dir: "/given"},
		"localhost.evil.test":           {schemes: []string{"https"}},
		"registry-1.docker.io.evil.com": {schemes: []string{"https"}},
	}
	for registry, tt := range tests {
		t.Run(registry, func(t *testing.T) {
			c := tt.client
			if c == nil {
				c = &Client{}
			}
			hosts, err := c.hostConfigs(registry, nil, func(err error) { t.Error(err) })
			if err != nil || len(hosts) != 1 {
				t.Fatalf("%d endpoints, error %v", len(hosts), err)
			}
			h := hosts[0]
			if tt.host == "" {
				tt.host = registry
			}
			if h.host != tt.host || h.path != "/v2" || h.ns || !h.origin || h.caps != canPull|canResolve {
				t.Errorf("got %+v", h)
			}
			if d := cmp.Diff(tt.schemes, h.schemes); d != "" {
				t.Errorf("schemes (-want +got):\n%s", d)
			}
			if tt.dir != "" && !strings.Contains(strings.Join(h.tls.dirs, " "), tt.dir) {
				t.Errorf("%s is not among %q", tt.dir, h.tls.dirs)
			}
		})
	}
}

// TestHostDirNames prefers containerd's two spellings of a port to _default.
func TestHostDirNames(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"_default", "h:5000", "h_5000_"} {
		writeFile(t, filepath.Join(root, name, "hosts.toml"), nil)
		if got, err := (hostsRoot{dir: root}).find("h:5000"); err != nil || got != filepath.Join(root, name) {
			t.Errorf("got %q, error %v; want %s", got, err, name)
		}
	}
	if got, err := (hostsRoot{dir: root}).find("other"); err != nil || filepath.Base(got) != "_default" {
		t.Errorf("another host has %q, error %v", got, err)
	}
	if got, err := (hostsRoot{dir: filepath.Join(root, "missing")}).find("h"); err != nil || got != "" {
		t.Errorf("a directory that is not there has %q, error %v", got, err)
	}
}

// TestMadeReference refuses fields that ParseReference would not make.
func TestMadeReference(t *testing.T) {
	for _, ref := range []Reference{
		{},
		{Host: "h"},
		{Host: "h/..", Repository: "x"},
		{Host: "h", Repository: "../x"},
		{Host: "h", Repository: "x", Tag: "../../y"},
		{Host: "user@h", Repository: "x"},
		{Host: "h", Repository: "x", Digest: "sha256:zz"},
	} {
		if _, err := newRegistry(&Client{HostsDirs: []string{}}, ref); err == nil {
			t.Errorf("%+v: no error", ref)
		} else {
			checkKind(t, err, &ReferenceError{})
		}
	}
}

// TestEchoedSecrets has a server repeat what it was told in confidence.
func TestEchoedSecrets(t *testing.T) {
	const secret = "s3cret/+p&ss"
	basic := basicHeader(Credential{Username: "ann", Password: secret})
	form := url.Values{"refresh_token": {secret}, "service": {"registry"}}
	for name, req := range map[string]*http.Request{
		"password":       {Method: http.MethodGet, Header: http.Header{"Authorization": {basic}}},
		"token":          {Method: http.MethodGet, Header: http.Header{"Authorization": {"Bearer " + secret}}},
		"header":         {Method: http.MethodGet, Header: http.Header{"X-Key": {secret}}},
		"signature":      {Method: http.MethodGet, URL: &url.URL{RawQuery: "sig=" + url.QueryEscape(secret)}},
		"identity token": {Method: http.MethodPost, GetBody: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(form.Encode())), nil }},
	} {
		if req.URL == nil {
			req.URL = &url.URL{Scheme: "https", Host: "example.org", Path: "/v2/"}
		}
		said := "refused: " + basic + " " + strings.TrimPrefix(basic, "Basic ") + " " + secret + " " + url.QueryEscape(secret)
		if name != "password" {
			said = "refused: Bearer " + secret + " " + url.QueryEscape(secret)
		}
		body, err := json.Marshal(map[string]any{"errors": []any{map[string]string{"code": "DENIED", "message": said}}})
		if err != nil {
			t.Fatal(err)
		}
		resp := &http.Response{
			StatusCode: http.StatusForbidden, Request: req, Body: io.NopCloser(bytes.NewReader(body)),
			Header: http.Header{"Www-Authenticate": {`Bearer realm="https://u:` + url.QueryEscape(secret) + `@h/token?sig=` + url.QueryEscape(secret) + `", error="` + said + `"`}},
		}
		got := fmt.Sprint(receivedHeaders(resp, echoes(req))) + statusError(resp).Error()
		for _, s := range []string{secret, url.QueryEscape(secret), strings.TrimPrefix(basic, "Basic ")} {
			if strings.Contains(got, s) {
				t.Errorf("%s: %q is in %q", name, s, got)
			}
		}
		if !strings.Contains(got, "DENIED") || strings.Count(got, "refused") != 2 {
			t.Errorf("%s: the message is lost: %q", name, got)
		}
	}
}
