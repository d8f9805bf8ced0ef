package e2e_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/byhand/byhand/internal/testneed"
)

// TestTerminal watches a slow pull on a real terminal: tall and with fewer
// lines than layers, wide and narrow, resized and interrupted. What moves never
// leaves a trace in the scrollback.
func TestTerminal(t *testing.T) {
	testneed.Tool(t, "tmux")
	const layers = 12
	image := filepath.Join(t.TempDir(), "image")
	randomImage(t, image, layers, 600_000)
	server := newLab(t)
	registry := throttle(t, server.serve("lab/slow=oci:"+image), 600_000)
	name := registry + "/lab/slow:latest"

	for _, test := range []struct {
		name                                   string
		width, height, laterWidth, laterHeight int
	}{
		{"wide", 120, 40, 0, 0},
		{"narrow", 36, 40, 0, 0},
		{"fewer lines than layers", 80, 8, 0, 0},
		{"resized", 100, 30, 50, 12},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			term := newTerminal(t, test.width, test.height)
			term.command(shared.byhand, "--store", l.path("store"), "--jobs", "3", "unpack", name)
			screen := term.await(func(s string) bool {
				return strings.Contains(s, "total") && strings.Contains(s, "/s") && strings.Contains(s, "left")
			})
			if bars := strings.Count(screen, "["); bars < 2 || bars > 4 {
				t.Errorf("%d bars, expected one for each of up to 3 layers and one for all:\n%s", bars, screen)
			}
			if test.laterWidth > 0 {
				term.tmux("resize-window", "-t", "byhand", "-x", strconv.Itoa(test.laterWidth), "-y", strconv.Itoa(test.laterHeight))
			}
			term.await(func(s string) bool { return strings.Contains(s, "status 0") })
			all := term.tmux("capture-pane", "-p", "-J", "-S", "-1000", "-t", "byhand")
			if test.laterWidth > 0 {
				return // a terminal breaks its lines anew
			}
			for n := 1; n <= layers; n++ {
				if got := strings.Count(all, fmt.Sprintf("layer %d ", n)); got != 1 {
					t.Errorf("layer %d is named %d times in what stays:\n%s", n, got, all)
				}
			}
			if strings.ContainsAny(all, "[]") || strings.Contains(all, "total") {
				t.Errorf("a bar stayed:\n%s", all)
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		l := newLab(t)
		term := newTerminal(t, 80, 24)
		term.command(shared.byhand, "--store", l.path("store"), "unpack", name)
		term.await(func(s string) bool { return strings.Contains(s, "total") })
		term.tmux("send-keys", "-t", "byhand", "C-c")
		screen := term.await(func(s string) bool { return strings.Contains(s, "status 130") })
		if strings.Contains(screen, "total") || !strings.Contains(screen, "byhand: interrupted") {
			t.Errorf("after an interrupt:\n%s", screen)
		}
	})
}

// TestCompletion presses Tab in bash.
func TestCompletion(t *testing.T) {
	testneed.Tool(t, "bash", "tmux")
	l := newLab(t)
	registry := l.serve("lab/demo:v1=oci:" + shared.image)
	l.must(l.byhand("pull", registry+"/lab/demo:v1"))
	term := newTerminal(t, 120, 24)
	term.enter("PATH=" + filepath.Dir(shared.byhand) + ":$PATH; export BYHAND_STORE=" + l.path("store") +
		"; eval \"$(byhand completion bash)\"; clear")
	for typed, want := range map[string]string{
		"byhand pull-a":                        "byhand pull-and-unpack ",
		"byhand run --netw":                    "byhand run --network ",
		"byhand run --network=ho":              "byhand run --network=host",
		"byhand inspect " + registry[:4]:       "byhand inspect " + registry + "/lab/demo:v1",
		"byhand inspect " + registry + "/lab/": "byhand inspect " + registry + "/lab/demo:v1",
	} {
		term.tmux("send-keys", "-t", "byhand", "C-u", "C-l")
		term.await(func(s string) bool { return strings.TrimSpace(s) == "$" })
		term.tmux("send-keys", "-t", "byhand", "-l", typed)
		term.tmux("send-keys", "-t", "byhand", "Tab")
		term.await(func(s string) bool { return strings.Contains(s+" ", want) })
	}
}

