// Package testchrome drives a headless Chromium in tests, by the DevTools
// protocol over a pipe: what a page does is asked of the browser itself. It has
// the few commands that tests of the report need; a client library for all of
// the protocol is many times larger than the program under test.
package testchrome

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/byhand/byhand/internal/testneed"
)

// patience is how long anything may take on the busiest machine.
const patience = 3 * time.Minute

// Browser is a running Chromium. It ends with the test.
type Browser struct {
	t   testing.TB
	out *os.File

	mu     sync.Mutex
	next   int
	waits  map[int]chan answer
	events map[string]func(method string, params json.RawMessage) // by session
	closed error
}

type answer struct {
	Result json.RawMessage
	Error  *struct{ Message string }
}

// Start runs Chromium, with a profile of its own and no network to speak of.
func Start(t testing.TB) *Browser {
	t.Helper()
	testneed.Tool(t, "chromium")
	fromUs, toBrowser, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fromBrowser, toUs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(
		ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--user-data-dir="+testneed.ShortDir(t), "--remote-debugging-pipe", "--proxy-server=127.0.0.1:9", "--hide-scrollbars", "about:blank",
	)
	cmd.ExtraFiles = []*os.File{fromUs, toUs} // 3 and 4, as Chromium wants them
	cmd.WaitDelay = patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = fromUs.Close()
	_ = toUs.Close()
	b := &Browser{t: t, out: toBrowser, waits: map[int]chan answer{}, events: map[string]func(string, json.RawMessage){}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.read(fromBrowser)
	}()
	t.Cleanup(func() {
		_ = b.send("", "Browser.close", nil)
		timer := time.AfterFunc(patience, stop)
		_ = cmd.Wait()
		timer.Stop()
		stop()
		_ = toBrowser.Close()
		_ = fromBrowser.Close()
		<-done
	})
	return b
}

func (b *Browser) read(from *os.File) {
	in := bufio.NewReaderSize(from, 1<<20)
	for {
		raw, err := in.ReadBytes(0)
		if err != nil {
			b.mu.Lock()
			b.closed = err
			for id, c := range b.waits {
				close(c)
				delete(b.waits, id)
			}
			b.mu.Unlock()
			return
		}
		var m struct {
			ID        int
			SessionID string
			Method    string
			Params    json.RawMessage
			answer
		}
		if json.Unmarshal(raw[:len(raw)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		wait, handle := b.waits[m.ID], b.events[m.SessionID]
		delete(b.waits, m.ID)
		b.mu.Unlock()
		switch {
		case wait != nil:
			wait <- m.answer
		case m.Method != "" && handle != nil:
			handle(m.Method, m.Params)
		}
	}
}

// send writes a command and returns where its answer comes.
func (b *Browser) send(session, method string, params any) chan answer {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := make(chan answer, 1)
	if b.closed != nil {
		close(c)
		return c
	}
	b.next++
	m := map[string]any{"id": b.next, "method": method}
	if params != nil {
		m["params"] = params
	}
	if session != "" {
		m["sessionId"] = session
	}
	raw, err := json.Marshal(m)
	if err == nil {
		_, err = b.out.Write(append(raw, 0))
	}
	if err != nil {
		close(c)
		return c
	}
	b.waits[b.next] = c
	return c
}

func (b *Browser) call(session, method string, params, result any) {
	b.t.Helper()
	select {
	case a, ok := <-b.send(session, method, params):
		switch {
		case !ok:
			b.t.Fatalf("%s: the browser is gone", method)
		case a.Error != nil:
			b.t.Fatalf("%s: %s", method, a.Error.Message)
		case result != nil:
			if err := json.Unmarshal(a.Result, result); err != nil {
				b.t.Fatalf("%s: %v", method, err)
			}
		}
	case <-time.After(patience):
		b.t.Fatalf("%s: no answer", method)
	}
}

// Tab is a page in the browser.
type Tab struct {
	b       *Browser
	session string

	mu       sync.Mutex
	loaded   chan struct{}
	problems []string
	requests []string
}

// Open makes a tab of so many pixels.
func (b *Browser) Open(width, height int) *Tab {
	b.t.Helper()
	var target struct{ TargetID string }
	b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	tab := &Tab{b: b, session: attached.SessionID}
	b.mu.Lock()
	b.events[tab.session] = tab.event
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		tab.call(domain+".enable", nil, nil)
	}
	tab.Size(width, height)
	return tab
}

func (tab *Tab) call(method string, params, result any) {
	tab.b.t.Helper()
	tab.b.call(tab.session, method, params, result)
}

func (tab *Tab) event(method string, params json.RawMessage) {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	switch method {
	case "Page.loadEventFired":
		if tab.loaded != nil {
			close(tab.loaded)
			tab.loaded = nil
		}
	case "Runtime.exceptionThrown", "Page.javascriptDialogOpening":
		tab.problems = append(tab.problems, method+": "+string(params))
	case "Log.entryAdded":
		var p struct {
			Entry struct{ Level, Text, Source string }
		}
		if json.Unmarshal(params, &p) == nil && p.Entry.Level != "info" && p.Entry.Level != "verbose" {
			tab.problems = append(tab.problems, p.Entry.Source+": "+p.Entry.Text)
		}
	case "Runtime.consoleAPICalled":
		tab.problems = append(tab.problems, "console: "+string(params))
	case "Network.requestWillBeSent":
		var p struct{ Request struct{ URL string } }
		if json.Unmarshal(params, &p) == nil {
			tab.requests = append(tab.requests, p.Request.URL)
		}
	}
}

// Load opens a URL and waits until it is there; it returns how long that took.
func (tab *Tab) Load(url string) time.Duration {
	tab.b.t.Helper()
	loaded := make(chan struct{})
	tab.mu.Lock()
	tab.loaded, tab.problems, tab.requests = loaded, nil, nil
	tab.mu.Unlock()
	start := time.Now()
	tab.call("Page.navigate", map[string]any{"url": url}, nil)
	select {
	case <-loaded:
	case <-time.After(patience):
		tab.b.t.Fatalf("%s does not load", url)
	}
	return time.Since(start)
}

// Problems returns what went wrong since the page was loaded: exceptions,
// dialogs, and all that was written to the console or the log.
func (tab *Tab) Problems() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return append([]string(nil), tab.problems...)
}

