package pull

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/byhand/byhand/internal/testcert"
	"github.com/byhand/byhand/internal/testregistry"
)

// connectProxy is a proxy that only connects (RFC 9110, 9.3.6): whatever it is
// asked for, to target. It wants a login.
type connectProxy struct {
	target string

	mu   sync.Mutex
	seen []string // METHOD HOST AUTHORIZATION
}

// ServeHTTP implements http.Handler.
func (p *connectProxy) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	p.mu.Lock()
	p.seen = append(p.seen, q.Method+" "+q.Host+" "+q.Header.Get("Proxy-Authorization"))
	p.mu.Unlock()
	if q.Method != http.MethodConnect {
		http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
		return
	}
	if user, password, _ := parseBasic(q.Header.Get("Proxy-Authorization")); user != "jo" || password != secretPassword {
		http.Error(w, "who are you?", http.StatusProxyAuthRequired)
		return
	}
	out, err := (&net.Dialer{}).DialContext(q.Context(), "tcp", p.target)
	if err != nil {
		http.Error(w, "no way", http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	in, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = out.Close()
		return
	}
	go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
	_, _ = io.Copy(in, out)
	_ = in.Close()
}

func parseBasic(header string) (user, password string, ok bool) {
	return (&http.Request{Header: http.Header{"Authorization": {header}}}).BasicAuth()
}

// TestConnectProxy reaches a registry over HTTPS through a proxy of the
// environment, which is told the host and its own login, and nothing else. Go
// reads the environment once in a process, so the test runs itself again.
func TestConnectProxy(t *testing.T) {
	if dir := os.Getenv("BYHAND_TEST_CONNECT"); dir != "" {
		c := quickClient(t)
		c.CertDirs = []string{dir}
		c.Credentials = func(context.Context, string) (Credential, string, error) {
			return Credential{Username: "reg", Password: "istry"}, "the test", nil
		}
		p := mustRegistry(t, c, "registry.test:5000/app")
		if _, err := p.manifest(t.Context(), "latest"); err != nil {
			t.Fatal(err)
		}
		desc := testregistry.New(t, testregistry.Options{}).AddBlob("app", noise(1<<20))
		if _, err := readBlob(t.Context(), eager(p), desc, 0); err != nil {
			t.Fatal(err)
		}
		return
	}
	ca := testcert.New(t)
	ca.Names = []string{"registry.test"}
	reg := testregistry.New(t, testregistry.Options{
		TLS: true, Config: ca.Server(false),
		Auth: testregistry.Auth{Basic: true, Username: "reg", Password: "istry"},
	})
	reg.AddManifest("app", "latest", "application/json", []byte(`{}`))
	reg.AddBlob("app", noise(1<<20))
	dir := t.TempDir()
	writeFile(t, dir+"/ca.crt", ca.PEM)
	tests := map[string]struct {
		login, noProxy string
		fails          bool
		connects       bool
	}{
		"works":              {login: "jo:" + secretPassword, connects: true},
		"works, other hosts": {login: "jo:" + secretPassword, noProxy: "other.test,10.0.0.0/8", connects: true},
		"wrong login":        {login: "jo:wrong" + secretPassword, fails: true, connects: true},
		"not for the host":   {login: "jo:" + secretPassword, noProxy: "registry.test", fails: true},
		"not for the domain": {login: "jo:" + secretPassword, noProxy: "other.test,.test", fails: true},
		"not for the port":   {login: "jo:" + secretPassword, noProxy: "registry.test:5000", fails: true},
		"only another port":  {login: "jo:" + secretPassword, noProxy: "registry.test:5001", connects: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &connectProxy{target: reg.Host()}
			srv := httptest.NewServer(p)
			t.Cleanup(srv.Close)
			t.Cleanup(srv.CloseClientConnections)
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestConnectProxy$")
			cmd.Env = append(os.Environ(), "BYHAND_TEST_CONNECT="+dir, "https_proxy=", "no_proxy=",
				"HTTPS_PROXY=http://"+tt.login+"@"+strings.TrimPrefix(srv.URL, "http://"), "NO_PROXY="+tt.noProxy)
			out, err := cmd.CombinedOutput()
			if (err != nil) != tt.fails {
				t.Errorf("error %v:\n%s", err, out)
			}
			if strings.Contains(string(out), secretPassword) {
				t.Errorf("the proxy's password is in the output:\n%s", out)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if (len(p.seen) > 0) != tt.connects {
				t.Errorf("the proxy was asked for %q", p.seen)
			}
			for _, s := range p.seen {
				if !strings.HasPrefix(s, "CONNECT registry.test:5000 Basic ") {
					t.Errorf("the proxy was asked for %q", s)
				}
			}
		})
	}
}