// terminal is a shell in a window of tmux.
type terminal struct {
	t      *testing.T
	socket string
}

func newTerminal(t *testing.T, width, height int) *terminal {
	t.Helper()
	term := &terminal{t: t, socket: filepath.Join(t.TempDir(), "tmux")}
	term.tmux("-f", "/dev/null", "new-session", "-d", "-s", "byhand", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height),
		"env", "-u", "NO_COLOR", "PS1=$ ", "TERM=screen", "bash", "--norc", "--noprofile")
	t.Cleanup(func() { term.tmux("kill-server") })
	return term
}

func (term *terminal) tmux(args ...string) string {
	term.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", term.socket}, args...)...).CombinedOutput()
	if err != nil {
		term.t.Fatalf("tmux %s: %v: %s", args, err, out)
	}
	return string(out)
}

// enter types a line and Enter.
func (term *terminal) enter(line string) {
	term.t.Helper()
	term.tmux("send-keys", "-t", "byhand", "-l", line)
	term.tmux("send-keys", "-t", "byhand", "Enter")
}

// command runs a program from a file, so that the screen holds nothing but what
// it says, and how it ended.
func (term *terminal) command(args ...string) {
	term.t.Helper()
	file := filepath.Join(term.t.TempDir(), "c")
	if err := os.WriteFile(file, []byte("clear\n'"+strings.Join(args, "' '")+"' > /dev/null\necho status $?\n"), 0o600); err != nil {
		term.t.Fatal(err)
	}
	term.enter(". " + file)
}

// await gives the screen as soon as it is as it should be.
func (term *terminal) await(good func(string) bool) string {
	term.t.Helper()
	var screen string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if screen = term.tmux("capture-pane", "-p", "-J", "-t", "byhand"); good(screen) {
			return screen
		}
	}
	term.t.Fatalf("the screen never came to what it should be:\n%s", screen)
	return ""
}

// throttle passes connections on to a server, so many bytes a second each, and
// gives the address to use instead.
func throttle(t *testing.T, server string, rate int) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			down, err := ln.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", server)
			if err != nil {
				_ = down.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(up, down)
				_ = up.Close()
			}()
			go func() {
				defer func() { _ = down.Close() }()
				buf := make([]byte, rate/50)
				for {
					n, err := up.Read(buf)
					if _, werr := down.Write(buf[:n]); err != nil || werr != nil {
						return
					}
					time.Sleep(time.Second * time.Duration(n) / time.Duration(rate))
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// randomImage writes a layout with layers of random bytes, one file each.
func randomImage(t *testing.T, dir string, layers, bytesEach int) {
	t.Helper()
	random := rand.NewChaCha8([32]byte{1})
	type object = map[string]any
	put := func(data []byte) object {
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		path := filepath.Join(dir, "blobs", "sha256", sum)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return object{"digest": "sha256:" + sum, "size": len(data)}
	}
	document := func(v any, mediaType string) object {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		d := put(data)
		d["mediaType"] = mediaType
		return d
	}
	var list []object
	var diffs []string
	for i := range layers {
		content := make([]byte, bytesEach)
		_, _ = random.Read(content)
		var raw, packed bytes.Buffer
		tw := tar.NewWriter(&raw)
		if err := tw.WriteHeader(&tar.Header{Name: fmt.Sprint("file", i), Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		_, _ = tw.Write(content)
		_ = tw.Close()
		zw := gzip.NewWriter(&packed)
		_, _ = zw.Write(raw.Bytes())
		_ = zw.Close()
		d := put(packed.Bytes())
		d["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip"
		list = append(list, d)
		diffs = append(diffs, fmt.Sprintf("sha256:%x", sha256.Sum256(raw.Bytes())))
	}
	config := document(object{"architecture": "amd64", "os": "linux", "rootfs": object{"type": "layers", "diff_ids": diffs}},
		"application/vnd.oci.image.config.v1+json")
	manifest := document(object{"schemaVersion": 2, "config": config, "layers": list}, "application/vnd.oci.image.manifest.v1+json")
	manifest["annotations"] = object{"org.opencontainers.image.ref.name": "latest"}
	for name, v := range map[string]any{
		"index.json": object{"schemaVersion": 2, "manifests": []object{manifest}},
		"oci-layout": object{"imageLayoutVersion": "1.0.0"},
	} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
