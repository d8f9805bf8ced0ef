package pull

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/testregistry"
)

// quick is a policy that does not make tests wait. Nothing but a fault stalls
// that long, on the busiest machine.
func quick() RetryPolicy {
	return RetryPolicy{
		Attempts: 4, Base: time.Millisecond, Max: 4 * time.Millisecond,
		RetryAfter: 2 * time.Second, Stall: time.Minute, Dial: time.Minute,
	}
}

// stalled is the limit for tests that wait for a stall: as short as a busy
// machine permits that is slow by itself.
const stalled = 4 * time.Second

// quickClient is a client for tests. It reads none of the machine's mirrors.
func quickClient(t *testing.T) *Client {
	t.Helper()
	c := &Client{Retry: quick(), HostsDirs: []string{}}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close client: %v", err)
		}
	})
	return c
}

func mustRegistry(t *testing.T, c *Client, name string) provider {
	t.Helper()
	ref, err := ParseReference(name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newRegistry(c, ref)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// noise returns n bytes that are the same in every run.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func readBlob(ctx context.Context, p provider, desc ocispec.Descriptor, offset int64) ([]byte, error) {
	body, err := p.blob(ctx, "blob", desc, offset)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(body)
	if closeErr := body.Close(); err == nil {
		err = closeErr
	}
	return data, err
}

// TestBlobFaults reads one blob through every fault. What arrives must be
// the blob, or an error of the right kind; what was asked shows that no byte
// was fetched twice where that could be helped.
func TestBlobFaults(t *testing.T) {
	const size = 1 << 20
	good := noise(size)
	at := testregistry.At
	tests := map[string]struct {
		faults []testregistry.Fault
		wrong  bool   // the bytes differ, which is for the digest to find
		want   error  // a pointer to the type of error
		ranges string // Range headers, in order, of all requests for the blob
	}{
		"none":     {ranges: "-"},
		"cut at 0": {faults: []testregistry.Fault{{Times: 1, Cut: at(0)}}, ranges: "- -"},
		"cut at 1": {faults: []testregistry.Fault{{Times: 1, Cut: at(1)}}, ranges: "- bytes=1-1048575"},
		"cut in the middle": {
			faults: []testregistry.Fault{{Times: 1, Cut: at(500_000)}}, ranges: "- bytes=500000-1048575",
		},
		"cut before the end": {
			faults: []testregistry.Fault{{Times: 1, Cut: at(size - 1)}}, ranges: "- bytes=1048575-1048575",
		},
		"cut again and again, with progress": {
			faults: []testregistry.Fault{
				{Times: 1, Cut: at(300_000)},
				{Times: 1, Cut: at(600_000)},
				{Times: 1, Cut: at(900_000)},
				{Times: 1, Cut: at(900_000)},
				{Times: 1, Cut: at(900_000)},
			},
			ranges: "- bytes=300000-1048575 bytes=600000-1048575 bytes=900000-1048575 bytes=900000-1048575 bytes=900000-1048575",
		},
		"cut at the same byte for ever": {
			faults: []testregistry.Fault{{Cut: at(70_000)}}, want: &UnreachableError{},
			ranges: "- bytes=70000-1048575 bytes=70000-1048575 bytes=70000-1048575",
		},
		"hung up": {faults: []testregistry.Fault{{Times: 2, Hangup: true}}, ranges: "- - -"},
		"stalled before the first byte": {
			faults: []testregistry.Fault{{Times: 1, Stall: at(0)}}, ranges: "- -",
		},
		"stalled in the middle": {
			faults: []testregistry.Fault{{Times: 1, Stall: at(200_000)}}, ranges: "- bytes=200000-1048575",
		},
		"stalled for ever": {
			faults: []testregistry.Fault{{Stall: at(10)}}, want: &UnreachableError{},
			ranges: "- bytes=10-1048575 bytes=10-1048575 bytes=10-1048575",
		},
		"slow, but going on": {
			faults: []testregistry.Fault{{Pause: 30 * time.Millisecond, Chunk: 64 << 10}}, ranges: "-",
		},
		"cut, and ranges ignored": {
			faults: []testregistry.Fault{{Times: 1, Cut: at(500_000)}, {NoRange: true}},
			ranges: "- bytes=500000-1048575",
		},
		"cut twice, and ranges ignored": {
			faults: []testregistry.Fault{{Times: 1, Cut: at(500_000)}, {Times: 1, NoRange: true, Cut: at(700_000)}, {NoRange: true}},
			ranges: "- bytes=500000-1048575 -",
		},
		"cut, and ranges refused with 416": {
			faults: []testregistry.Fault{{Times: 1, Cut: at(500_000)}, {Times: 1, RefuseRange: 416}},
			ranges: "- bytes=500000-1048575 -",
		},
		"cut, and ranges refused with 400": {
			faults: []testregistry.Fault{{Times: 1, Cut: at(500_000)}, {Times: 1, RefuseRange: 400}},
			ranges: "- bytes=500000-1048575 -",
		},
		"cut, and ranges refused with 501": {
			faults: []testregistry.Fault{{Times: 1, Cut: at(500_000)}, {Times: 1, RefuseRange: 501}},
			ranges: "- bytes=500000-1048575 -",
		},
		"cut, and a range that begins too late": {
			faults: []testregistry.Fault{{Times: 1, Cut: at(500_000)}, {Times: 1, RangeShift: 5}},
			ranges: "- bytes=500000-1048575 -",
		},
		"cut, and a range that begins too early": {
			faults: []testregistry.Fault{{Times: 1, Cut: at(500_000)}, {Times: 1, RangeShift: -5}},
			ranges: "- bytes=500000-1048575",
		},
		"cut, and a range that lies": {
			faults: []testregistry.Fault{{Times: 1, Cut: at(500_000)}, {RangeLie: true}}, wrong: true,
			ranges: "- bytes=500000-1048575",
		},
		"cut, and a malformed Content-Range": {
			faults: []testregistry.Fault{
				{Times: 1, Cut: at(500_000)},
				{Times: 1, Status: 206, Body: []byte("x"), Header: map[string]string{"Content-Range": "bytes nonsense"}},
			},
			ranges: "- bytes=500000-1048575 -",
		},
		"one bit flipped": {faults: []testregistry.Fault{{Flip: at(77)}}, wrong: true, ranges: "-"},
		"too short, and honest about it": {
			faults: []testregistry.Fault{{Drop: at(1000)}}, want: &SizeError{},
			ranges: "-",
		},
		"empty": {faults: []testregistry.Fault{{Drop: at(0)}}, want: &SizeError{}, ranges: "-"},
		"too short, without a length": {
			faults: []testregistry.Fault{{Drop: at(1000), Chunked: true}}, want: &UnreachableError{},
			ranges: "- bytes=1000-1048575 - - -",
		},
		"extra bytes": {faults: []testregistry.Fault{{Extra: []byte("x")}}, want: &SizeError{}, ranges: "-"},
		"extra bytes, without a length": {
			faults: []testregistry.Fault{{Extra: []byte("x"), Chunked: true}}, want: &SizeError{}, ranges: "-",
		},
		"endless":                  {faults: []testregistry.Fault{{Endless: true}}, want: &SizeError{}, ranges: "-"},
		"without a length":         {faults: []testregistry.Fault{{Chunked: true}}, ranges: "-"},
		"length too small":         {faults: []testregistry.Fault{{Length: at(1000)}}, want: &SizeError{}, ranges: "-"},
		"length too large":         {faults: []testregistry.Fault{{Length: at(size + 7)}}, want: &SizeError{}, ranges: "-"},
		"a web page":               {faults: []testregistry.Fault{{HTML: true}}, want: &SizeError{}, ranges: "-"},
		"404":                      {faults: []testregistry.Fault{{Status: 404}}, want: &NotFoundError{}, ranges: "-"},
		"403":                      {faults: []testregistry.Fault{{Status: 403}}, want: &AuthError{}, ranges: "-"},
		"401 without a challenge":  {faults: []testregistry.Fault{{Status: 401}}, want: &AuthError{}, ranges: "-"},
		"400":                      {faults: []testregistry.Fault{{Status: 400}}, want: &StatusError{}, ranges: "-"},
		"204":                      {faults: []testregistry.Fault{{Status: 204, Body: []byte{}}}, want: &StatusError{}, ranges: "-"},
		"206 without being asked":  {faults: []testregistry.Fault{{Status: 206}}, want: &StatusError{}, ranges: "-"},
		"429, then well":           {faults: []testregistry.Fault{{Times: 2, Status: 429}}, ranges: "- - -"},
		"500, then well":           {faults: []testregistry.Fault{{Times: 3, Status: 500}}, ranges: "- - - -"},
		"503 for ever":             {faults: []testregistry.Fault{{Status: 503}}, want: &UnreachableError{}, ranges: "- - - -"},
		"redirect to itself":       {faults: []testregistry.Fault{{Redirect: "%s"}}, want: &LimitError{}},
		"redirect to nowhere":      {faults: []testregistry.Fault{{Redirect: "gopher://x/"}}, want: &FormatError{}, ranges: "-"},
		"redirect without address": {faults: []testregistry.Fault{{Status: 307, Body: []byte{}}}, want: &FormatError{}, ranges: "-"},
	}
	for name, tt := range tests {
		check := func(t *testing.T, overTLS bool) {
			t.Parallel()
			reg := testregistry.New(t, testregistry.Options{TLS: overTLS})
			desc := reg.AddBlob("app", good)
			for _, f := range tt.faults {
				reg.Fault("/blobs/", f)
			}
			c := quickClient(t)
			c.SkipTLSVerify = overTLS
			if strings.HasPrefix(name, "stalled") {
				c.Retry.Stall = stalled
			}
			p := mustRegistry(t, c, reg.Repo("app"))
			got, err := readBlob(t.Context(), p, desc, 0)
			checkKind(t, err, tt.want)
			switch {
			case err != nil && len(got) > size:
				t.Errorf("read %d bytes of a blob of %d", len(got), size)
			case err == nil && len(got) != size:
				t.Errorf("got %d bytes, want %d", len(got), size)
			case err == nil && bytes.Equal(got, good) == tt.wrong:
				t.Errorf("right content: %v, want %v", !tt.wrong, tt.wrong)
			}
			if tt.ranges != "" {
				checkRanges(t, reg, tt.ranges)
			}
			if proto := reg.Requests()[0].Proto; (proto == "HTTP/2.0") != overTLS {
				t.Errorf("the protocol was %s", proto)
			}
		}
		t.Run(name, func(t *testing.T) { check(t, false) })
		t.Run(name+", HTTP 2", func(t *testing.T) { check(t, true) })
	}
}

func checkRanges(t *testing.T, reg *testregistry.Registry, want string) {
	t.Helper()
	var list []string
	for _, q := range reg.Requests() {
		r := q.Header.Get("Range")
		if r == "" {
			r = "-"
		}
		list = append(list, r)
	}
	if got := strings.Join(list, " "); got != want {
		t.Errorf("asked for ranges %q, want %q", got, want)
	}
}

// checkKind looks for the type of want in err and what it wraps; nil wants no error.
func checkKind(t *testing.T, err, want error) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		if reflect.TypeOf(e) == reflect.TypeOf(want) {
			return
		}
	}
	if err != nil || want != nil {
		t.Errorf("error %v (%T), want a %T", err, err, want)
	}
}

