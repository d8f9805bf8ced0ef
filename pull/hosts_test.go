package pull

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/testcert"
	"github.com/byhand/byhand/internal/testregistry"
)

// hostsDir writes a hosts.toml for a registry and returns the directory.
func hostsDir(t *testing.T, host, text string) string {
	t.Helper()
	dir := t.TempDir()
	sub := filepath.Join(dir, strings.ReplaceAll(host, ":", "_")+"_")
	if !strings.Contains(host, ":") {
		sub = filepath.Join(dir, host)
	}
	writeFile(t, filepath.Join(sub, "hosts.toml"), []byte(text))
	return dir
}

func writeFile(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestMirrors asks a mirror first, and the origin when the mirror fails in any
// of these ways.
func TestMirrors(t *testing.T) {
	data := noise(100_000)
	manifest := []byte(`{"schemaVersion":2}`)
	at := testregistry.At
	tests := map[string]struct {
		options string // in the mirror's table
		fault   *testregistry.Fault
		empty   bool // the mirror has nothing
		mirror  int  // requests to the mirror, of manifest by tag, by digest, and blob
		origin  int
	}{
		"works":            {mirror: 3},
		"pull only":        {options: `capabilities = ["pull"]`, mirror: 2, origin: 1},
		"resolve only":     {options: `capabilities = ["resolve"]`, mirror: 1, origin: 2},
		"has nothing":      {empty: true, mirror: 3, origin: 3},
		"always 500":       {fault: &testregistry.Fault{Status: 500}, mirror: 3, origin: 3},
		"refuses":          {fault: &testregistry.Fault{Status: 403}, mirror: 3, origin: 3},
		"wants a login":    {fault: &testregistry.Fault{Status: 401}, mirror: 3, origin: 3},
		"too many":         {fault: &testregistry.Fault{Status: 429}, mirror: 3, origin: 3},
		"hangs up":         {fault: &testregistry.Fault{Hangup: true}, mirror: 1, origin: 3},
		"hangs":            {fault: &testregistry.Fault{Stall: at(0)}, mirror: 1, origin: 3},
		"web pages":        {fault: &testregistry.Fault{HTML: true}, mirror: 3, origin: 3},
		"cuts":             {fault: &testregistry.Fault{Cut: at(5)}, mirror: 1, origin: 3},
		"sends too much":   {fault: &testregistry.Fault{Extra: noise(5 << 20)}, mirror: 3, origin: 3},
		"sends other size": {fault: &testregistry.Fault{After: 1, Extra: []byte("x")}, mirror: 3, origin: 2},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin, mirror := testregistry.New(t, testregistry.Options{}), testregistry.New(t, testregistry.Options{})
			regs := []*testregistry.Registry{origin, mirror}
			if tt.empty {
				regs = regs[:1]
			}
			for _, r := range regs {
				r.AddBlob("app", data)
				r.AddManifest("app", "latest", "application/json", manifest)
			}
			if tt.fault != nil {
				mirror.Fault("/v2/app/", *tt.fault)
			}
			c := quickClient(t)
			if name == "hangs" {
				c.Retry.Stall = stalled
			}
			var log eventLog
			c.Observe = log.add
			c.HostsDirs = []string{hostsDir(t, origin.Host(), "[host.\""+mirror.Server.URL+"\"]\n"+tt.options)}
			p := mustRegistry(t, c, origin.Repo("app"))
			for _, ref := range []string{"latest", digest.FromBytes(manifest).String()} {
				doc, err := p.manifest(t.Context(), ref)
				if err != nil || string(doc.raw) != string(manifest) {
					t.Errorf("manifest %s: %q, error %v", ref, doc.raw, err)
				}
			}
			desc := origin.AddBlob("app", data)
			if got, err := readBlob(t.Context(), p, desc, 0); err != nil || digest.FromBytes(got) != desc.Digest {
				t.Errorf("blob: %d bytes, error %v", len(got), err)
			}
			if n := mirror.Count("/app/"); n != tt.mirror {
				t.Errorf("%d requests to the mirror, want %d", n, tt.mirror)
			}
			if n := origin.Count("/app/"); n != tt.origin {
				t.Errorf("%d requests to the origin, want %d", n, tt.origin)
			}
			if failed := tt.fault != nil || tt.empty; (len(log.warnings()) == 1) != failed {
				t.Errorf("warnings %q", log.warnings())
			}
			for _, q := range mirror.Requests() {
				if got := q.Query.Get("ns"); got != origin.Host() {
					t.Errorf("parameter ns is %q, want %q", got, origin.Host())
				}
			}
			for _, q := range origin.Requests() {
				if q.Query.Has("ns") {
					t.Errorf("the origin got the parameter ns: %v", q.Query)
				}
			}
		})
	}
}