// Requests returns the URLs that were asked for since then.
func (tab *Tab) Requests() []string {
	tab.mu.Lock()
	defer tab.mu.Unlock()
	return append([]string(nil), tab.requests...)
}

// Size makes the tab as large as that.
func (tab *Tab) Size(width, height int) {
	tab.b.t.Helper()
	tab.call("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
	}, nil)
}

// Media emulates media features, as in "prefers-color-scheme", "dark", and a
// type such as "print" or "".
func (tab *Tab) Media(kind string, features ...string) {
	tab.b.t.Helper()
	list := []map[string]string{}
	for i := 0; i+1 < len(features); i += 2 {
		list = append(list, map[string]string{"name": features[i], "value": features[i+1]})
	}
	tab.call("Emulation.setEmulatedMedia", map[string]any{"media": kind, "features": list}, nil)
}

// Scripts says whether pages loaded from now on may run scripts.
func (tab *Tab) Scripts(allowed bool) {
	tab.b.t.Helper()
	tab.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": !allowed}, nil)
}

// Eval evaluates an expression, waits for it if it is a promise, and stores
// its value in result, unless that is nil.
func (tab *Tab) Eval(expression string, result any) {
	tab.b.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Exception struct{ Description string }
		}
	}
	tab.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &r)
	if r.ExceptionDetails != nil {
		tab.b.t.Fatalf("%s: %s", expression, r.ExceptionDetails.Exception.Description)
	}
	if result == nil {
		return
	}
	if err := json.Unmarshal(r.Result.Value, result); err != nil {
		tab.b.t.Fatalf("%s: %v: %s", expression, err, r.Result.Value)
	}
}

// Key presses a key, as in "Enter" or "ArrowRight".
func (tab *Tab) Key(name string) {
	tab.b.t.Helper()
	code := map[string]int{"Enter": 13, "Escape": 27, "Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}[name]
	for _, kind := range []string{"rawKeyDown", "keyUp"} {
		p := map[string]any{"type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code}
		tab.call("Input.dispatchKeyEvent", p, nil)
	}
}

// Click clicks at a place.
func (tab *Tab) Click(x, y float64) {
	tab.b.t.Helper()
	for _, kind := range []string{"mouseMoved", "mousePressed", "mouseReleased"} {
		tab.call("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}, nil)
	}
}

// Screenshot returns a PNG, of the whole page or of what shows of it.
func (tab *Tab) Screenshot(whole bool) []byte {
	tab.b.t.Helper()
	var r struct{ Data string }
	tab.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": whole}, &r)
	return tab.decode(r.Data)
}

// PDF prints the page.
func (tab *Tab) PDF() []byte {
	tab.b.t.Helper()
	var r struct{ Data string }
	tab.call("Page.printToPDF", map[string]any{"printBackground": true, "preferCSSPageSize": true}, &r)
	return tab.decode(r.Data)
}

func (tab *Tab) decode(data string) []byte {
	tab.b.t.Helper()
	raw, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		tab.b.t.Fatal(fmt.Errorf("decode what the browser sent: %w", err))
	}
	return raw
}