func TestBlobOffset(t *testing.T) {
	t.Parallel()
	reg := testregistry.New(t, testregistry.Options{})
	data := noise(1000)
	desc := reg.AddBlob("app", data)
	p := mustRegistry(t, quickClient(t), reg.Repo("app"))
	for _, offset := range []int64{0, 1, 999, 1000} {
		got, err := readBlob(t.Context(), p, desc, offset)
		if err != nil || !bytes.Equal(got, data[offset:]) {
			t.Errorf("offset %d: %d bytes, error %v", offset, len(got), err)
		}
	}
	for _, offset := range []int64{-1, 1001} {
		if _, err := p.blob(t.Context(), "blob", desc, offset); err == nil {
			t.Errorf("offset %d: no error", offset)
		}
	}
	if n := reg.Count("/blobs/"); n != 3 {
		t.Errorf("%d requests, want 3: the end of a blob needs none", n)
	}
}

// TestBlobReject has the origin asked once more, and then no more.
func TestBlobReject(t *testing.T) {
	t.Parallel()
	reg := testregistry.New(t, testregistry.Options{})
	desc := reg.AddBlob("app", noise(10))
	p := mustRegistry(t, quickClient(t), reg.Repo("app"))
	for i, want := range []bool{true, false} {
		body, err := p.blob(t.Context(), "blob", desc, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := body.(rejecter).reject(); got != want {
			t.Errorf("rejection %d: another chance %v, want %v", i+1, got, want)
		}
		_ = body.Close()
	}
}

// TestBlobCancel stops at once, wherever the transfer is.
func TestBlobCancel(t *testing.T) {
	t.Parallel()
	faults := map[string]testregistry.Fault{
		"while a transfer hangs":    {Stall: new(int64(100)), Chunked: true},
		"while an answer hangs":     {Stall: new(int64(0)), Chunked: true},
		"while it waits to retry":   {Status: 503, Header: map[string]string{"Retry-After": "60"}},
		"while the content streams": {Endless: true},
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := testregistry.New(t, testregistry.Options{})
			reg.Fault("/blobs/", f)
			c := quickClient(t)
			c.Retry.Stall, c.Retry.RetryAfter = time.Hour, time.Hour
			p := mustRegistry(t, c, reg.Repo("app"))
			desc := ocispec.Descriptor{Digest: digest.FromString("x"), Size: 1 << 50}
			reg.SetBlob("app", desc.Digest, noise(1000))
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(100*time.Millisecond, cancel)
			start := time.Now()
			body, err := p.blob(ctx, "blob", desc, 0)
			if err == nil {
				_, err = io.Copy(io.Discard, body)
				_ = body.Close()
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want %v", err, context.Canceled)
			}
			if d := time.Since(start); d > 30*time.Second { // mostly the machine's load; each of the faults lasts a minute and more
				t.Errorf("it took %v", d)
			}
		})
	}
}

