package e2e_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/testimages"
	"github.com/byhand/byhand/internal/testneed"
	"github.com/byhand/byhand/internal/testtar"
)

// TestTerminal watches a slow pull on a real terminal: tall and with fewer
// lines than layers, wide and narrow, resized and interrupted. What moves never
// leaves a trace in the scrollback.
func TestTerminal(t *testing.T) {
	testneed.Tool(t, "tmux")
	const layers = 12
	image := filepath.Join(t.TempDir(), "image")
	randomImage(t, image, layers, 600_000)
	server := newLab(t).serve("lab/slow=oci:" + image)
	name := func(registry string) string { return registry + "/lab/slow:" + testimages.Tag }

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
			registry, letGo := throttle(t, server)
			term.command(shared.byhand, "--store", l.path("store"), "--jobs", "3", "unpack", name(registry))
			term.await(func(s string) bool { // a bar for each of up to 3 layers and one for all, unless it is just being drawn
				bars := strings.Count(s, "[")
				return strings.Contains(s, "total") && strings.Contains(s, "/s") && strings.Contains(s, "left") && bars >= 2 && bars <= 4
			})
			letGo()
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
		registry, _ := throttle(t, server)
		term.command(shared.byhand, "--store", l.path("store"), "unpack", name(registry))
		term.await(func(s string) bool { return strings.Contains(s, "total") })
		term.tmux("send-keys", "-t", "byhand", "C-c")
		screen := term.await(func(s string) bool { return strings.Contains(s, "status 130") })
		if strings.Contains(screen, "total") || !strings.Contains(screen, "byhand: interrupted") {
			t.Errorf("after an interrupt:\n%s", screen)
		}
	})
}

// TestCompletion presses Tab in each of the shells.
func TestCompletion(t *testing.T) {
	testneed.Tool(t, "bash", "zsh", "fish", "tmux")
	l := newLab(t)
	registry := l.serve("lab/demo:v1=oci:" + shared.image)
	l.must(l.byhand("pull", registry+"/lab/demo:v1"))
	l.must(l.byhand("bundle", "--rootfs", "flat", "--user", "0", registry+"/lab/demo:v1", l.path("box")))
	l.must(l.run("touch", l.path("page one.html")))
	rc := func(name string, lines ...string) string {
		file := l.path(name)
		if err := os.WriteFile(file, []byte(strings.Join(append(lines, "clear", "echo ready\n"), "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	setup := "PATH=" + filepath.Dir(shared.byhand) + ":$PATH BYHAND_STORE=" + l.path("store") + " ZDOTDIR=" + l.path(".")
	zshrc := rc(".zshrc", "PS1='$ '", "unsetopt autolist beep", "autoload -Uz compinit", "compinit -D -u", `eval "$(byhand completion zsh)"`)
	for shell, start := range map[string]string{
		"bash": ". " + rc("bashrc", `eval "$(byhand completion bash)"`),
		"zsh":  "exec zsh --no-global-rcs # reads " + zshrc,
		"fish": "exec fish --no-config --init-command 'source " + rc("fishrc", "function fish_prompt; printf '$ '; end",
			"set -g fish_autosuggestion_enabled 0", "byhand completion fish | source") + "'",
	} {
		t.Run(shell, func(t *testing.T) {
			term := newTerminal(t, 160, 24)
			term.enter("export " + setup + "; " + start)
			term.await(func(s string) bool { return strings.Contains(s, "\nready\n") || strings.HasPrefix(s, "ready\n") })
			for typed, want := range map[string]string{
				"byhand pull-a":                        "byhand pull-and-unpack ",
				"byhand run --netw":                    "byhand run --network ",
				"byhand run --network n":               "byhand run --network none",
				"byhand run --network=ho":              "byhand run --network=host",
				"byhand overlay umo":                   "byhand overlay umount ",
				"byhand inspect " + registry[:4]:       "byhand inspect " + registry + "/lab/demo:v1",
				"byhand inspect " + registry + "/lab/": "byhand inspect " + registry + "/lab/demo:v1",
				"byhand overlay show " + l.path("b"):   "byhand overlay show " + l.path("box"),
				"byhand report x -o " + l.path("pa"):   "byhand report x -o " + l.path(`page\ one.html`),
			} {
				term.tmux("send-keys", "-t", "byhand", "C-u", "C-l")
				term.await(func(s string) bool { return strings.TrimSpace(s) == "$" })
				term.tmux("send-keys", "-t", "byhand", "-l", typed)
				term.await(func(s string) bool { return strings.Contains(s, typed) })
				term.tmux("send-keys", "-t", "byhand", "Tab")
				term.await(func(s string) bool { return strings.Contains(s+" ", want) })
			}
		})
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
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if screen = term.tmux("capture-pane", "-p", "-J", "-t", "byhand"); good(screen) {
			return screen
		}
	}
	term.t.Fatalf("the screen never came to what it should be:\n%s", screen)
	return ""
}

// throttle passes connections on to a server, so slowly that the busiest machine
// sees what is on the way, and gives the address to use instead; letGo makes it
// fast enough to be over soon.
func throttle(t *testing.T, server string) (address string, letGo func()) {
	t.Helper()
	var rate atomic.Int64 // bytes a second, of each connection
	rate.Store(30_000)
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
				buf := make([]byte, 12_000)
				for {
					now := rate.Load()
					n, err := up.Read(buf[:now/50])
					if _, werr := down.Write(buf[:n]); err != nil || werr != nil {
						return
					}
					time.Sleep(time.Second * time.Duration(n) / time.Duration(now))
				}
			}()
		}
	}()
	return ln.Addr().String(), func() { rate.Store(600_000) }
}

// randomImage writes a layout with layers of random bytes, one file each.
func randomImage(t *testing.T, dir string, layers, bytesEach int) {
	t.Helper()
	random := rand.NewChaCha8([32]byte{1})
	var tars [][]byte
	for i := range layers {
		content := make([]byte, bytesEach)
		_, _ = random.Read(content)
		tars = append(tars, testtar.Tar(testtar.File(fmt.Sprint("file", i), string(content))))
	}
	if err := testimages.Write(dir, ocispec.ImageConfig{}, tars...); err != nil {
		t.Fatal(err)
	}
}
