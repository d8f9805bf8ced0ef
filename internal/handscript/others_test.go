package handscript_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/internal/handscript"
	"github.com/byhand/byhand/internal/testtar"
	"github.com/byhand/byhand/pull"
)

// TestOthersDirectory refuses a directory in which somebody else could put links
// where root is going to write.
func TestOthersDirectory(t *testing.T) {
	needTools(t)
	img := newImage(t, ocispec.ImageConfig{}, testtar.Tar(testtar.File("f", "x")))
	box := filepath.Join(img.dir, "box")
	for n, test := range []struct {
		uid  int
		mode os.FileMode
		code int
	}{{1234, 0o755, 1}, {0, 0o777, 1}, {0, 0o777 | os.ModeSticky, 0}, {0, 0o700, 0}} {
		if err := os.Mkdir(box, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(box, test.uid, -1); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(box, test.mode); err != nil {
			t.Fatal(err)
		}
		code, out := img.run(shells()[n%3], img.script(flat))
		if code != test.code || code != 0 && !strings.Contains(out, "box is not yours alone") {
			t.Errorf("%+v: status %d\n%s", test, code, out)
		}
		img.clear()
	}
}

// TestNoFile has a FIFO, which nobody writes to, where a blob was.
func TestNoFile(t *testing.T) {
	needTools(t)
	img := newImage(t, ocispec.ImageConfig{}, testtar.Tar(testtar.File("f", "x")))
	blob := filepath.Join(img.layout, "blobs/sha256", img.Layers[0].Descriptor.Digest.Encoded())
	script := img.script(nil)
	if err := os.Remove(blob); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(blob, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, out := img.run(shells()[0], script); code != 4 {
		t.Errorf("status %d\n%s", code, out)
	}
}

// TestHostileChallenge has a registry whose challenge would take over a
// terminal.
func TestHostileChallenge(t *testing.T) {
	needTools(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		// net/http would not write such a header.
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = fmt.Fprint(conn, "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://127.0.0.1:1/\x1b]0;mine\x07\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		_ = conn.Close()
	}))
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	img := newImage(t, ocispec.ImageConfig{}, testtar.Tar(testtar.File("f", "x")))
	if img.Reference, err = pull.ParseReference(listener.Addr().String() + "/a/b:c"); err != nil {
		t.Fatal(err)
	}
	script := img.script(func(s *handscript.Script) { s.Endpoints = []pull.Endpoint{{URLs: []string{server.URL + "/v2"}}} })
	code, out := img.run(shells()[0], strings.Replace(script, "--retry 5", "--retry 0", 1))
	if code == 0 || !strings.Contains(out, "token: from") || strings.ContainsAny(out, "\x1b\x07") {
		t.Errorf("status %d: %q", code, out)
	}
}