// TestSlowReader is no stall: the consumer may take longer than the network.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	reg := testregistry.New(t, testregistry.Options{})
	data := noise(8 << 20)
	desc := reg.AddBlob("app", data)
	c := quickClient(t)
	c.Retry.Stall = stalled
	body, err := mustRegistry(t, c, reg.Repo("app")).blob(t.Context(), "blob", desc, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	one := make([]byte, 1)
	for range 2 {
		if _, err := io.ReadFull(body, one); err != nil {
			t.Fatal(err)
		}
		time.Sleep(stalled + stalled/10)
	}
	rest, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(rest, data[2:]) {
		t.Errorf("rest: %d bytes, error %v", len(rest), err)
	}
	if n := reg.Count("/blobs/"); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

// TestRetryAfter waits as long as it was told to, and no longer than allowed.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		header   map[string]string
		min, max time.Duration
		want     error
	}{
		"seconds": {header: map[string]string{"Retry-After": "1"}, min: time.Second, max: time.Minute},
		"a date": {
			header: map[string]string{"Retry-After": "Fri, 01 Jan 2021 00:00:01 GMT", "Date": "Fri, 01 Jan 2021 00:00:00 GMT"},
			min:    time.Second, max: time.Minute,
		},
		"a date that has passed": {header: map[string]string{"Retry-After": "Fri, 01 Jan 2021 00:00:00 GMT"}, max: time.Minute},
		"nonsense":               {header: map[string]string{"Retry-After": "soon"}, max: time.Minute},
		"too long":               {header: map[string]string{"Retry-After": "3600"}, max: time.Minute, want: &UnreachableError{}},
		"more than a number holds": {
			header: map[string]string{"Retry-After": "99999999999999999999999"}, max: time.Minute,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := testregistry.New(t, testregistry.Options{})
			desc := reg.AddBlob("app", noise(10))
			reg.Fault("/blobs/", testregistry.Fault{Times: 1, Status: http.StatusTooManyRequests, Header: tt.header})
			start := time.Now()
			_, err := readBlob(t.Context(), mustRegistry(t, quickClient(t), reg.Repo("app")), desc, 0)
			checkKind(t, err, tt.want)
			if d := time.Since(start); d < tt.min || d > tt.max {
				t.Errorf("it took %v, want between %v and %v", d, tt.min, tt.max)
			}
		})
	}
}
