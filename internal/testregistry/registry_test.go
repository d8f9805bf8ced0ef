package testregistry_test

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/byhand/byhand/internal/testregistry"
)

func get(t *testing.T, url, auth string) (status int, body string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), err
}

// TestFaults makes sure that faults do what their names say: tests of clients
// rest on them.
func TestFaults(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	desc := r.AddBlob("app", []byte("0123456789"))
	url := r.Server.URL + "/v2/app/blobs/" + desc.Digest.String()
	at := testregistry.At
	tests := map[string]struct {
		fault  testregistry.Fault
		status int
		body   string
		err    error
	}{
		"none":    {status: 200, body: "0123456789"},
		"cut":     {fault: testregistry.Fault{Cut: at(4)}, status: 200, body: "0123", err: io.ErrUnexpectedEOF},
		"drop":    {fault: testregistry.Fault{Drop: at(4)}, status: 200, body: "0123"},
		"flip":    {fault: testregistry.Fault{Flip: at(0)}, status: 200, body: "\x10123456789"},
		"extra":   {fault: testregistry.Fault{Extra: []byte("x")}, status: 200, body: "0123456789x"},
		"status":  {fault: testregistry.Fault{Status: 418, Body: []byte("t")}, status: 418, body: "t"},
		"length":  {fault: testregistry.Fault{Length: at(3)}, status: 200, body: "012"},
		"chunked": {fault: testregistry.Fault{Chunked: true}, status: 200, body: "0123456789"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r.ClearFaults()
			r.Fault("/blobs/", tt.fault)
			status, body, err := get(t, url, "")
			if status != tt.status || body != tt.body || !errors.Is(err, tt.err) {
				t.Errorf("got %d %q, error %v", status, body, err)
			}
		})
	}
	r.ClearFaults()
	r.Fault("/blobs/", testregistry.Fault{After: 1, Times: 1, Status: 500})
	for i, want := range []int{200, 500, 200} {
		if status, _, _ := get(t, url, ""); status != want {
			t.Errorf("request %d: status %d, want %d", i, status, want)
		}
	}
}

// TestRange gives exactly the part that was asked for, with a fault too.
func TestRange(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{})
	desc := r.AddBlob("app", []byte("0123456789"))
	for _, f := range []testregistry.Fault{{After: 100}, {Chunked: true}} {
		r.ClearFaults()
		r.Fault("/blobs/", f)
		for part, want := range map[string]string{"2-4": "234", "8-": "89", "0-99": "0123456789"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.Server.URL+"/v2/app/blobs/"+desc.Digest.String(), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Range", "bytes="+part)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusPartialContent || string(data) != want || err != nil {
				t.Errorf("%s: got %d %q, error %v", part, resp.StatusCode, data, err)
			}
		}
	}
}

// TestRate slows a connection down. How much faster it gets is the machine's
// affair, so there is only a least time.
func TestRate(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{Rate: 1e6})
	desc := r.AddBlob("app", make([]byte, 300_000))
	start := time.Now()
	if _, body, err := get(t, r.Server.URL+"/v2/app/blobs/"+desc.Digest.String(), ""); err != nil || len(body) != 300_000 {
		t.Errorf("%d bytes, error %v", len(body), err)
	}
	if d := time.Since(start); d < 200*time.Millisecond {
		t.Errorf("it took %v, want 300 ms", d)
	}
}

func TestTokens(t *testing.T) {
	r := testregistry.New(t, testregistry.Options{Auth: testregistry.Auth{Token: true, Uses: 1}})
	r.AddBlob("app", nil)
	url := r.Server.URL + "/v2/"
	if status, _, _ := get(t, url, ""); status != http.StatusUnauthorized {
		t.Errorf("without a token: status %d", status)
	}
	if _, body, _ := get(t, r.Server.URL+"/token", ""); body != `{"token":"token-1"}` {
		t.Errorf("the token is %s", body)
	}
	for i, want := range []int{200, 401} {
		if status, _, _ := get(t, url, "Bearer token-1"); status != want {
			t.Errorf("use %d: status %d, want %d", i, status, want)
		}
	}
	if n := r.Count("/token"); n != 1 {
		t.Errorf("%d requests for tokens were recorded", n)
	}
}