// TestOnlyMirror has an origin that cannot be reached, as in a closed network, and
// a mirror that is not perfect: it gets the patience that the origin has.
func TestOnlyMirror(t *testing.T) {
	data := noise(1 << 20)
	for name, faults := range map[string][]testregistry.Fault{
		"hangs up": {{Times: 2, Hangup: true}},
		"cuts":     {{Times: 1, Cut: new(int64(300_000))}, {Times: 1, Cut: new(int64(600_000))}},
		"fails":    {{Times: 2, Status: 503}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mirror := testregistry.New(t, testregistry.Options{})
			desc := mirror.AddBlob("app", data)
			for _, f := range faults {
				mirror.Fault("/blobs/", f)
			}
			c := quickClient(t)
			c.HostsDirs = []string{hostsDir(t, "origin.test", "server = \"http://127.0.0.1:1\"\n[host.\""+mirror.Server.URL+"\"]\n")}
			p := mustRegistry(t, c, "origin.test/app")
			got, err := readBlob(t.Context(), p, desc, 0)
			if err != nil || digest.FromBytes(got) != desc.Digest {
				t.Errorf("%d bytes, error %v", len(got), err)
			}
			if n := len(mirror.Requests()); n != 3 {
				t.Errorf("%d requests to the mirror, want 3", n)
			}
			// What the mirror does not have is an error of the origin's, soon.
			desc.Digest = digest.FromString("missing")
			_, err = readBlob(t.Context(), p, desc, 0)
			checkKind(t, err, &UnreachableError{})
		})
	}
}

