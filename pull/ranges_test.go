package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/testregistry"
)

const testRange = 64 << 10

// eager makes p split every blob as soon as it can, into small ranges.
func eager(p provider) *registry {
	r := p.(*registry)
	r.split = splitRule{judge: math.MaxInt64, prove: time.Minute}
	r.limits.RangeFloor, r.limits.RangeSize = 1, testRange
	r.memory = newRangeMemory(Limits{RangeSize: testRange, RangeMemory: 4 * testRange})
	return r
}

// countBuffers returns how many buffers m has made.
func countBuffers(m *rangeMemory) *atomic.Int32 {
	made := &atomic.Int32{}
	alloc := m.pool.New
	m.pool.New = func() any { made.Add(1); return alloc() }
	return made
}

// span is a range that was asked for; stop is not in it.
type span struct{ start, stop int64 }

// spans returns the ranges of all requests for blobs, in order of their place.
// The request for the whole is one from 0.
func spans(t *testing.T, reg *testregistry.Registry, size int64) []span {
	t.Helper()
	var list []span
	for _, q := range reg.Requests() {
		if !strings.Contains(q.Path, "/blobs/") {
			continue
		}
		s := span{0, size}
		if r := q.Header.Get("Range"); r != "" {
			var last int64
			if _, err := fmt.Sscanf(r, "bytes=%d-%d", &s.start, &last); err != nil {
				t.Fatalf("range %q", r)
			}
			s.stop = last + 1
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b span) int { return int(a.start - b.start) })
	return list
}

