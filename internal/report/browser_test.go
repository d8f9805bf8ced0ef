package report_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/byhand/byhand/internal/report"
	"github.com/byhand/byhand/internal/testchrome"
	"github.com/byhand/byhand/internal/testtar"
)

// open loads a page and expects that nothing goes wrong and nothing else is
// asked for.
func open(t *testing.T, tab *testchrome.Tab, url string) time.Duration {
	t.Helper()
	took := tab.Load(url)
	if p := tab.Problems(); len(p) > 0 {
		t.Fatalf("the page complains: %s", strings.Join(p, "\n"))
	}
	if r := tab.Requests(); !slices.Equal(r, []string{url}) {
		t.Fatalf("the page asks for %q", r)
	}
	return took
}

// is evaluates an expression and expects its value.
func is[T comparable](t *testing.T, tab *testchrome.Tab, want T, expression string) {
	t.Helper()
	var got T
	tab.Eval(expression, &got)
	if got != want {
		t.Errorf("%s is %v, expected %v", expression, got, want)
	}
}

// colours counts the colours of the map that cover more than a speck of it.
const colours = `(() => {
	const c = document.querySelector('canvas'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, n = new Map();
	for (let i = 0; i < d.length; i += 4) { const k = d[i] << 16 | d[i+1] << 8 | d[i+2]; n.set(k, (n.get(k) || 0) + 1); }
	return [...n.values()].filter(v => v > c.width * c.height / 300).length; })()`

const (
	infoText = "document.querySelector('.info').textContent"
	rows     = "document.querySelectorAll('.side li').length"
	crumbs   = "document.querySelector('.crumbs').textContent"
)

// TestBrowser uses the page as a person does.
func TestBrowser(t *testing.T) {
	b := testchrome.Start(t)
	tab := b.Open(1280, 900)
	url := save(t, "small.html", small().page(t, report.Options{}))
	open(t, tab, url)

	is(t, tab, "13", "document.documentElement.dataset.ready")
	is(t, tab, true, colours+" >= 4")
	is(t, tab, "/ · 85 kB in 5 files · 50 kB hidden by upper layers", infoText)

	// By keys: the largest is usr, and in it lib.
	tab.Eval("document.querySelector('canvas').focus(); scrollTo(0, document.querySelector('canvas').offsetTop)", nil)
	tab.Key("ArrowRight")
	is(t, tab, true, infoText+".startsWith('/usr/ · 80 kB in 2 files')")
	tab.Key("Enter")
	is(t, tab, "/usr", crumbs)
	tab.Key("ArrowRight")
	tab.Key("Enter")
	is(t, tab, "/usr/lib", crumbs)
	is(t, tab, 2, rows)
	tab.Key("ArrowRight")
	tab.Key("ArrowRight")
	is(t, tab, "/usr/lib/other · 10 kB · layer 2 · 30 kB hidden by upper layers · added in layer 1, changed in layer 2", infoText)
	tab.Key("Escape")
	tab.Key("Escape")
	is(t, tab, "/", crumbs)

	// By the mouse: the left upper corner is the largest.
	var at struct{ X, Y float64 }
	tab.Eval("(() => { const r = document.querySelector('canvas').getBoundingClientRect(); return {x: r.x + 60, y: r.y + 120}; })()", &at)
	tab.Click(at.X, at.Y)
	is(t, tab, "/usr", crumbs)
	tab.Eval("document.querySelector('.crumbs button').click()", nil)

	// What is hidden.
	tab.Eval("[...document.querySelectorAll('.tools button')][1].click()", nil)
	is(t, tab, "srv/20 kB", "[...document.querySelectorAll('.side li')][1].textContent")
	tab.Eval("document.querySelector('.tools button').click()", nil)

	search(t, tab)

	// Only what layer 3 has.
	tab.Eval("document.querySelector('#legend [data-layer=\"3\"] button').click()", nil)
	is(t, tab, "var/5.0 kB", "[...document.querySelectorAll('.side li')].map(l => l.textContent).join()")
	is(t, tab, "true", "document.querySelector('#legend [data-layer=\"3\"] button').getAttribute('aria-pressed')")
	tab.Eval("document.querySelector('#legend [data-layer=\"3\"] button').click()", nil)

	lists(t, tab)

	// The lines between the configurations.
	is(t, tab, true, "document.querySelectorAll('#pair path').length >= 8")
	tab.Eval("[...document.querySelectorAll('.field')].find(f => f.textContent.trim().startsWith('config.User')).focus()", nil)
	is(t, tab, "config.User process.user", "[...document.querySelectorAll('.field.on .fname')].map(f => f.textContent).join(' ')")
	is(t, tab, 1, "document.querySelectorAll('#pair path.on').length")
	if p := tab.Problems(); len(p) > 0 {
		t.Errorf("using the page: %s", strings.Join(p, "\n"))
	}
}