// TestMirrorLies has a mirror deliver wrong bytes under right digests.
func TestMirrorLies(t *testing.T) {
	t.Parallel()
	origin, mirror := testregistry.New(t, testregistry.Options{}), testregistry.New(t, testregistry.Options{})
	data := noise(1000)
	desc := origin.AddBlob("app", data)
	evil := append(noise(999), 'x')
	mirror.SetBlob("app", desc.Digest, evil)
	manifest := []byte(`{"schemaVersion":2}`)
	m := origin.AddManifest("app", "latest", "application/json", manifest)
	mirror.SetManifest("app", m.Digest.String(), "application/json", []byte(`{"schemaVersion":3}`))
	mirror.SetManifest("app", "latest", "application/json", []byte(`nonsense`))
	c := quickClient(t)
	c.HostsDirs = []string{hostsDir(t, origin.Host(), "[host.\""+mirror.Server.URL+"\"]\n")}
	p := mustRegistry(t, c, origin.Repo("app"))

	doc, err := p.manifest(t.Context(), m.Digest.String())
	if err != nil || string(doc.raw) != string(manifest) {
		t.Errorf("manifest by digest: %q, error %v", doc.raw, err)
	}
	// By tag only the caller can tell. It says so, and gets the origin's.
	if doc, err = p.manifest(t.Context(), "latest"); err != nil || string(doc.raw) != "nonsense" {
		t.Fatalf("manifest by tag: %q, error %v", doc.raw, err)
	}
	if !doc.reject() {
		t.Error("no further source for the manifest")
	}
	if doc, err = p.manifest(t.Context(), "latest"); err != nil || string(doc.raw) != string(manifest) {
		t.Errorf("manifest after rejection: %q, error %v", doc.raw, err)
	}
	body, err := p.blob(t.Context(), "blob", desc, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !body.(rejecter).reject() {
		t.Error("no further source for the blob")
	}
	_ = body.Close()
	if got, err := readBlob(t.Context(), p, desc, 0); err != nil || string(got) != string(data) {
		t.Errorf("blob after rejection: %d bytes, error %v", len(got), err)
	}
}

// TestMirrorPrefixLies begins a blob with a mirror's wrong bytes and ends it with
// the origin's right ones. The mirror is to blame.
func TestMirrorPrefixLies(t *testing.T) {
	t.Parallel()
	origin, mirror := testregistry.New(t, testregistry.Options{}), testregistry.New(t, testregistry.Options{})
	data := noise(1000)
	desc := origin.AddBlob("app", data)
	mirror.SetBlob("app", desc.Digest, append([]byte("x"), data[1:]...))
	mirror.Fault("/blobs/", testregistry.Fault{Cut: new(int64(500))})
	c := quickClient(t)
	c.HostsDirs = []string{hostsDir(t, origin.Host(), "[host.\""+mirror.Server.URL+"\"]\n")}
	p := mustRegistry(t, c, origin.Repo("app"))
	body, err := p.blob(t.Context(), "blob", desc, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(body)
	if err != nil || len(got) != len(data) || got[0] == data[0] {
		t.Fatalf("%d bytes, error %v: the test tests nothing", len(got), err)
	}
	for range originChances {
		if !body.(rejecter).reject() {
			t.Error("the origin lost a chance for what the mirror did")
		}
	}
	_ = body.Close()
	if got, err := readBlob(t.Context(), p, desc, 0); err != nil || string(got) != string(data) {
		t.Errorf("after rejection: %d bytes, error %v", len(got), err)
	}
}

// TestMirrorOrder asks mirrors in the order of the file, below their paths,
// with their headers, and resumes a blob that one of them cut at the next.
func TestMirrorOrder(t *testing.T) {
	t.Parallel()
	origin := testregistry.New(t, testregistry.Options{})
	z := testregistry.New(t, testregistry.Options{Prefix: "/proxy/hub/v2"})
	a := testregistry.New(t, testregistry.Options{Prefix: "/raw"})
	data := noise(1 << 20)
	desc := origin.AddBlob("app", data)
	z.AddBlob("app", data)
	a.AddBlob("app", data)
	z.Fault("/blobs/", testregistry.Fault{Cut: new(int64(300_000))})
	a.Fault("/blobs/", testregistry.Fault{Cut: new(int64(600_000))})
	c := quickClient(t)
	c.HostsDirs = []string{hostsDir(t, origin.Host(), `
[host."`+z.Server.URL+`/proxy/hub"]
  [host."`+z.Server.URL+`/proxy/hub".header]
    X-First = "z"
    authorization = ["Secret one"]
[host."`+a.Server.URL+`/raw"]
  override_path = true
`)}
	got, err := readBlob(t.Context(), mustRegistry(t, c, origin.Repo("app")), desc, 0)
	if err != nil || digest.FromBytes(got) != desc.Digest {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
	checkRanges(t, z, "-")
	checkRanges(t, a, "bytes=300000-1048575")
	checkRanges(t, origin, "bytes=600000-1048575")
	if h := z.Requests()[0].Header; h.Get("X-First") != "z" || h.Get("Authorization") != "Secret one" {
		t.Errorf("the first mirror got headers %v", h)
	}
	if h := a.Requests()[0].Header; h.Get("X-First") != "" || h.Get("Authorization") != "" {
		t.Errorf("the second mirror got the first one's headers: %v", h)
	}
}

// TestServer replaces the origin.
func TestServer(t *testing.T) {
	t.Parallel()
	server := testregistry.New(t, testregistry.Options{})
	desc := server.AddBlob("library/app", noise(10))
	c := quickClient(t)
	asked := ""
	c.Credentials = func(_ context.Context, repository string) (Credential, string, error) {
		asked = repository
		return Credential{}, "", nil
	}
	c.HostsDirs = []string{hostsDir(t, "docker.io", `server = "`+server.Server.URL+`"`)}
	server.Fault("/blobs/", testregistry.Fault{Times: 1, Status: 401, Header: map[string]string{"WWW-Authenticate": "Basic realm=x"}})
	_, err := readBlob(t.Context(), mustRegistry(t, c, "app"), desc, 0)
	checkKind(t, err, &AuthError{})
	if want := server.Host() + "/library/app"; asked != want {
		t.Errorf("the login looked for is %q's, want %q's: another host must not get docker.io's", asked, want)
	}
	if _, err = readBlob(t.Context(), mustRegistry(t, c, "app"), desc, 0); err != nil {
		t.Error(err)
	}
	if got := server.Requests()[0].Query.Get("ns"); got != "docker.io" {
		t.Errorf("parameter ns is %q", got)
	}
}

// TestBrokenHostsFile asks no other registry than the one that a file, which
// cannot be read, may have named; unless the file is another program's.
func TestBrokenHostsFile(t *testing.T) {
	t.Parallel()
	reg := testregistry.New(t, testregistry.Options{})
	ref, err := ParseReference(reg.Repo("app"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"syntax":     `[host."`,
		"capability": "[host.\"http://x\"]\ncapabilities = [\"fly\"]",
		"address":    `server = "http://user:hunter2@x"`,
		"ca":         "ca = 5",
		"client":     `client = [["a","b","c"]]`,
		"header":     "[header]\nx = 5",
		"timeout":    `dial_timeout = "soon"`,
		"size":       "#" + strings.Repeat(" ", maxConfigFile),
	} {
		t.Run(name, func(t *testing.T) {
			says := func(err error) bool {
				return err != nil && strings.Contains(err.Error(), "hosts.toml: ") && !strings.Contains(err.Error(), "hunter2")
			}
			c := quickClient(t)
			dir := hostsDir(t, reg.Host(), text)
			c.HostsDirs = []string{dir}
			if _, err := c.Resolve(t.Context(), ref, Platform{}); !says(err) {
				t.Errorf("resolve: error %v", err)
			}
			if _, err := c.Endpoints(ref); !says(err) {
				t.Errorf("endpoints: error %v", err)
			}
			var warnings []error
			hosts, err := c.hostConfigs(reg.Host(), []hostsRoot{{dir: dir, foreign: true}}, func(err error) { warnings = append(warnings, err) })
			if err != nil || len(hosts) != 1 || hosts[0].host != reg.Host() {
				t.Errorf("another program's file: %d endpoints, error %v", len(hosts), err)
			}
			if len(warnings) != 1 || !says(warnings[0]) {
				t.Errorf("another program's file: warnings %q", warnings)
			}
		})
	}
	if n := len(reg.Requests()); n != 0 {
		t.Errorf("%d requests to the registry", n)
	}
}

// TestHostsRoots has none of the directories of the machine where others are
// named, and knows which of the machine's is containerd's.
func TestHostsRoots(t *testing.T) {
	named := &Client{HostsDirs: []string{"/etc/containerd/certs.d"}}
	for _, tt := range []struct {
		client *Client
		want   []hostsRoot
	}{
		{&Client{}, []hostsRoot{{dir: "/etc/byhand/certs.d"}, {dir: "/etc/containerd/certs.d", foreign: true}}},
		{&Client{HostsDirs: []string{}}, []hostsRoot{}},
		{named, []hostsRoot{{dir: "/etc/containerd/certs.d"}}},
	} {
		if d := cmp.Diff(tt.want, tt.client.hostsRoots(), cmp.AllowUnexported(hostsRoot{})); d != "" {
			t.Errorf("%q (-want +got):\n%s", tt.client.HostsDirs, d)
		}
	}
}

func TestParseHostsFile(t *testing.T) {
	f, err := parseHostsFile([]byte(`
server = "registry.test/sub/"
ca = "ca.pem"
host."dotted".skip_verify = true

[host."https://z.test:5000"]
  capabilities = ["Pull", "push"]
  ca = ["/abs.pem", "rel.pem"]
  client = [["c.pem", "k.pem"], ["both.pem", ""]]
  dial_timeout = "3s"
[host.'http://a.test']
  client = "one.pem"
  skip_verify = true
  override_path = true
`), "/d")
	if err != nil {
		t.Fatal(err)
	}
	want := hostsFile{
		mirrors: []hostConfig{
			{schemes: []string{"https"}, host: "dotted", path: "/v2", caps: canPull | canResolve, tls: tlsFiles{skipVerify: true}},
			{
				schemes: []string{"https"}, host: "z.test:5000", path: "/v2", caps: canPull,
				tls: tlsFiles{
					ca:    []string{"/abs.pem", "/d/rel.pem"},
					pairs: []keyPair{{"/d/c.pem", "/d/k.pem"}, {"/d/both.pem", "/d/both.pem"}},
				},
				dialTimeout: 3 * time.Second,
			},
			{
				schemes: []string{"http"}, host: "a.test", caps: canPull | canResolve,
				tls: tlsFiles{pairs: []keyPair{{"/d/one.pem", "/d/one.pem"}}, skipVerify: true},
			},
		},
		origin: hostConfig{
			schemes: []string{"https"}, host: "registry.test", path: "/sub/v2", caps: canPull | canResolve,
			tls: tlsFiles{ca: []string{"/d/ca.pem"}},
		},
	}
	if d := cmp.Diff(want, f, cmp.AllowUnexported(hostsFile{}, hostConfig{}, tlsFiles{}, keyPair{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST:5000": true, "127.0.0.1": true, "127.9.8.7:80": true, "[::1]:5000": true, "[::1]": true,
		"localhost.evil.test": false, "127.0.0.1.evil.test:5000": false, "10.0.0.1": false, "registry.test": false, "[::2]": false,
	} {
		if got := isLoopback(host); got != want {
			t.Errorf("isLoopback(%q) = %v", host, got)
		}
	}
}

// TestHeaderTwice has a header in two spellings, of which always the same counts.
func TestHeaderTwice(t *testing.T) {
	for range 20 {
		f, err := parseHostsFile([]byte("server = 'https://h'\n[header]\nX-A = 'one'\nx-a = 'two'\nX-a = 'three'\n"), "/d")
		if got := f.origin.header.Get("X-A"); got != "two" || err != nil {
			t.Fatalf("got %q, error %v; want two", got, err)
		}
	}
}

func TestTLS(t *testing.T) {
	ca := testcert.New(t)
	clientCert, clientKey := ca.Pair("client")
	tests := map[string]struct {
		clients bool
		files   map[string][]byte // of the directory
		flag    bool              // --cert-dir, else certs.d
		skip    bool
		toml    string
		want    error
		text    string // in the error
		warning string
	}{
		"unknown authority":     {want: &UnreachableError{}, text: "--cert-dir"},
		"skip":                  {skip: true},
		"authority by flag":     {flag: true, files: map[string][]byte{"ca.crt": ca.PEM}},
		"authority in certs.d":  {files: map[string][]byte{"ca.crt": ca.PEM}},
		"client by flag":        {clients: true, flag: true, files: map[string][]byte{"ca.crt": ca.PEM, "c.cert": clientCert, "c.key": clientKey}},
		"client missing":        {clients: true, flag: true, files: map[string][]byte{"ca.crt": ca.PEM}, want: &UnreachableError{}, text: "certificate"},
		"client key missing":    {clients: true, flag: true, files: map[string][]byte{"ca.crt": ca.PEM, "c.cert": clientCert}, want: &UnreachableError{}, warning: "c.key"},
		"client key is another": {clients: true, flag: true, files: map[string][]byte{"ca.crt": ca.PEM, "c.cert": ca.PEM, "c.key": clientKey}, want: &UnreachableError{}, warning: "fit together"},
		"authority is no PEM":   {flag: true, files: map[string][]byte{"ca.crt": []byte("x")}, want: &UnreachableError{}, warning: "no PEM"},
		"hosts.toml": {
			clients: true, files: map[string][]byte{"ca.pem": ca.PEM, "c.pem": clientCert, "k.pem": clientKey},
			toml: "ca = \"ca.pem\"\nclient = [[\"c.pem\", \"k.pem\"]]\n",
		},
		"hosts.toml skips":                          {toml: "skip_verify = true\n"},
		"hosts.toml names a file that is not there": {toml: "ca = \"ca.pem\"\n", want: &UnreachableError{}, warning: "ca.pem"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := testregistry.New(t, testregistry.Options{TLS: true, Config: ca.Server(tt.clients)})
			desc := reg.AddBlob("app", noise(10))
			c := quickClient(t)
			c.SkipTLSVerify = tt.skip
			var log eventLog
			c.Observe = log.add
			root := t.TempDir()
			dir := filepath.Join(root, reg.Host())
			for f, data := range tt.files {
				writeFile(t, filepath.Join(dir, f), data)
			}
			if tt.toml != "" {
				writeFile(t, filepath.Join(dir, "hosts.toml"), []byte(tt.toml))
			}
			if tt.flag {
				c.CertDirs = []string{dir}
			} else {
				c.HostsDirs = []string{root}
			}
			_, err := readBlob(t.Context(), mustRegistry(t, c, reg.Repo("app")), desc, 0)
			checkKind(t, err, tt.want)
			if err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %q does not say %q", err, tt.text)
			}
			w := strings.Join(log.warnings(), "\n")
			if tt.warning == "" && w != "" || !strings.Contains(w, tt.warning) {
				t.Errorf("warnings %q, want %q", w, tt.warning)
			}
			if err == nil && reg.Requests()[0].Header.Get("User-Agent") != defaultUserAgent {
				t.Errorf("user agent %q", reg.Requests()[0].Header.Get("User-Agent"))
			}
		})
	}
}

// TestCertificateRemedy has certificates that no authority makes good.
func TestCertificateRemedy(t *testing.T) {
	t.Parallel()
	ca := testcert.New(t)
	ca.Names = []string{"localhost"}
	other := testcert.New(t)
	for _, tt := range []struct {
		name, host string
		verify     x509.VerifyOptions
		want       string
	}{
		{"no authority", "localhost", x509.VerifyOptions{Roots: other.Pool()}, "--cert-dir"},
		{"name", "registry.test", x509.VerifyOptions{Roots: ca.Pool()}, "by a name"},
		{"expired", "localhost", x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: time.Now().Add(48 * time.Hour)}, "a new certificate"},
	} {
		text, _ := ca.Pair("server")
		block, _ := pem.Decode(text)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		tt.verify.DNSName = tt.host
		_, err = cert.Verify(tt.verify)
		err = &tls.CertificateVerificationError{Err: err}
		if got := certificateRemedy(err); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %v; %s", tt.name, err, got)
		}
	}
}

// TestClosedAtOnce: what net/http says of a connection that a host closed for
// want of a client certificate gets the remedy, too.
func TestClosedAtOnce(t *testing.T) {
	t.Parallel()
	r := &registry{ref: Reference{Host: "127.0.0.1:1"}}
	err := r.failure(nil, nil, &exhaustedError{attempts: 4, err: errors.New("http2: client conn could not be established")})
	if !strings.Contains(err.Error(), "--cert-dir") {
		t.Errorf("%v has no remedy", err)
	}
	checkKind(t, err, &UnreachableError{})
}

// TestClientCertificateStays is not shown to a host that the registry
// redirects to.
func TestClientCertificateStays(t *testing.T) {
	t.Parallel()
	ca := testcert.New(t)
	clientCert, clientKey := ca.Pair("client")
	conf := ca.Server(false)
	shown := make(chan int, 10)
	conf.ClientAuth = tls.RequestClientCert
	conf.VerifyConnection = func(s tls.ConnectionState) error {
		shown <- len(s.PeerCertificates)
		return nil
	}
	other := testregistry.New(t, testregistry.Options{TLS: true, Config: conf})
	reg := testregistry.New(t, testregistry.Options{TLS: true, Config: ca.Server(true)})
	desc := other.AddBlob("app", noise(10))
	reg.Fault("/blobs/", testregistry.Fault{Redirect: other.Server.URL + "%s"})
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "ca.crt"), ca.PEM)
	writeFile(t, filepath.Join(dir, "c.cert"), clientCert)
	writeFile(t, filepath.Join(dir, "c.key"), clientKey)
	c := quickClient(t)
	c.CertDirs = []string{dir}
	if _, err := readBlob(t.Context(), mustRegistry(t, c, reg.Repo("app")), desc, 0); err != nil {
		t.Fatal(err)
	}
	if n := <-shown; n != 0 {
		t.Error("the other host was shown the client certificate")
	}
}

