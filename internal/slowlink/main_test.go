package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// TestPass gets a body through the line as it was sent.
func TestPass(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789"), 100_000)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("the request's body has %d bytes, want %d: %v", len(got), len(want), err)
		}
		_, _ = w.Write(want)
	}))
	t.Cleanup(origin.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		_ = (&link{target: origin.Listener.Addr().String(), rate: 1e9, delay: time.Microsecond}).serve(t.Context(), listener)
	}()
	for range 2 {
		resp, err := http.Post("http://"+listener.Addr().String(), "text/plain", bytes.NewReader(want))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes came, want %d: %v", len(got), len(want), err)
		}
		_ = resp.Body.Close()
	}
}

// TestPace is by a clock of its own: 3 MB at 1.5 MB/s, of a source that is slow
// itself in the middle.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		source := io.MultiReader(
			bytes.NewReader(make([]byte, 1_500_000)),
			&late{bytes.NewReader(make([]byte, 1)), 10 * time.Second},
			bytes.NewReader(make([]byte, 1_500_000)),
		)
		if n, err := io.Copy(io.Discard, &paced{r: source, rate: 1.5e6}); n != 3_000_001 || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
		// The line was idle at the beginning and in the middle.
		want := 12*time.Second - 2*moment
		if took := time.Since(start); took.Round(time.Millisecond) != want {
			t.Errorf("it took %v, want %v", took, want)
		}
	})
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		nil,
		{"127.0.0.1:1", "20"},
		{"127.0.0.1:1", "none", "1ms"},
		{"127.0.0.1:1", "0", "1ms"},
		{"127.0.0.1:1", "20", "50"},
		{"127.0.0.1:1", "20", "-1ms"},
	} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%q is no error", args)
		}
	}
}
