package pull

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/testregistry"
)

func TestManifestFaults(t *testing.T) {
	manifest := []byte(`{"schemaVersion":2}`)
	at := testregistry.At
	tests := map[string]struct {
		fault    testregistry.Fault
		byTag    error // what a request by tag ends with
		byDigest error
		wrong    bool // the bytes differ
		requests int  // by tag
	}{
		"none":                {requests: 1},
		"cut":                 {fault: testregistry.Fault{Times: 1, Cut: at(5)}, requests: 2},
		"cut for ever":        {fault: testregistry.Fault{Cut: at(5)}, byTag: &UnreachableError{}, byDigest: &UnreachableError{}, requests: 4},
		"stalled":             {fault: testregistry.Fault{Times: 1, Stall: at(5)}, requests: 2},
		"flipped":             {fault: testregistry.Fault{Flip: at(5)}, wrong: true, requests: 1},
		"shorter":             {fault: testregistry.Fault{Drop: at(5)}, wrong: true, requests: 1},
		"longer":              {fault: testregistry.Fault{Extra: []byte("x")}, wrong: true, requests: 1},
		"a web page":          {fault: testregistry.Fault{HTML: true}, byTag: &FormatError{}, wrong: true, requests: 1},
		"endless":             {fault: testregistry.Fault{Endless: true}, byTag: &LimitError{}, byDigest: &LimitError{}, requests: 1},
		"says it is huge":     {fault: testregistry.Fault{Length: at(1 << 40)}, byTag: &LimitError{}, byDigest: &LimitError{}, requests: 1},
		"404":                 {fault: testregistry.Fault{Status: 404}, byTag: &NotFoundError{}, byDigest: &NotFoundError{}, requests: 1},
		"401":                 {fault: testregistry.Fault{Status: 401}, byTag: &AuthError{}, byDigest: &AuthError{}, requests: 1},
		"403":                 {fault: testregistry.Fault{Status: 403}, byTag: &AuthError{}, byDigest: &AuthError{}, requests: 1},
		"429":                 {fault: testregistry.Fault{Times: 3, Status: 429}, requests: 4},
		"502":                 {fault: testregistry.Fault{Status: 502}, byTag: &UnreachableError{}, byDigest: &UnreachableError{}, requests: 4},
		"501":                 {fault: testregistry.Fault{Status: 501}, byTag: &StatusError{}, byDigest: &StatusError{}, requests: 1},
		"redirects for ever":  {fault: testregistry.Fault{Redirect: "%s"}, byTag: &LimitError{}, byDigest: &LimitError{}, requests: 11},
		"lying digest header": {fault: testregistry.Fault{Header: map[string]string{"Docker-Content-Digest": "sha256:nonsense"}}, requests: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, ref := range []string{"latest", digest.FromBytes(manifest).String()} {
				reg := testregistry.New(t, testregistry.Options{})
				reg.AddManifest("app", "latest", "application/vnd.oci.image.manifest.v1+json", manifest)
				reg.Fault("/manifests/", tt.fault)
				c := quickClient(t)
				if tt.fault.Stall != nil {
					c.Retry.Stall = stalled
				}
				doc, err := mustRegistry(t, c, reg.Repo("app")).manifest(t.Context(), ref)
				want := tt.byTag
				if ref != "latest" {
					want = tt.byDigest
				}
				checkKind(t, err, want)
				if err == nil && string(doc.raw) == string(manifest) == tt.wrong {
					t.Errorf("%s: got %q", ref, doc.raw)
				}
				if n := len(reg.Requests()); n != tt.requests {
					t.Errorf("%s: %d requests, want %d", ref, n, tt.requests)
				}
			}
		})
	}
}

// TestManifestDowngrade refuses to learn what a tag means over plain HTTP when
// the registry speaks HTTPS; what is known by digest may come from anywhere.
func TestManifestDowngrade(t *testing.T) {
	t.Parallel()
	plain := testregistry.New(t, testregistry.Options{})
	reg := testregistry.New(t, testregistry.Options{TLS: true})
	m := plain.AddManifest("app", "latest", "application/json", []byte(`{}`))
	reg.Fault("/manifests/", testregistry.Fault{Redirect: plain.Server.URL + "%s"})
	c := quickClient(t)
	c.SkipTLSVerify = true
	p := mustRegistry(t, c, reg.Repo("app"))
	_, err := p.manifest(t.Context(), "latest")
	checkKind(t, err, &FormatError{})
	if n := len(plain.Requests()); n != 0 {
		t.Errorf("%d requests over plain HTTP", n)
	}
	if _, err := p.manifest(t.Context(), m.Digest.String()); err != nil {
		t.Error(err)
	}
}

