package pull

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/testcert"
	"github.com/byhand/byhand/internal/testdaemon"
	"github.com/byhand/byhand/internal/testneed"
)

// realRegistry is Debian's docker-registry as a process of its own.
type realRegistry struct {
	t        *testing.T
	host     string
	client   *http.Client
	scheme   string
	password string
}

// startRegistry runs docker-registry on a free port until the test ends. With an
// authority it speaks TLS, with a password it wants jo's login.
func startRegistry(t *testing.T, ca *testcert.Authority, password string) *realRegistry {
	t.Helper()
	testneed.Tool(t, "docker-registry")
	dir := t.TempDir()
	r := &realRegistry{t: t, client: &http.Client{}, scheme: "http", password: password}
	config := fmt.Sprintf("version: 0.1\nlog: {accesslog: {disabled: true}, level: error}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp:\n  addr: ADDR\n",
		filepath.Join(dir, "data"))
	if ca != nil {
		cert, key := ca.Pair("registry")
		writeFile(t, filepath.Join(dir, "tls.crt"), cert)
		writeFile(t, filepath.Join(dir, "tls.key"), key)
		config += fmt.Sprintf("  tls: {certificate: %q, key: %q}\n", filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
		r.scheme = "https"
		conf := ca.Server(false)
		conf.RootCAs = ca.Pool()
		r.client.Transport = &http.Transport{TLSClientConfig: conf}
	}
	if password != "" {
		testneed.Tool(t, "htpasswd")
		out, err := exec.CommandContext(t.Context(), "htpasswd", "-Bbn", "jo", password).Output()
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, "htpasswd"), out)
		config += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", filepath.Join(dir, "htpasswd"))
	}
	name := filepath.Join(dir, "config.yml")
	r.host = testdaemon.Start(t, func(addr string) *exec.Cmd {
		writeFile(t, name, []byte(strings.ReplaceAll(config, "ADDR", addr)))
		cmd := exec.Command("docker-registry", "serve", name)
		cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
		return cmd
	}).Addr
	return r
}

func (r *realRegistry) try(method, path string, body []byte, mediaType string) (*http.Response, error) {
	address := path
	if strings.HasPrefix(path, "/") {
		address = r.scheme + "://" + r.host + path
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	if r.password != "" {
		req.SetBasicAuth("jo", r.password)
	}
	return r.client.Do(req)
}

func (r *realRegistry) do(method, path string, body []byte, mediaType string, want int) http.Header {
	r.t.Helper()
	resp, err := r.try(method, path, body, mediaType)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != want {
		text, _ := io.ReadAll(resp.Body)
		r.t.Fatalf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return resp.Header
}

// push stores a blob (distribution-spec, "Pushing a blob monolithically").
func (r *realRegistry) push(repo string, data []byte) ocispec.Descriptor {
	r.t.Helper()
	d := digest.FromBytes(data)
	place := r.do(http.MethodPost, "/v2/"+repo+"/blobs/uploads/", nil, "", http.StatusAccepted).Get("Location")
	r.do(http.MethodPut, place+"&digest="+d.String(), data, "application/octet-stream", http.StatusCreated)
	return ocispec.Descriptor{Digest: d, Size: int64(len(data))}
}

// image pushes a manifest with one layer, under tags.
func (r *realRegistry) image(repo string, layer []byte, tags ...string) (manifest []byte, desc ocispec.Descriptor) {
	r.t.Helper()
	l := r.push(repo, layer)
	c := r.push(repo, []byte("{}"))
	manifest = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig, c.Digest, c.Size, ocispec.MediaTypeImageLayer, l.Digest, l.Size)
	for _, tag := range tags {
		r.do(http.MethodPut, "/v2/"+repo+"/manifests/"+tag, manifest, ocispec.MediaTypeImageManifest, http.StatusCreated)
	}
	return manifest, l
}

// TestDebianRegistry pulls from a real registry over plain HTTP, TLS, and with
// a password.
func TestDebianRegistry(t *testing.T) {
	ca := testcert.New(t)
	tests := map[string]struct {
		ca       *testcert.Authority
		password string
	}{
		"plain":              {},
		"TLS":                {ca: ca},
		"TLS and a password": {ca: ca, password: "hunter2secret"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startRegistry(t, tt.ca, tt.password)
			data := noise(3 << 20)
			manifest, layer := r.image("org/app", data, "v1", "v2", "v3")
			c := quickClient(t)
			if tt.ca != nil {
				dir := t.TempDir()
				writeFile(t, filepath.Join(dir, "ca.crt"), tt.ca.PEM)
				c.CertDirs = []string{dir}
			}
			if tt.password != "" {
				_, err := mustRegistry(t, c, r.host+"/org/app:v1").manifest(t.Context(), "v1")
				checkKind(t, err, &AuthError{})
				c2 := quickClient(t)
				c2.CertDirs, c2.Credentials = c.CertDirs, loginFor(Credential{Username: "jo", Password: tt.password})
				c = c2
			}
			checkReal(t, mustRegistry(t, c, r.host+"/org/app:v1"), manifest, data, layer)
		})
	}
}

