package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/demo"
	"github.com/byhand/byhand/internal/serve"
	"github.com/byhand/byhand/internal/testimages"
	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testregistry"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/internal/treecmp"
	"github.com/byhand/byhand/overlay"
)

// command runs byhand in this process and returns what it wrote.
func command(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	dir := t.TempDir()
	open := func(name string) *os.File {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	std := streams{in: open("in"), out: open("out"), err: open("err")}
	code = run(t.Context(), append([]string{"byhand"}, args...), std)
	read := func(f *os.File) string {
		raw, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	return read(std.out), read(std.err), code
}

// stubImage writes the demo image with a program that does not run: it has the
// same bytes everywhere.
func stubImage(t *testing.T, dir string) {
	t.Helper()
	programs := map[string][]byte{"amd64": []byte("no program\n"), "arm64": []byte("no program either\n")}
	if _, err := demo.Build(dir, demo.Options{Programs: programs, Tag: "v1"}); err != nil {
		t.Fatal(err)
	}
}

// TestExplainByHand runs the commands of transcripts in a shell: what they
// calculate, fetch, unpack and mount is what byhand did.
func TestExplainByHand(t *testing.T) {
	testneed.Root(t)
	testneed.Tool(t, "curl", "jq", "setfattr", "docker-registry", "skopeo")
	image := filepath.Join(t.TempDir(), "image")
	stubImage(t, image)
	for name, host := range map[string]string{
		"token":  registry(t, serve.NewTokenAuth(serve.TokenOptions{}), "lab/demo:v1=oci:"+image),
		"debian": debianRegistry(t, image),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			bundle, hand := filepath.Join(dir, "bundle"), filepath.Join(dir, "hand")
			out, log, code := command(t, "--store", filepath.Join(dir, "store"), "--platform", "linux/amd64", "--plain-http", "--explain",
				"pull-and-unpack", host+"/lab/demo:v1", bundle)
			if code != 0 || out != bundle+"\n" {
				t.Fatalf("exit code %d, standard output %q:\n%s", code, out, log)
			}
			if err := overlay.Unmount(filepath.Join(bundle, "rootfs")); err != nil {
				t.Fatal(err)
			}
			said := inShell(t, hand, log)
			defer func() { _ = overlay.Unmount(filepath.Join(bundle, "rootfs")) }()
			sums := regexp.MustCompile(`(?m)^([0-9a-f]{64})  `).FindAllStringSubmatch(said, -1)
			for _, s := range sums {
				if !strings.Contains(log, "sha256:"+s[1]) {
					t.Errorf("by hand %s was calculated, which is in no digest of the transcript", s[1])
				}
			}
			if want := 3 + 5 + 5 + 4; len(sums) != want { // documents, blobs, diff IDs, chain IDs
				t.Errorf("%d digests were calculated by hand, want %d:\n%s", len(sums), want, said)
			}
			for n := 1; n <= 5; n++ {
				sameLower(t, filepath.Join(bundle, "lower", fmt.Sprint(n)), filepath.Join(hand, "lower", fmt.Sprint(n)))
			}
			if _, err := os.Stat(filepath.Join(bundle, "rootfs", "etc", "motd")); err != nil {
				t.Errorf("the command to mount does not: %v", err)
			}
		})
	}
}

// inShell runs a transcript in dir.
func inShell(t *testing.T, dir, transcript string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(filepath.Dir(dir), "transcript")
	if err := os.WriteFile(script, []byte(transcript), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-eu", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s\n%s", err, out, transcript)
	}
	return string(out)
}