// TestRegistryErrors shows what the registry said, and nothing that a terminal
// would obey.
func TestRegistryErrors(t *testing.T) {
	t.Parallel()
	reg := testregistry.New(t, testregistry.Options{})
	reg.Fault("/manifests/", testregistry.Fault{
		Status: 400, Body: []byte(`{"errors":[{"code":"TAG_INVALID","message":"no\u001b[31m such\nthing"}]}`),
	})
	_, err := mustRegistry(t, quickClient(t), reg.Repo("app")).manifest(t.Context(), "latest")
	var status *StatusError
	if !errors.As(err, &status) {
		t.Fatalf("error %v", err)
	}
	want := &StatusError{
		Method: "GET", URL: reg.Server.URL + "/v2/app/manifests/latest", Code: 400,
		Errors: []RegistryError{{"TAG_INVALID", "no [31m such thing"}},
	}
	if d := cmp.Diff(want, status); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	c := quickClient(t)
	var log eventLog
	c.Observe = log.add
	_, err := mustRegistry(t, c, "127.0.0.1:1/app").manifest(t.Context(), "latest")
	checkKind(t, err, &UnreachableError{})
	waits := 0
	for _, e := range log.events {
		if e.Kind == EventRetry {
			waits++
			if e.Wait <= 0 || e.Err == nil || e.Object == "" {
				t.Errorf("event says too little: %+v", e)
			}
		}
	}
	if waits != refusedAttempts-1 {
		t.Errorf("%d waits were said, want %d", waits, refusedAttempts-1)
	}
}

func TestTags(t *testing.T) {
	many := make([]string, 2500)
	for i := range many {
		many[i] = fmt.Sprintf("v%d.0_x-y", i)
	}
	tests := map[string]struct {
		opts  testregistry.Options
		limit Limits
		fault *testregistry.Fault
		want  error
		pages int
	}{
		"too many pages":        {opts: testregistry.Options{PageSize: 1}, limit: Limits{TagPages: 7}, want: &LimitError{}, pages: 7},
		"too many tags":         {limit: Limits{Tags: 1999}, want: &LimitError{}, pages: 2},
		"pages of the client":   {pages: 3},
		"pages of the registry": {opts: testregistry.Options{PageSize: 100}, pages: 25},
		"with a token":          {opts: testregistry.Options{Auth: testregistry.Auth{Token: true, Uses: 1}}, pages: 6},
		"a failing page":        {fault: &testregistry.Fault{After: 1, Times: 2, Status: 500}, pages: 5},
		"a circle":              {fault: &testregistry.Fault{Header: map[string]string{"Link": `</v2/app/tags/list?n=1000>; rel=next`}}, want: &FormatError{}, pages: 1},
		"elsewhere":             {fault: &testregistry.Fault{Header: map[string]string{"Link": `<http://127.0.0.1:1/steal?x=1>; rel="next"`}}, want: &FormatError{}, pages: 1},
		"not JSON":              {fault: &testregistry.Fault{HTML: true}, want: &FormatError{}, pages: 1},
		"not tags":              {fault: &testregistry.Fault{Body: []byte(`{"tags":["a\u001b[2J"]}`)}, want: &FormatError{}, pages: 1},
		"endless":               {fault: &testregistry.Fault{Endless: true}, want: &LimitError{}, pages: 1},
		"404":                   {fault: &testregistry.Fault{Status: 404}, want: &NotFoundError{}, pages: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := testregistry.New(t, tt.opts)
			reg.SetTags("app", many)
			if tt.fault != nil {
				reg.Fault("/tags/", *tt.fault)
			}
			c := quickClient(t)
			c.Limits = tt.limit
			ref, err := ParseReference(reg.Repo("app"))
			if err != nil {
				t.Fatal(err)
			}
			tags, err := c.Tags(t.Context(), ref)
			checkKind(t, err, tt.want)
			if err == nil && !cmp.Equal(many, tags) {
				t.Errorf("got %d tags, want %d", len(tags), len(many))
			}
			if n := reg.Count("/tags/"); n != tt.pages {
				t.Errorf("%d requests, want %d", n, tt.pages)
			}
		})
	}
}