// TestRanges fetches a blob over several connections, through faults of all
// kinds. The bytes and their order are right, and what had arrived is not
// asked for again.
func TestRanges(t *testing.T) {
	const size = 1 << 20
	good := noise(size)
	at := testregistry.At
	type fault = testregistry.Fault
	tests := map[string]struct {
		faults []fault
		auth   testregistry.Auth
		want   error
		least  int // requests
		most   int // 0: as many as there are ranges, and none twice
	}{
		"well":                      {least: 15},
		"chunked":                   {faults: []fault{{Chunked: true}}, least: 15},
		"one is cut":                {faults: []fault{{After: 2, Times: 1, Cut: at(150_000)}}, least: 15, most: 19},
		"one is cut at once":        {faults: []fault{{After: 1, Times: 1, Cut: at(0)}}, least: 15, most: 19},
		"one hangs up":              {faults: []fault{{After: 3, Times: 1, Hangup: true}}, least: 15, most: 19},
		"one stalls":                {faults: []fault{{After: 2, Times: 1, Stall: at(140_000)}}, least: 15, most: 19},
		"one gets 500":              {faults: []fault{{After: 4, Times: 1, Status: 500}}, least: 15, most: 19},
		"two get 503":               {faults: []fault{{After: 2, Times: 2, Status: 503}}, least: 15, most: 20},
		"some after another":        {faults: []fault{{After: 1, Times: 1, Hangup: true}, {After: 3, Times: 1, Status: 502}, {After: 6, Times: 1, Cut: at(0)}}, least: 6, most: 25},
		"the first is cut":          {faults: []fault{{Times: 1, Cut: at(65_000)}}, least: 15, most: 18},
		"tokens for three requests": {auth: testregistry.Auth{Token: true, Uses: 3}, least: 15, most: 40},
		"429":                       {faults: []fault{{After: 1, Status: 429}}, least: 2, most: 4},
		"403":                       {faults: []fault{{After: 1, Status: 403}}, least: 2, most: 4},
		"ranges ignored":            {faults: []fault{{NoRange: true}}, least: 2, most: 4},
		"ranges refused with 416":   {faults: []fault{{RefuseRange: 416}}, least: 2, most: 4},
		"ranges refused with 400":   {faults: []fault{{RefuseRange: 400}}, least: 2, most: 4},
		"ranges begin too late":     {faults: []fault{{RangeShift: 5}}, least: 2, most: 4},
		"ranges begin too early":    {faults: []fault{{RangeShift: -5}}, least: 2, most: 4},
		"of another length":         {faults: []fault{{After: 1, Length: at(10)}}, least: 2, most: 4},
		"of another total":          {faults: []fault{{After: 1, Extra: []byte("x")}}, least: 2, most: 4},
		"malformed Content-Range": {
			faults: []fault{{After: 1, Status: 206, Body: []byte("x"), Header: map[string]string{"Content-Range": "bytes nonsense"}}},
			least:  2, most: 4,
		},
		"refused in the middle":  {faults: []fault{{After: 7, RefuseRange: 416}}, least: 9, most: 14},
		"ignored in the middle":  {faults: []fault{{After: 7, NoRange: true}}, least: 9, most: 14},
		"cut at once, for ever":  {faults: []fault{{Times: 1, Cut: at(300_000)}, {Cut: at(0)}}, want: &UnreachableError{}, least: 5, most: 16},
		"cut at once but one":    {faults: []fault{{After: 1, Cut: at(0)}}, least: 2, most: 1 + 3*maxForks},
		"403 for all that comes": {faults: []fault{{Times: 1, Cut: at(100_000)}, {Status: 403}}, want: &AuthError{}, least: 2, most: 6},
	}
	for name, tt := range tests {
		check := func(t *testing.T, overTLS bool) {
			t.Parallel()
			reg := testregistry.New(t, testregistry.Options{TLS: overTLS, Auth: tt.auth})
			desc := reg.AddBlob("app", good)
			for _, f := range tt.faults {
				reg.Fault("/blobs/", f)
			}
			c := quickClient(t)
			c.SkipTLSVerify = overTLS
			if name == "one stalls" {
				c.Retry.Stall = stalled
			}
			r := eager(mustRegistry(t, c, reg.Repo("app")))
			made := countBuffers(r.memory)
			got, err := readBlob(t.Context(), r, desc, 0)
			checkKind(t, err, tt.want)
			if !bytes.Equal(got, good[:len(got)]) || err == nil && len(got) != size {
				t.Errorf("%d bytes, or other ones", len(got))
			}
			list := spans(t, reg, size)
			if len(list) < tt.least || tt.most > 0 && len(list) > tt.most {
				t.Errorf("%d requests, want %d to %d: %v", len(list), tt.least, tt.most, list)
			}
			if tt.most == 0 {
				checkRangesOnce(t, reg, list, size)
			}
			if n := made.Load(); n > 4*maxForks {
				t.Errorf("%d buffers were made", n)
			}
			if r.memory.free != 4 {
				t.Errorf("%d buffers are free at the end, want all 4", r.memory.free)
			}
		}
		t.Run(name, func(t *testing.T) { check(t, false) })
		t.Run(name+", HTTP 2", func(t *testing.T) { check(t, true) })
	}
}

// checkRangesOnce sees that ranges were asked for once, without gaps, and over
// more connections than one.
func checkRangesOnce(t *testing.T, reg *testregistry.Registry, list []span, size int64) {
	t.Helper()
	for i, s := range list[1:] {
		if s.stop-s.start > testRange || i > 0 && s.start != list[i].stop {
			t.Errorf("range %v after %v", s, list[i])
		}
	}
	if last := list[len(list)-1]; last.stop != size {
		t.Errorf("the last range is %v of %d", last, size)
	}
	from := map[string]bool{}
	for _, q := range reg.Requests() {
		from[q.Remote] = true
	}
	if len(from) < 2 || len(from) > 5 { // the first one is replaced by another when its part is over
		t.Errorf("%d connections, want 2 to 5", len(from))
	}
}