// TestClientCertificateMirror is not shown to a mirror, but the authority beside
// it holds for both.
func TestClientCertificateMirror(t *testing.T) {
	t.Parallel()
	ca := testcert.New(t)
	clientCert, clientKey := ca.Pair("client")
	conf := ca.Server(false)
	conf.ClientAuth = tls.RequestClientCert
	shown := make(chan int, 10)
	conf.VerifyConnection = func(s tls.ConnectionState) error {
		shown <- len(s.PeerCertificates)
		return nil
	}
	mirror := testregistry.New(t, testregistry.Options{TLS: true, Config: conf})
	origin := testregistry.New(t, testregistry.Options{TLS: true, Config: ca.Server(true)})
	desc := origin.AddBlob("app", noise(10))
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "ca.crt"), ca.PEM)
	writeFile(t, filepath.Join(dir, "c.cert"), clientCert)
	writeFile(t, filepath.Join(dir, "c.key"), clientKey)
	c := quickClient(t)
	c.CertDirs = []string{dir}
	c.HostsDirs = []string{hostsDir(t, origin.Host(), "[host.\""+mirror.Server.URL+"\"]\n")}
	if _, err := readBlob(t.Context(), mustRegistry(t, c, origin.Repo("app")), desc, 0); err != nil {
		t.Fatal(err)
	}
	if n := len(mirror.Requests()); n != 1 {
		t.Fatalf("%d requests to the mirror: the test tests nothing", n)
	}
	if n := <-shown; n != 0 {
		t.Error("the mirror was shown the client certificate")
	}
}