// sameLower compares lower dirs. Of a whiteout it counts that it is one.
func sameLower(t *testing.T, a, b string) {
	t.Helper()
	a, err := filepath.EvalSymlinks(a)
	if err != nil {
		t.Fatal(err)
	}
	diffs, err := treecmp.Compare(a, b, treecmp.Options{NoRoot: true, Rewrite: func(e *treecmp.Entry) {
		if e.Type == "char" {
			e.Mode, e.ModTime = 0, time.Time{}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range diffs {
		t.Errorf("%s: %s", b, d)
	}
}

// debianRegistry runs docker-registry with the image and returns HOST:PORT.
func debianRegistry(t *testing.T, image string) string {
	t.Helper()
	r := testimages.StartRegistry(t, testimages.RegistryOptions{})
	r.Push(t, image, "v1", "lab/demo:v1")
	return r.Addr
}

// library is a test registry with an image of one layer.
func library(t *testing.T, o testregistry.Options, entries ...testtar.Entry) (*testregistry.Registry, ocispec.Descriptor) {
	t.Helper()
	if len(entries) == 0 {
		entries = []testtar.Entry{testtar.File("hello", "hello")}
	}
	reg := testregistry.New(t, o)
	tar := testtar.Tar(entries...)
	layer := reg.AddBlob("app", tar)
	layer.MediaType = ocispec.MediaTypeImageLayer
	reg.AddImage("app", "v1", []ocispec.Descriptor{layer}, []digest.Digest{digest.FromBytes(tar)})
	return reg, layer
}

// TestExplainMismatch has a registry deliver a layer with a bit changed.
func TestExplainMismatch(t *testing.T) {
	testneed.Root(t) // an ordinary user's command runs in another process
	for _, format := range []string{"text", "json"} {
		reg, layer := library(t, testregistry.Options{})
		reg.Fault("/blobs/"+layer.Digest.String(), testregistry.Fault{Flip: new(int64(7))})
		args := []string{"--store", t.TempDir(), "--explain", "--limit", "base=1ms", "unpack", reg.Repo("app") + ":v1"}
		if format == "json" {
			args = append([]string{"--json"}, args...)
		}
		out, log, code := command(t, args...)
		if code != exitVerification || out != "" {
			t.Errorf("%s: exit code %d, standard output %q", format, code, out)
		}
		if !strings.Contains(log, "expected ≠ calculated") || strings.Count(log, "MISMATCH") != 2 {
			t.Errorf("%s: want the mismatch of both attempts:\n%s", format, log)
		}
		if !strings.Contains(log, "fetching it once more") || !strings.Contains(log, "failed, exit status 3") {
			t.Errorf("%s: want the second attempt and the end:\n%s", format, log)
		}
	}
}

// TestExplainRetries shows mirrors, answers that ask to wait, and a redirect.
func TestExplainRetries(t *testing.T) {
	storage := testregistry.New(t, testregistry.Options{})
	mirror := testregistry.New(t, testregistry.Options{})
	mirror.Fault("/manifests/", testregistry.Fault{Status: http.StatusNotFound})
	reg, layer := library(t, testregistry.Options{})
	raw := testtar.Tar(testtar.File("hello", "hello"))
	storage.AddBlob("app", raw)
	reg.Fault("/manifests/v1", testregistry.Fault{Times: 1, Status: http.StatusTooManyRequests, Header: map[string]string{"Retry-After": "0", "RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "0;w=21600"}})
	reg.Fault("/blobs/"+layer.Digest.String(), testregistry.Fault{Redirect: storage.Server.URL + "%s"})
	hosts := t.TempDir()
	conf := filepath.Join(hosts, reg.Host())
	if err := os.Mkdir(conf, 0o755); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("server = %q\n[host.%q]\ncapabilities = [\"pull\", \"resolve\"]\n", reg.Server.URL, mirror.Server.URL)
	if err := os.WriteFile(filepath.Join(conf, "hosts.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, log, code := command(t, "--store", t.TempDir(), "--hosts-dir", hosts, "--limit", "base=1ms", "--explain", "pull", reg.Repo("app")+":v1")
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, log)
	}
	for _, want := range []string{
		"A mirror of " + reg.Host(), "< HTTP/1.1 404 Not Found", "asking the next one",
		"< HTTP/1.1 429 Too Many Requests", "again in", "The registry allows 100 requests", "Of them 0 are left",
		"Location: " + storage.Server.URL, "another host, which gets no login",
		"curl -sSfL -o layer1.tar",
	} {
		if !strings.Contains(strings.ReplaceAll(log, "\n#      ", " "), want) {
			t.Errorf("%q is not in\n%s", want, log)
		}
	}
	if strings.Contains(log, "curl -sSfL -o layer1.tar "+storage.Server.URL) {
		t.Errorf("the redirect has a command of its own:\n%s", log)
	}
}

// Canaries: none of them may ever be written.
const (
	canaryPassword  = "canary/pass+word"
	canaryIdentity  = "canary.identity.token"
	canarySignature = "canary-s1gnature"
	canaryHeader    = "canary-configured"
	canaryUserinfo  = "canary-userinfo"
	canaryEnv       = "canary-environment"
)

// TestExplainSecrets goes through every way to log in, with success and without,
// and looks for the secrets in all that is written.
func TestExplainSecrets(t *testing.T) {
	testneed.Root(t) // an ordinary user's command runs in another process
	secrets := []string{
		canaryPassword, url.QueryEscape(canaryPassword), base64.StdEncoding.EncodeToString([]byte("jo:" + canaryPassword)),
		canaryIdentity, canarySignature, canaryHeader, canaryUserinfo, canaryEnv, "token-1", "token-2",
	}
	basic := base64.StdEncoding.EncodeToString([]byte("jo:" + canaryPassword))
	flows := map[string]struct {
		auth  testregistry.Auth
		login string // in an auth file
		code  int
	}{
		"token":            {testregistry.Auth{Token: true, Username: "jo", Password: canaryPassword}, `"auth":"` + basic + `"`, 0},
		"token refused":    {testregistry.Auth{Token: true, Username: "jo", Password: "another"}, `"auth":"` + basic + `"`, 5},
		"identity":         {testregistry.Auth{Token: true, IdentityToken: canaryIdentity, Username: "x", Password: "y"}, `"identitytoken":"` + canaryIdentity + `"`, 0},
		"identity refused": {testregistry.Auth{Token: true, IdentityToken: "another", Username: "x", Password: "y"}, `"identitytoken":"` + canaryIdentity + `"`, 5},
		"basic":            {testregistry.Auth{Basic: true, Username: "jo", Password: canaryPassword}, `"auth":"` + basic + `"`, 0},
		"basic refused":    {testregistry.Auth{Basic: true, Username: "jo", Password: "another"}, `"auth":"` + basic + `"`, 5},
		"realm":            {testregistry.Auth{Token: true, Username: "jo", Password: canaryPassword, Realm: "http://u:" + canaryUserinfo + "@HOST/token?sig=" + canarySignature}, `"auth":"` + basic + `"`, 0},
		"echo":             {testregistry.Auth{Token: true, Username: "jo", Password: canaryPassword}, `"auth":"` + basic + `"`, 0},
	}
	for name, flow := range flows {
		t.Run(name, func(t *testing.T) {
			// The address is needed for the realm, so it is a proxy's.
			front := newFront(t)
			front.echo = name == "echo"
			flow.auth.Realm = strings.ReplaceAll(flow.auth.Realm, "HOST", front.host)
			reg, layer := library(t, testregistry.Options{Auth: flow.auth})
			front.to(t, reg.Server.URL)
			storage := testregistry.New(t, testregistry.Options{})
			storage.AddBlob("app", testtar.Tar(testtar.File("hello", "hello")))
			reg.Fault("/blobs/"+layer.Digest.String(), testregistry.Fault{
				Redirect: "http://u:" + canaryUserinfo + "@" + storage.Host() + "/v2/app/blobs/" + layer.Digest.String() + "?X-Amz-Signature=" + canarySignature,
			})
			dir := t.TempDir()
			authfile, hosts := filepath.Join(dir, "auth.json"), filepath.Join(dir, "hosts", front.host)
			files := map[string]string{
				authfile:                           fmt.Sprintf(`{"auths":{%q:{%s}}}`, front.host, flow.login),
				filepath.Join(hosts, "hosts.toml"): "[header]\nX-Key = \"" + canaryHeader + "\"\nCookie = \"id=" + canaryHeader + "\"\n",
			}
			for path, text := range files {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for _, format := range [][]string{nil, {"--json"}, {"--log-level", "debug"}, {"--progress", "json"}} {
				front.heard = "" // what another process said nobody here can know
				args := append([]string{
					"--store", t.TempDir(), "--explain", "--authfile", authfile, "--hosts-dir", filepath.Dir(hosts), "--limit", "base=1ms",
				}, format...)
				_, log, code := command(t, append(args, "bundle", "--no-mount", "--env", "SECRET="+canaryEnv, "--entrypoint", "/hello", front.host+"/app:v1", filepath.Join(t.TempDir(), "b"))...)
				if code != flow.code {
					t.Fatalf("exit code %d, want %d:\n%s", code, flow.code, log)
				}
				for _, s := range secrets {
					if strings.Contains(unbroken(log), s) {
						t.Errorf("%v: %q is in\n%s", format, s, log)
					}
				}
				if !strings.Contains(log, "<redacted>") {
					t.Errorf("%v: nothing was redacted: the test tests nothing:\n%s", format, log)
				}
			}
			if front.echo && !strings.Contains(front.heard, canaryPassword) {
				t.Error("no secret was repeated: the test tests nothing")
			}
			if !strings.Contains(fmt.Sprint(reg.Requests()), canaryHeader) {
				t.Error("the configured header was not sent: the test tests nothing")
			}
		})
	}
}

// unbroken takes away line breaks, which could hide a secret from a search.
func unbroken(s string) string {
	return s + regexp.MustCompile(`\\?\n#? *`).ReplaceAllString(s, "") + strings.ReplaceAll(s, "'\\\n'", "")
}

// front forwards to a registry that is not known when its address is needed.
type front struct {
	host   string
	target string
	echo   bool // it repeats all secrets it has heard

	mu    sync.Mutex
	heard string
}

func newFront(t *testing.T) *front {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{host: l.Addr().String()}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		out := q.Clone(q.Context())
		out.RequestURI = ""
		out.URL.Scheme, out.URL.Host = "http", strings.TrimPrefix(f.target, "http://")
		resp, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		for k, v := range resp.Header {
			w.Header()[k] = v
			if k == "Www-Authenticate" {
				w.Header()[k] = []string{strings.ReplaceAll(strings.Join(v, ", "), f.target, "http://"+f.host)}
			}
		}
		if f.echo {
			f.mu.Lock()
			_, password, _ := q.BasicAuth()
			f.heard += " " + q.Header.Get("Authorization") + " " + password + " " + q.Header.Get("X-Key")
			w.Header().Set("Docker-Content-Digest", "heard: "+f.heard)
			f.mu.Unlock()
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return f
}

func (f *front) to(t *testing.T, target string) {
	t.Helper()
	f.target = target
}

// TestExplainHostile has a registry and a layer say what a terminal would act on.
func TestExplainHostile(t *testing.T) {
	testneed.Root(t)                      // an ordinary user's command runs in another process
	const header = "owned\u202e\u009b31m" // HTTP lets no control character of ASCII through
	const evil = "\x1b]0;owned\x07\x1b[2J\u202e\u009b31m"
	reg, _ := library(t, testregistry.Options{},
		testtar.File("a"+evil+"\n# b\ntouch /tmp/owned", "x"), testtar.File("etc/.wh.x"+evil+"\nrm -rf /", ""), testtar.Dir("d"+evil), testtar.File("d"+evil+"/.wh..wh..opq", ""))
	reg.Fault("/manifests/", testregistry.Fault{Header: map[string]string{
		"Docker-Content-Digest": "sha256:" + header, "Link": "<" + header + ">; rel=next", "Ratelimit-Limit": header,
	}})
	for _, format := range [][]string{nil, {"--json"}} {
		args := append([]string{"--store", t.TempDir(), "--explain"}, format...)
		_, log, code := command(t, append(args, "unpack", reg.Repo("app")+":v1")...)
		if code != 0 {
			t.Fatalf("exit code %d:\n%s", code, log)
		}
		for line := range strings.Lines(log) {
			line = strings.TrimSuffix(line, "\n")
			if !utf8.ValidString(line) || strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
				t.Errorf("a terminal acts on %q", line)
			}
			if len(format) == 0 && (strings.HasPrefix(line, "touch /tmp") || strings.HasPrefix(line, "rm ")) {
				t.Errorf("a name became a command: %q", line)
			}
		}
		if !strings.Contains(log, "owned") {
			t.Errorf("the names are not told: the test tests nothing:\n%s", log)
		}
	}
}

// TestExplainJSON reads the events of several commands, and finds each kind in
// the documentation.
func TestExplainJSON(t *testing.T) {
	testneed.Root(t) // an ordinary user's command runs in another process
	docs, err := os.ReadFile("../../docs/explain.md")
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "image")
	stubImage(t, image)
	host := registry(t, serve.NewTokenAuth(serve.TokenOptions{}), "lab/demo:v1=oci:"+image)
	store, ref := t.TempDir(), host+"/lab/demo:v1"
	dir := t.TempDir()
	for _, args := range [][]string{
		{"pull", ref},
		{"unpack", ref, filepath.Join(dir, "flat")},
		{"bundle", "--no-mount", ref, filepath.Join(dir, "b")},
		{"inspect", "--remote", ref},
		{"tags", host + "/lab/demo"},
		{"export", ref, "-o", filepath.Join(dir, "tar")},
		{"history", "--format", "{{.CreatedAt}}", ref},
		{"layers", ref},
		{"diff", ref, "2"},
		{"ls", ref, "bin"},
		{"cat", ref, "/etc/motd"},
		{"report", ref, "-o", filepath.Join(dir, "page")},
		{"verify", ref},
		{"images"},
		{"rm", ref},
		{"prune"},
		{"pull", host + "/lab/other:v1"},
	} {
		plain, _, want := command(t, append([]string{"--json", "--store", store, "--platform", "linux/amd64"}, args...)...)
		if args[0] != "bundle" && args[0] != "unpack" && args[0] != "rm" && args[0] != "prune" && args[0] != "images" && args[0] != "pull" { // pull tells how long it took
			out, _, _ := command(t, append([]string{"--json", "--explain", "--store", store, "--platform", "linux/amd64"}, args...)...)
			if out != plain {
				t.Errorf("%v: standard output is %q with --explain, %q without", args, out, plain)
			}
		}
		_ = want
		_, log, _ := command(t, append([]string{"--json", "--explain", "--store", t.TempDir(), "--platform", "linux/amd64"}, args...)...)
		last := 0
		lines := bufio.NewScanner(strings.NewReader(log))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var e struct {
				Version, Step int
				Time          time.Time
				Event, Title  string
				Facts         map[string]any
			}
			if strings.HasPrefix(lines.Text(), "byhand: ") {
				continue // the error, as always
			}
			dec := json.NewDecoder(bytes.NewReader(lines.Bytes()))
			if err := dec.Decode(&e); err != nil {
				t.Fatalf("%v: %v: %s", args, err, lines.Text())
			}
			if e.Version != 1 || e.Time.IsZero() || e.Title == "" || e.Step > last+1 {
				t.Errorf("%v: %+v", args, e)
			}
			last = max(last, e.Step)
			row := regexp.MustCompile("(?m)^\\| `" + e.Event + "` \\|.*$").FindString(string(docs))
			if row == "" {
				t.Errorf("docs/explain.md does not know the event %q", e.Event)
			}
			for fact := range e.Facts {
				if !strings.Contains(row, "`"+fact+"`") {
					t.Errorf("docs/explain.md does not say that %s has %s", e.Event, fact)
				}
			}
		}
		if last == 0 {
			t.Errorf("%v: nothing was told", args)
		}
	}
}