// TestRangesRest begins somewhere else than at the start.
func TestRangesRest(t *testing.T) {
	t.Parallel()
	reg := testregistry.New(t, testregistry.Options{})
	data := noise(1 << 20)
	desc := reg.AddBlob("app", data)
	r := eager(mustRegistry(t, quickClient(t), reg.Repo("app")))
	got, err := readBlob(t.Context(), r, desc, 300_000)
	if err != nil || !bytes.Equal(got, data[300_000:]) {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
	if n := len(reg.Requests()); n < 10 {
		t.Errorf("%d requests: the test tests nothing", n)
	}
}

// TestRangesNot has everything to do with one request: a server that is fast
// enough, no memory left, a blob that is not large, a limit of one connection.
func TestRangesNot(t *testing.T) {
	tests := map[string]func(*registry){
		"a fast server": func(r *registry) {
			r.split = defaultSplitRule()
			r.split.window = time.Minute // the busiest machine is slow by itself
		},
		"soon over":     func(r *registry) { r.split.rest = time.Hour },
		"a slow reader": func(r *registry) { r.split.share = 101 },
		"not large":     func(r *registry) { r.limits.RangeFloor = 1 << 20 },
		"off":           func(r *registry) { r.limits.RangeConnections = 1 },
		"no memory":     func(r *registry) { r.memory.acquire(3) },
		"suspect":       func(r *registry) { r.reject(digest.FromBytes(noise(1<<20)).String(), r.endpoints[0]) },
	}
	for name, set := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := testregistry.New(t, testregistry.Options{})
			data := noise(1 << 20)
			desc := reg.AddBlob("app", data)
			r := eager(mustRegistry(t, quickClient(t), reg.Repo("app")))
			set(r)
			got, err := readBlob(t.Context(), r, desc, 0)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, error %v", len(got), err)
			}
			checkRanges(t, reg, "-")
		})
	}
}