func TestNextPage(t *testing.T) {
	base := &url.URL{Scheme: "https", Host: "h", Path: "/v2/app/tags/list"}
	tests := map[string]struct {
		link string
		want string
		fail bool
	}{
		"none":              {},
		"docker":            {link: `</v2/app/tags/list?last=b&n=2>; rel="next"`, want: "https://h/v2/app/tags/list?last=b&n=2"},
		"absolute":          {link: `<http://inside:5000/v2/app/tags/list?last=b>; rel=next`, want: "http://inside:5000/v2/app/tags/list?last=b"},
		"relative":          {link: `<list?last=b>;rel="next"`, want: "https://h/v2/app/tags/list?last=b"},
		"only a query":      {link: `<?last=b>; rel=NEXT`, want: "https://h/v2/app/tags/list?last=b"},
		"several":           {link: `<x>; rel="prev", <?last=c>; title="a, <b>; rel=prev"; rel="other next"`, want: "https://h/v2/app/tags/list?last=c"},
		"other relations":   {link: `<x>; rel="prev"; rel=next`},
		"no relation":       {link: `<?last=b>`},
		"not closed":        {link: `<?last=b; rel=next`},
		"without a query":   {link: `</v2/app/tags/list>; rel=next`, fail: true},
		"malformed address": {link: `<:>; rel=next`, fail: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			u, err := nextPage([]string{tt.link}, base)
			if (err != nil) != tt.fail {
				t.Fatalf("error %v", err)
			}
			got := ""
			if u != nil {
				got = u.String()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestNoLeak leaves no goroutine behind, whatever became of the transfers.
func TestNoLeak(t *testing.T) {
	reg := testregistry.New(t, testregistry.Options{TLS: true})
	desc := reg.AddBlob("app", noise(1<<20))
	reg.Fault("/blobs/", testregistry.Fault{Times: 1, Cut: new(int64(1000))})
	reg.Fault("/blobs/", testregistry.Fault{Times: 1, Stall: new(int64(2000))})
	reg.Fault("/blobs/", testregistry.Fault{After: 3, Endless: true})
	before := runtime.NumGoroutine()
	c := &Client{Retry: quick(), HostsDirs: []string{}, SkipTLSVerify: true}
	c.Retry.Stall = stalled
	p := mustRegistry(t, c, reg.Repo("app"))
	for range 2 {
		_, _ = readBlob(t.Context(), p, desc, 0)
	}
	body, err := p.blob(t.Context(), "blob", desc, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = body.Close() // in the middle
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	reg.Server.CloseClientConnections()
	noMoreGoroutines(t, before)
}

// noMoreGoroutines waits until no more of them run than before.
func noMoreGoroutines(t *testing.T, before int) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// TestForeignLayer fetches a layer that registries may not hold from where its
// descriptor says it is, if the registry does not have it.
func TestForeignLayer(t *testing.T) {
	t.Parallel()
	locked := testregistry.New(t, testregistry.Options{Auth: testregistry.Auth{Basic: true, Username: "jo", Password: secretPassword}})
	open := testregistry.New(t, testregistry.Options{})
	reg := testregistry.New(t, testregistry.Options{})
	c := quickClient(t)
	c.Credentials = loginFor(Credential{Username: "jo", Password: secretPassword})
	p := mustRegistry(t, c, reg.Repo("app"))
	data := noise(1 << 20)
	desc := open.AddBlob("app", data)
	locked.AddBlob("app", data)
	open.Fault("/blobs/", testregistry.Fault{Times: 1, Cut: new(int64(500_000))})
	path := "/v2/app/blobs/" + desc.Digest.String()
	desc.URLs = []string{
		"file:///etc/passwd", "http://", "\x00", locked.Server.URL + path, "http://jo:pw@" + open.Host() + path + "?sig=secret",
	}
	_, err := readBlob(t.Context(), p, desc, 0)
	checkKind(t, err, &NotFoundError{})
	desc.MediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	got, err := readBlob(t.Context(), p, desc, 0)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
	checkRanges(t, open, "- bytes=500000-1048575")
	for _, q := range append(locked.Requests(), open.Requests()...) {
		if q.Header.Get("Authorization") != "" {
			t.Error("a login was sent to an address of the manifest")
		}
	}
	reg.AddBlob("app", data)
	before := len(open.Requests())
	if _, err := readBlob(t.Context(), p, desc, 0); err != nil || len(open.Requests()) != before {
		t.Errorf("the registry was not asked first, or error %v", err)
	}
}

// TestProxy reaches a registry through a proxy of the environment, which Go
// reads once in a process: the test runs itself again.
func TestProxy(t *testing.T) {
	if os.Getenv("BYHAND_TEST_PROXY") != "" {
		c := quickClient(t)
		c.PlainHTTP = true
		if _, err := mustRegistry(t, c, "registry.test:5000/app").manifest(t.Context(), "latest"); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Parallel()
	proxy := testregistry.New(t, testregistry.Options{})
	proxy.AddManifest("app", "latest", "application/json", []byte(`{}`))
	for _, noProxy := range []string{"", "registry.test"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxy$")
		cmd.Env = append(os.Environ(), "BYHAND_TEST_PROXY=1", "HTTP_PROXY="+proxy.Server.URL, "http_proxy=", "NO_PROXY="+noProxy)
		out, err := cmd.CombinedOutput()
		if (err == nil) != (noProxy == "") {
			t.Errorf("NO_PROXY=%q: %v\n%s", noProxy, err, out)
		}
	}
	if n := len(proxy.Requests()); n != 1 {
		t.Errorf("%d requests through the proxy, want 1", n)
	}
}

func TestBackoff(t *testing.T) {
	p := RetryPolicy{Base: 100 * time.Millisecond, Max: time.Second}
	for attempt, most := range map[int]time.Duration{1: 100, 2: 200, 3: 400, 4: 800, 5: 1000, 6: 1000, 1000: 1000} {
		most *= time.Millisecond
		different := map[time.Duration]bool{}
		for range 50 {
			d := p.backoff(attempt)
			if d < most/2 || d > most {
				t.Errorf("attempt %d: %v is not between %v and %v", attempt, d, most/2, most)
			}
			different[d] = true
		}
		if len(different) < 2 {
			t.Errorf("attempt %d: no jitter", attempt)
		}
	}
}

func TestRedactURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://h/v2/app/blobs/x":                        "https://h/v2/app/blobs/x",
		"https://jo:pw@h/x#frag":                          "https://h/x",
		"https://s3/x?X-Amz-Signature=abc&X-Amz-Date=1":   "https://s3/x?…",
		"https://h/v2/app/tags/list?n=5&last=a&ns=x":      "https://h/v2/app/tags/list?last=a&n=5&ns=x",
		"https://auth/token?service=s&scope=r&account=jo": "https://auth/token?scope=r&service=s&…",
		"https://h/x?%zz":                                 "https://h/x?…",
	} {
		u, err := url.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := redactURL(u); got != want {
			t.Errorf("redactURL(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		after, date string
		want        time.Duration
		ok          bool
	}{
		"seconds":               {after: "120", want: 2 * time.Minute, ok: true},
		"zero":                  {after: "0", ok: true},
		"date by our clock":     {after: "Wed, 01 May 2024 12:00:10 GMT", want: 10 * time.Second, ok: true},
		"date by its clock":     {after: "Wed, 01 May 2024 12:00:10 GMT", date: "Wed, 01 May 2024 12:00:07 GMT", want: 3 * time.Second, ok: true},
		"date of another style": {after: "Wednesday, 01-May-24 12:00:10 GMT", want: 10 * time.Second, ok: true},
		"past":                  {after: "Wed, 01 May 2024 11:00:10 GMT", ok: true},
		"negative":              {after: "-5"},
		"nonsense":              {after: "later"},
		"none":                  {},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			if tt.after != "" {
				h.Set("Retry-After", tt.after)
			}
			if tt.date != "" {
				h.Set("Date", tt.date)
			}
			got, ok := parseRetryAfter(h, now)
			if got != tt.want || ok != tt.ok {
				t.Errorf("got %v, %v; want %v, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}