func search(t *testing.T, tab *testchrome.Tab) {
	t.Helper()
	find := func(text string) {
		tab.Eval(fmt.Sprintf(`new Promise(done => { const i = document.querySelector('input'); i.value = %q;
			i.dispatchEvent(new Event('input')); setTimeout(done, 300); })`, text), nil)
	}
	find("OTH")
	is(t, tab, "/usr/lib/other10 kB", "[...document.querySelectorAll('.side li')].map(l => l.textContent).join()")
	is(t, tab, "1 match", "document.querySelector('.tools [role=status]').textContent")
	find("/usr/lib/b")
	is(t, tab, "/usr/lib/big70 kB", "[...document.querySelectorAll('.side li')].map(l => l.textContent).join()")
	find("old") // deleted
	is(t, tab, 0, rows)
	find("")
	is(t, tab, 5, rows)
}

// lists looks at the lists of what layers change.
func lists(t *testing.T, tab *testchrome.Tab) {
	t.Helper()
	tab.Eval("document.querySelectorAll('.change').forEach(d => { d.open = true; })", nil)
	tab.Eval("new Promise(done => setTimeout(done, 100))", nil)
	row := "[...document.querySelectorAll('.change')[1].querySelectorAll('tbody tr')].map(r => r.textContent).join('|')"
	tab.Eval("[...document.querySelectorAll('.change')[1].querySelectorAll('.filter button')].find(b => b.textContent.startsWith('All')).click()", nil)
	is(t, tab, "A added/bin → usr/bin|D deleted/srv/old20 kB|C changed/usr/lib/other10 kB30 kB", row)
	tab.Eval("[...document.querySelectorAll('.change')[1].querySelectorAll('.filter button')].find(b => b.textContent == 'Deleted 1').click()", nil)
	is(t, tab, "D deleted/srv/old20 kB", row)
}

// TestWithoutScripts has the essentials in static form.
func TestWithoutScripts(t *testing.T) {
	b := testchrome.Start(t)
	tab := b.Open(1280, 900)
	url := save(t, "small.html", small().page(t, report.Options{}))
	tab.Scripts(false)
	open(t, tab, url)
	tab.Scripts(true)
	is(t, tab, 3, "[...document.querySelectorAll('svg.pic')].filter(s => s.getBoundingClientRect().width > 500).length")
	is(t, tab, 0, "document.querySelectorAll('canvas').length")
	is(t, tab, true, "document.querySelector('#static-map').textContent.includes('other')")
	if pdf := tab.PDF(); !bytes.HasPrefix(pdf, []byte("%PDF")) || len(pdf) < 20_000 {
		t.Errorf("printed on %d bytes", len(pdf))
	}
}

// TestPrinted shows on paper what screens hide, and not what needs them.
func TestPrinted(t *testing.T) {
	tab := testchrome.Start(t).Open(1000, 900)
	open(t, tab, save(t, "small.html", small().page(t, report.Options{})))
	tab.Media("print")
	is(t, tab, true, "document.querySelector('#static-map svg').getBoundingClientRect().height > 200")
	is(t, tab, "none", "getComputedStyle(document.querySelector('#explorer')).display")
	shoot(t, tab, "small-print.png")
	is(t, tab, true, "[...document.querySelectorAll('.change td.path')].every(e => e.checkVisibility({contentVisibilityAuto: true}))")
}

// TestHostilePage has foreign text that tries to be markup, script or data.
func TestHostilePage(t *testing.T) {
	tab := testchrome.Start(t).Open(1280, 900)
	open(t, tab, save(t, "hostile.html", hostile().page(t, report.Options{})))
	is(t, tab, true, "window.pwned === undefined")
	is(t, tab, "2 1 0", "['script', 'style', 'img'].map(n => document.querySelectorAll(n).length).join(' ')")
	is(t, tab, true, "document.documentElement.dataset.ready > 800") // the deep one, too
	is(t, tab, true, "[...document.querySelectorAll('*')].every(e => [...e.attributes].every(a => !a.name.startsWith('on')))")
	tab.Eval("document.querySelectorAll('.change').forEach(d => { d.open = true; })", nil)
	tab.Eval("new Promise(done => setTimeout(done, 100))", nil)
	tab.Eval("document.querySelectorAll('.filter button').forEach(b => b.click())", nil)
	is(t, tab, "2 1 0 true", "['script', 'style', 'img'].map(n => document.querySelectorAll(n).length).join(' ') + ' ' + (window.pwned === undefined)")
	is(t, tab, true, "document.body.innerText.includes('window.pwned=1</script>')")
	is(t, tab, false, "/[\\u202e\\u0000\\u001b]/.test(document.body.innerText)")
	for _, width := range []int{360, 1280, 1920} {
		tab.Size(width, 900)
		shoot(t, tab, fmt.Sprintf("hostile-%d.png", width))
		is(t, tab, false, "document.documentElement.scrollWidth > document.documentElement.clientWidth")
	}
	if p := tab.Problems(); len(p) > 0 {
		t.Errorf("%s", strings.Join(p, "\n"))
	}
}