// TestRangesLie delivers wrong bytes in ranges alone. After the rejection the
// blob is fetched in one piece.
func TestRangesLie(t *testing.T) {
	t.Parallel()
	reg := testregistry.New(t, testregistry.Options{})
	data := noise(1 << 20)
	desc := reg.AddBlob("app", data)
	reg.Fault("/blobs/", testregistry.Fault{RangeLie: true})
	r := eager(mustRegistry(t, quickClient(t), reg.Repo("app")))
	body, err := r.blob(t.Context(), "blob", desc, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(body)
	if err != nil || len(got) != len(data) || bytes.Equal(got, data) {
		t.Fatalf("%d bytes, error %v: the test tests nothing", len(got), err)
	}
	if !body.(rejecter).reject() {
		t.Error("no further chance")
	}
	_ = body.Close()
	before := len(reg.Requests())
	if got, err := readBlob(t.Context(), r, desc, 0); err != nil || !bytes.Equal(got, data) {
		t.Errorf("after the rejection: %d bytes, error %v", len(got), err)
	}
	if n := len(reg.Requests()) - before; n != 1 {
		t.Errorf("%d requests after the rejection, want 1", n)
	}
}

// TestRangesMirror fetches ranges from a mirror until that fails, and then from
// the origin. Both are suspect if a byte is wrong.
func TestRangesMirror(t *testing.T) {
	t.Parallel()
	origin, mirror := testregistry.New(t, testregistry.Options{}), testregistry.New(t, testregistry.Options{})
	data := noise(1 << 20)
	desc := origin.AddBlob("app", data)
	mirror.AddBlob("app", data)
	mirror.Fault("/blobs/", testregistry.Fault{After: 6, Status: 500})
	c := quickClient(t)
	c.HostsDirs = []string{hostsDir(t, origin.Host(), "[host.\""+mirror.Server.URL+"\"]\n")}
	r := eager(mustRegistry(t, c, origin.Repo("app")))
	body, err := r.blob(t.Context(), "blob", desc, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	got, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
	if a, b := mirror.Count("/blobs/"), origin.Count("/blobs/"); a < 7 || b < 1 {
		t.Errorf("%d requests to the mirror and %d to the origin", a, b)
	}
	if n := len(body.(*blobReader).sources); n != 2 {
		t.Errorf("%d sources, want 2", n)
	}
}

// TestRangesRedirect follows the registry to its storage with every range, and
// leaves the login behind.
func TestRangesRedirect(t *testing.T) {
	t.Parallel()
	storage := testregistry.New(t, testregistry.Options{})
	reg := testregistry.New(t, testregistry.Options{Auth: testregistry.Auth{Basic: true, Username: "jo", Password: secretPassword}})
	data := noise(1 << 20)
	desc := storage.AddBlob("app", data)
	reg.Fault("/blobs/", testregistry.Fault{Redirect: storage.Server.URL + "%s"})
	c := quickClient(t)
	c.Credentials = loginFor(Credential{Username: "jo", Password: secretPassword})
	got, err := readBlob(t.Context(), eager(mustRegistry(t, c, reg.Repo("app"))), desc, 0)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
	if n := len(storage.Requests()); n < 15 {
		t.Errorf("%d requests to the storage", n)
	}
	for _, q := range storage.Requests() {
		if q.Header.Get("Authorization") != "" {
			t.Error("the storage got the login")
		}
	}
}

// TestRangesShareMemory has several blobs of one client at once. They never hold
// more than the client may.
func TestRangesShareMemory(t *testing.T) {
	t.Parallel()
	reg := testregistry.New(t, testregistry.Options{})
	data := noise(1 << 20)
	desc := reg.AddBlob("app", data)
	r := eager(mustRegistry(t, quickClient(t), reg.Repo("app")))
	failed := make(chan error, 6)
	for range cap(failed) {
		go func() {
			got, err := readBlob(t.Context(), r, desc, 0)
			if err == nil && !bytes.Equal(got, data) {
				err = errors.New("other bytes")
			}
			failed <- err
		}()
	}
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if r.memory.free != 4 {
		t.Errorf("%d buffers are free at the end, want 4", r.memory.free)
	}
}

// TestRangesHang has no answer come over further connections. The first one,
// which is still open, goes on by itself.
func TestRangesHang(t *testing.T) {
	t.Parallel()
	reg := testregistry.New(t, testregistry.Options{})
	data := noise(1 << 20)
	desc := reg.AddBlob("app", data)
	reg.Fault("/blobs/", testregistry.Fault{After: 1, Stall: new(int64(0)), Chunked: true})
	c := quickClient(t)
	c.Retry.Stall = time.Hour
	r := eager(mustRegistry(t, c, reg.Repo("app")))
	r.split.prove = 100 * time.Millisecond
	got, err := readBlob(t.Context(), r, desc, 0)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
	if n := len(reg.Requests()); n < 2 || n > 4 {
		t.Errorf("%d requests, want 2 to 4", n)
	}
}

// TestRangesStop leaves nothing behind when a blob is closed, or its context
// cancelled, while its ranges hang.
func TestRangesStop(t *testing.T) {
	reg := testregistry.New(t, testregistry.Options{TLS: true})
	desc := reg.AddBlob("app", noise(1<<20))
	reg.Fault("/blobs/", testregistry.Fault{After: 1, Times: 3, Stall: new(int64(150_000))})
	before := runtime.NumGoroutine()
	for _, cancels := range []bool{false, true} {
		c := &Client{Retry: quick(), HostsDirs: []string{}, SkipTLSVerify: true}
		c.Retry.Stall = time.Hour
		r := eager(mustRegistry(t, c, reg.Repo("app")))
		ctx, cancel := context.WithCancel(t.Context())
		body, err := r.blob(ctx, "blob", desc, 0)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if _, err := io.ReadFull(body, make([]byte, 4000)); err != nil {
				t.Fatal(err)
			}
		}
		if body.(*blobReader).ranges == nil {
			t.Fatal("there are no ranges: the test tests nothing")
		}
		if cancels {
			time.AfterFunc(50*time.Millisecond, cancel)
			if _, err := io.Copy(io.Discard, body); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want %v", err, context.Canceled)
			}
		}
		start := time.Now()
		_ = body.Close()
		if d := time.Since(start); d > 30*time.Second { // mostly the machine's load
			t.Errorf("closing took %v", d)
		}
		cancel()
		if r.memory.free != 4 {
			t.Errorf("%d buffers are free at the end, want 4", r.memory.free)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	reg.Server.CloseClientConnections()
	noMoreGoroutines(t, before)
}

// TestMeter decides from what it is told, so that it needs no time of its own.
func TestMeter(t *testing.T) {
	type read struct{ work, wait time.Duration } // before the read, and in it
	const ms = time.Millisecond
	tests := map[string]struct {
		reads []read
		rest  int64
		want  bool
	}{
		"waits for the network":      {reads: []read{{0, 5 * ms}, {1 * ms, 300 * ms}, {1 * ms, 300 * ms}}, rest: 100 << 20, want: true},
		"too early to say":           {reads: []read{{0, 5 * ms}, {1 * ms, 400 * ms}}, rest: 100 << 20},
		"the first byte came late":   {reads: []read{{0, 5000 * ms}, {1 * ms, 100 * ms}}, rest: 100 << 20},
		"the network waits":          {reads: []read{{0, 5 * ms}, {400 * ms, 100 * ms}, {400 * ms, 100 * ms}}, rest: 100 << 20},
		"soon over":                  {reads: []read{{0, 5 * ms}, {1 * ms, 300 * ms}, {1 * ms, 300 * ms}}, rest: 1 << 20},
		"the network becomes slower": {reads: []read{{0, 5 * ms}, {600 * ms, 0}, {1 * ms, 10 * ms}, {1 * ms, 600 * ms}}, rest: 100 << 20, want: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := meter{rule: defaultSplitRule(), chances: 1}
			now, got := time.Now(), false
			for _, r := range tt.reads {
				began := now.Add(r.work)
				now = began.Add(r.wait)
				m.add(began, now, 1<<20)
				got = m.worthSplitting(tt.rest)
			}
			if got != tt.want {
				t.Errorf("worth splitting: %v, want %v", got, tt.want)
			}
		})
	}
}

// TestRangesJudged keeps several connections only if they are faster than one.
func TestRangesJudged(t *testing.T) {
	tests := map[string]struct {
		ago   time.Duration
		bytes int64
		width int
	}{
		"faster":      {ago: 10 * time.Second, bytes: 30 << 20, width: 4},
		"not faster":  {ago: 10 * time.Second, bytes: 11 << 20, width: 0},
		"not yet due": {ago: time.Second, bytes: 0, width: 4},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := &blobReader{pos: 5 + tt.bytes, meter: meter{rule: defaultSplitRule(), chances: 1}}
			r := &ranges{blob: b, width: 4, began: time.Now().Add(-tt.ago), from: 5, single: 1 << 20}
			if r.judge(); r.width != tt.width {
				t.Errorf("%d connections go on, want %d", r.width, tt.width)
			}
		})
	}
}