// TestPlainHTTP tries schemes as the options allow.
func TestPlainHTTP(t *testing.T) {
	tests := map[string]struct {
		tls  bool
		host func(string) string
		set  func(*Client)
		want error
		text string
	}{
		"loopback, plain":               {},
		"loopback, TLS":                 {tls: true, set: func(c *Client) { c.SkipTLSVerify = true }},
		"loopback, TLS and plain first": {tls: true, set: func(c *Client) { c.SkipTLSVerify, c.PlainHTTP = true, true }},
		"name, plain":                   {host: named, want: &UnreachableError{}, text: "--plain-http"},
		"name, plain, allowed":          {host: named, set: func(c *Client) { c.PlainHTTP = true }},
		"name, plain, not verified":     {host: named, set: func(c *Client) { c.SkipTLSVerify = true }},
		"name, TLS, plain allowed":      {host: named, tls: true, set: func(c *Client) { c.PlainHTTP = true }, want: &UnreachableError{}, text: "certificate"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			reg := testregistry.New(t, testregistry.Options{TLS: tt.tls})
			desc := reg.AddBlob("app", noise(10))
			c := quickClient(t)
			if tt.set != nil {
				tt.set(c)
			}
			host := reg.Host()
			if tt.host != nil {
				host = tt.host(host)
			}
			p := mustRegistry(t, c, host+"/app")
			dialTo(p, reg.Host())
			_, err := readBlob(t.Context(), p, desc, 0)
			checkKind(t, err, tt.want)
			if err != nil && !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %q does not say %q", err, tt.text)
			}
		})
	}
}

// named gives a test server a name that is not loopback's.
func named(host string) string {
	_, port, _ := net.SplitHostPort(host)
	return "registry.test:" + port
}

// dialTo has all connections go to addr.
func dialTo(p provider, addr string) {
	for _, e := range p.(*registry).endpoints {
		for _, tr := range []*http.Transport{e.own, e.foreign} {
			tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, addr)
			}
		}
	}
}