// checkReal reads all that a pull needs.
func checkReal(t *testing.T, p provider, manifest, data []byte, layer ocispec.Descriptor) {
	t.Helper()
	for _, ref := range []string{"v1", digest.FromBytes(manifest).String()} {
		doc, err := p.manifest(t.Context(), ref)
		if err != nil || !bytes.Equal(doc.raw, manifest) || doc.mediaType != ocispec.MediaTypeImageManifest {
			t.Errorf("manifest %s: %s %q, error %v", ref, doc.mediaType, doc.raw, err)
		}
	}
	for _, offset := range []int64{0, 1 << 20, layer.Size - 1} {
		got, err := readBlob(t.Context(), p, layer, offset)
		if err != nil || !bytes.Equal(got, data[offset:]) {
			t.Errorf("blob from %d: %d bytes, error %v", offset, len(got), err)
		}
	}
	tags, err := p.tags(t.Context())
	slices.Sort(tags) // it lists them as the file system does
	if d := cmp.Diff([]string{"v1", "v2", "v3"}, tags); d != "" || err != nil {
		t.Errorf("tags (-want +got), error %v:\n%s", err, d)
	}
	_, err = p.manifest(t.Context(), "missing")
	checkKind(t, err, &NotFoundError{})
	_, err = readBlob(t.Context(), p, ocispec.Descriptor{Digest: digest.FromString("missing"), Size: 5}, 0)
	checkKind(t, err, &NotFoundError{})
}

// TestDebianTLSErrors says what to do about certificates and schemes.
func TestDebianTLSErrors(t *testing.T) {
	t.Parallel()
	r := startRegistry(t, testcert.New(t), "")
	_, err := mustRegistry(t, quickClient(t), r.host+"/app").manifest(t.Context(), "latest")
	checkKind(t, err, &UnreachableError{})
	if err == nil || !strings.Contains(err.Error(), "--cert-dir") {
		t.Errorf("error %v does not say what to do", err)
	}
	c := quickClient(t)
	c.SkipTLSVerify = true
	_, err = mustRegistry(t, c, r.host+"/app").manifest(t.Context(), "latest")
	checkKind(t, err, &NotFoundError{})
	c = quickClient(t)
	c.PlainHTTP, c.SkipTLSVerify = true, true
	_, err = mustRegistry(t, c, r.host+"/app").manifest(t.Context(), "latest")
	checkKind(t, err, &NotFoundError{})
}

// TestNginxMirror pulls through nginx as a mirror of docker-registry, and from
// docker-registry when nginx has gone.
func TestNginxMirror(t *testing.T) {
	t.Parallel()
	testneed.Tool(t, "nginx")
	r := startRegistry(t, nil, "")
	data := noise(3 << 20)
	manifest, layer := r.image("org/app", data, "v1", "v2", "v3")
	dir := t.TempDir()
	seen := filepath.Join(dir, "access.log")
	nginx := testdaemon.Start(t, func(addr string) *exec.Cmd {
		writeFile(t, filepath.Join(dir, "nginx.conf"), fmt.Appendf(nil, `
daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events {}
http {
  log_format line '$request_uri $status';
  access_log %[1]s/access.log line;
  client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
  server {
    listen %[2]s;
    location /mirror/v2/ { proxy_pass http://%[3]s/v2/; proxy_set_header Host $http_host; }
  }
}
`, dir, addr, r.host))
		return exec.Command("nginx", "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", filepath.Join(dir, "nginx.conf"))
	})

	c := quickClient(t)
	c.HostsDirs = []string{hostsDir(t, r.host, "[host.\"http://"+nginx.Addr+"/mirror\"]\n")}
	p := mustRegistry(t, c, r.host+"/org/app:v1")
	checkReal(t, p, manifest, data, layer)
	for _, line := range []string{
		"/mirror/v2/org/app/manifests/v1?ns=", "/mirror/v2/org/app/blobs/" + layer.Digest.String(), " 200\n", " 206\n", " 404\n",
	} {
		awaitLine(t, seen, line)
	}
	nginx.Stop()
	checkReal(t, p, manifest, data, layer)
}

// awaitLine waits until the log has it: nginx answers first and writes then.
func awaitLine(t *testing.T, name, line string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		log, err := os.ReadFile(name)
		if err == nil && strings.Contains(string(log), line) {
			return
		}
		if time.Now().After(end) {
			t.Errorf("nginx was not asked %q: %v\n%s", line, err, log)
			return
		}
	}
}