// BenchmarkRanges fetches 100 MiB from a server that delivers 20 MB a second on
// each connection. The number of connections is what differs.
func BenchmarkRanges(b *testing.B) {
	for _, connections := range []int{1, 4} {
		for _, overTLS := range []bool{false, true} {
			b.Run(fmt.Sprintf("connections=%d/tls=%v", connections, overTLS), func(b *testing.B) {
				reg := testregistry.New(b, testregistry.Options{Rate: 20e6, TLS: overTLS})
				desc := reg.AddBlob("app", noise(100<<20))
				ref, err := ParseReference(reg.Repo("app"))
				if err != nil {
					b.Fatal(err)
				}
				c := &Client{HostsDirs: []string{}, SkipTLSVerify: overTLS, Limits: Limits{RangeConnections: connections}}
				defer func() { _ = c.Close() }()
				p, err := newRegistry(c, ref)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(desc.Size)
				for b.Loop() {
					benchmarkBlob(b, p, desc)
				}
				b.ReportMetric(float64(len(reg.Requests()))/float64(b.N), "requests/op")
			})
		}
	}
}

func benchmarkBlob(b *testing.B, p provider, desc ocispec.Descriptor) {
	body, err := p.blob(b.Context(), "blob", desc, 0)
	if err != nil {
		b.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, body); err != nil || n != desc.Size {
		b.Fatalf("%d bytes, error %v", n, err)
	}
	_ = body.Close()
}