// contrast finds texts that are hard to read: WCAG 2.1 asks for a ratio of 4.5
// between text and what is behind it.
const contrast = `(() => {
	const c = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
	const rgb = v => { c.clearRect(0, 0, 1, 1); c.fillStyle = v; c.fillRect(0, 0, 1, 1); return c.getImageData(0, 0, 1, 1).data; };
	const lum = p => { const f = [0, 1, 2].map(i => { const s = p[i] / 255; return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4; }); return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2]; };
	const bad = [];
	const judge = (e, text, fg, bg) => {
		const a = lum(rgb(fg)), b = lum(rgb(bg)), r = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (r < 4.5) bad.push(r.toFixed(2) + ' ' + e.tagName + '.' + (e.getAttribute('class') || '') + ' ' + text.slice(0, 30));
	};
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	let seen = 0;
	for (let n; (n = walk.nextNode());) {
		const e = n.parentElement;
		if (!n.data.trim() || e.closest('svg, script') || !e.checkVisibility()) continue;
		let p = e;
		while (p && rgb(getComputedStyle(p).backgroundColor)[3] < 255) p = p.parentElement;
		judge(e, n.data, getComputedStyle(e).color, p ? getComputedStyle(p).backgroundColor : '#fff');
		seen++;
	}
	const root = getComputedStyle(document.documentElement), v = n => root.getPropertyValue(n).trim();
	for (const t of document.querySelectorAll('svg text')) {
		const fill = getComputedStyle(t).fill;
		if (t.classList.contains('on')) for (let i = 0; i < 12; i++) judge(t, t.textContent, fill, v('--c' + i));
		else { judge(t, t.textContent, fill, v('--panel')); judge(t, t.textContent, fill, v('--bg')); judge(t, t.textContent, fill, v('--sunk')); }
		seen++;
	}
	return seen < 100 ? ['only ' + seen + ' texts seen'] : bad;
})()`

// TestReadable checks contrast in both schemes, and that nothing is wider than
// the window.
func TestReadable(t *testing.T) {
	b := testchrome.Start(t)
	url := save(t, "small.html", small().page(t, report.Options{}))
	for _, scheme := range []string{"light", "dark"} {
		tab := b.Open(1280, 900)
		tab.Media("", "prefers-color-scheme", scheme)
		open(t, tab, url)
		tab.Eval("document.querySelectorAll('details').forEach(d => { d.open = true; })", nil)
		tab.Eval("new Promise(done => setTimeout(done, 100))", nil)
		var bad []string
		tab.Eval(contrast, &bad)
		if len(bad) > 0 {
			t.Errorf("%s: hard to read: %s", scheme, strings.Join(bad, "\n"))
		}
		for _, width := range []int{360, 768, 1280, 1920} {
			tab.Size(width, 900)
			is(t, tab, false, "document.documentElement.scrollWidth > document.documentElement.clientWidth")
			shoot(t, tab, fmt.Sprintf("small-%s-%d.png", scheme, width))
		}
	}
}

// shoot takes a picture where BYHAND_REPORT_PAGES says, for people to look at.
func shoot(t *testing.T, tab *testchrome.Tab, name string) {
	t.Helper()
	dir := os.Getenv("BYHAND_REPORT_PAGES")
	if dir == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(dir, name), tab.Screenshot(true), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestMany has fifty thousand files, and then a thousand layers: the page
// stays usable.
func TestMany(t *testing.T) {
	var files []testtar.Entry
	for i := range 50_000 {
		files = append(files, testtar.File(fmt.Sprintf("usr/share/package-%d/doc/file-number-%d.txt", i%500, i), strings.Repeat("x", i%300)))
	}
	tall := image{name: "tall"}
	for i := range 1000 {
		tall.layers = append(tall.layers, testtar.Tar(testtar.File(fmt.Sprintf("d%d/f", i), strings.Repeat("x", i)), testtar.Whiteout(fmt.Sprintf("d%d/f", i-1))))
	}
	tab := testchrome.Start(t).Open(1280, 900)
	for name, i := range map[string]image{"wide": {name: "wide", layers: [][]byte{testtar.Tar(files...)}}, "tall": tall} {
		page := i.page(t, report.Options{})
		took := open(t, tab, save(t, name+".html", page))
		var zoom, find float64
		tab.Eval("(() => { const s = performance.now(); document.querySelector('.side button').click(); return performance.now() - s; })()", &zoom)
		tab.Eval(`new Promise(done => { const i = document.querySelector('input'), s = performance.now(); i.value = '9';
			i.dispatchEvent(new Event('input')); const old = document.querySelector('.tools [role=status]').textContent;
			(function look() { if (document.querySelector('.tools [role=status]').textContent !== old) done(performance.now() - s); else setTimeout(look, 5); })(); })`, &find)
		t.Logf("%s: %d bytes, loaded in %v, a directory entered in %.0f ms, a search in %.0f ms", name, len(page), took.Round(time.Millisecond), zoom, find)
		// A second or so each; the rest is for what else the machine does.
		if took > time.Minute || zoom > 20_000 || find > 20_000 || len(page) > 5<<20 {
			t.Errorf("%s: too slow or too large to be of use", name)
		}
	}
}
