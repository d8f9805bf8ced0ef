(function () {
'use strict';

/* ---- the data ---- */

var root = null, total = 0;

// Arrays become nodes without recursion: trees may be deep.
function load() {
  var raw = JSON.parse(document.getElementById('data').textContent);
  root = make(raw, null);
  root.n = '';
  var order = [root], i, x, kids;
  for (i = 0; i < order.length; i++) {
    x = order[i];
    if (!x.raw) continue;
    kids = x.raw;
    x.raw = null;
    x.k = kids.map(function (a) { return make(a, x); });
    for (var j = 0; j < x.k.length; j++) order.push(x.k[j]);
  }
  for (i = order.length - 1; i > 0; i--) {
    x = order[i];
    x.p.b += x.b;
    x.p.w += x.w;
    x.p.c += x.c;
  }
  total = order.length - 1;
  order[0].all = order;
}

// make turns one array into a node: name n, layer l, kids k, note t, events e,
// parent p, bytes that show b, bytes that are hidden w, files c.
function make(a, parent) {
  var x = { n: a[0], l: a[1], p: parent, k: null, raw: null, t: '', e: null, b: 0, w: 0, c: 0, m: 0 };
  if (a[0] === null) {
    x.b = a[2];
    x.m = a[3];
    x.c = a[4];
    x.n = num(a[3]) + (a[3] === 1 ? ' more name' : ' more names');
    return x;
  }
  if (Array.isArray(a[2])) x.raw = a[2];
  else if (typeof a[2] === 'string') x.t = a[2];
  else if (x.l) x.b = a[2];
  if (!x.raw && x.l) x.c = 1;
  x.e = a[3] || [x.l, 0, x.raw || x.t ? 0 : a[2], 0];
  if (a[3]) {
    var sum = 0;
    for (var i = 0; i < a[3].length; i += 4) sum += a[3][i + 2];
    x.w = Math.max(0, sum - x.b);
  }
  return x;
}

function isDir(x) { return x.k !== null; }

function path(x) {
  var parts = [];
  for (; x.p; x = x.p) parts.push(x.n);
  return '/' + parts.reverse().join('/');
}

/* ---- text ---- */

function num(n) { return String(n).replace(/\B(?=(\d{3})+$)/g, ','); }

function size(n) {
  if (n < 1000) return n + ' B';
  var units = ['kB', 'MB', 'GB', 'TB', 'PB'], i = -1;
  do { n /= 1000; i++; } while (n >= 999.5 && i < units.length - 1);
  return (n < 9.95 ? n.toFixed(1) : Math.round(n)) + ' ' + units[i];
}

function el(tag, props, kids) {
  var e = document.createElement(tag);
  for (var k in props || {}) {
    if (k === 'class') e.className = props[k];
    else if (k === 'text') e.textContent = props[k];
    else if (k.slice(0, 2) === 'on') e.addEventListener(k.slice(2), props[k]);
    else e.setAttribute(k, props[k]);
  }
  (kids || []).forEach(function (c) { if (c) e.append(c); });
  return e;
}

/* ---- layers and their colours ---- */

var colourOf = {}; // class by layer

function readColours() {
  document.querySelectorAll('.change').forEach(function (d) {
    var sw = d.querySelector('.sw');
    colourOf[d.dataset.layer] = sw ? sw.className.replace('sw ', '') : 'c-none';
  });
}

var paint = {};
function readPaint() {
  var css = getComputedStyle(document.documentElement);
  function v(n) { return css.getPropertyValue(n).trim(); }
  paint = { on: v('--on'), fg: v('--fg'), dim: v('--dim'), sunk: v('--sunk'), panel: v('--panel'), line: v('--line'), focus: v('--focus'), 'c-none': v('--none') };
  for (var i = 0; i < 12; i++) paint['c' + i] = v('--c' + i);
}

function colour(layer) { return paint[colourOf[layer] || 'c-none']; }

function swatch(layer) { return el('span', { 'class': 'sw ' + (colourOf[layer] || 'c-none'), 'aria-hidden': 'true' }); }

/* ---- the map ---- */

var view = { at: null, mode: 'b', layer: 0, pick: null, find: '' };
var ui = {}, rects = [];

// The layer that most of a node's bytes come from; kept, as it does not change.
function mainLayer(x) {
  if (!isDir(x)) {
    if (view.mode === 'b' || x.n === null || !x.e) return x.l;
    var best = 0, most = -1;
    for (var i = 0; i < x.e.length; i += 4) if (x.e[i + 2] > most && (x.e[i] !== x.l)) { most = x.e[i + 2]; best = x.e[i]; }
    return best;
  }
  var key = view.mode === 'b' ? 'mb' : 'mw';
  if (x[key] === undefined) {
    var by = {}, stack = [x], top = x.l, max = -1;
    while (stack.length) {
      var y = stack.pop();
      if (isDir(y)) y.k.forEach(function (z) { if (z[view.mode]) stack.push(z); });
      else { var l = mainLayer(y); by[l] = (by[l] || 0) + y[view.mode]; }
    }
    for (var l2 in by) if (by[l2] > max) { max = by[l2]; top = +l2; }
    x[key] = top;
  }
  return x[key];
}

function sorted(x) {
  var key = view.mode === 'b' ? 'sb' : 'sw';
  if (!x[key]) {
    x[key] = x.k.filter(function (y) { return y[view.mode] > 0; })
      .sort(function (a, b) { return b[view.mode] - a[view.mode]; });
  }
  return x[key];
}

function worst(large, small, sum, side) {
  return small && sum ? Math.max(side * side * large / (sum * sum), sum * sum / (side * side * small)) : Infinity;
}

// squarify calls put(node, x, y, w, h) for each of list, the largest first,
// and stops where rectangles are too small to be seen.
function squarify(list, x, y, w, h, put) {
  var m = view.mode, sum = 0, i = 0;
  list.forEach(function (n) { sum += n[m]; });
  var scale = w * h / sum;
  while (i < list.length && w > 0.5 && h > 0.5) {
    var side = Math.min(w, h), first = list[i][m] * scale, row = first, j = i + 1;
    while (j < list.length) {
      var next = row + list[j][m] * scale;
      if (worst(first, list[j][m] * scale, next, side) > worst(first, list[j - 1][m] * scale, row, side)) break;
      row = next;
      j++;
    }
    if (first < 0.5) return;
    var thick = row / side, at = w >= h ? y : x;
    for (; i < j; i++) {
      var len = list[i][m] * scale / thick;
      if (w >= h) put(list[i], x, at, thick, len); else put(list[i], at, y, len, thick);
      at += len;
    }
    if (w >= h) { x += thick; w -= thick; } else { y += thick; h -= thick; }
  }
}

var HEAD = 18;

function layout(w, h) {
  rects = [];
  var todo = [[view.at, 0, 0, w, h, 0]];
  while (todo.length) {
    var t = todo.pop(), list = sorted(t[0]);
    if (!list.length) continue;
    squarify(list, t[1], t[2], t[3], t[4], function (n, x, y, rw, rh) {
      var open = isDir(n) && rw > 34 && rh > 34 && sorted(n).length > 0;
      rects.push({ x: x, y: y, w: rw, h: rh, n: n, open: open, depth: t[5] });
      if (open) todo.push([n, x + 2, y + HEAD, rw - 4, rh - HEAD - 2, t[5] + 1]);
    });
  }
}

function draw() {
  if (!ui.canvas || !ui.canvas.clientWidth) return;
  var c = ui.canvas, ratio = window.devicePixelRatio || 1, w = c.clientWidth, h = c.clientHeight;
  c.width = Math.round(w * ratio);
  c.height = Math.round(h * ratio);
  layout(w, h);
  var g = c.getContext('2d');
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.fillStyle = paint.sunk;
  g.fillRect(0, 0, w, h);
  g.textBaseline = 'alphabetic';
  if (!rects.length) {
    g.fillStyle = paint.dim;
    g.font = '14px system-ui, sans-serif';
    g.fillText(view.mode === 'b' ? 'No bytes in here.' : 'Nothing in here is hidden by upper layers.', 14, 28);
  }
  rects.forEach(function (r) { drawRect(g, r); });
  if (view.pick) rects.forEach(function (r) { if (r.n === view.pick) outline(g, r); });
}

function drawRect(g, r) {
  var off = view.layer && mainLayer(r.n) !== view.layer;
  if (r.open) {
    g.fillStyle = paint.panel;
    g.fillRect(r.x + 0.5, r.y + 0.5, r.w - 1, r.h - 1);
    g.strokeStyle = paint.line;
    g.strokeRect(r.x + 0.5, r.y + 0.5, r.w - 1, r.h - 1);
    label(g, r.n.n + '/', r.x + 5, r.y + 13, r.w - 8, paint.fg, '600 11.5px system-ui, sans-serif');
    return;
  }
  g.globalAlpha = off ? 0.15 : 1;
  g.fillStyle = colour(mainLayer(r.n));
  var gap = r.w > 3 && r.h > 3 ? 1 : 0;
  g.fillRect(r.x, r.y, r.w - gap, r.h - gap);
  g.globalAlpha = 1;
  if (off) return; // its name would be hard to read
  if (r.w > 40 && r.h > 16) label(g, r.n.n + (isDir(r.n) ? '/' : ''), r.x + 5, r.y + 13, r.w - 9, paint.on, '11.5px system-ui, sans-serif');
  if (r.w > 60 && r.h > 32) label(g, size(r.n[view.mode]), r.x + 5, r.y + 27, r.w - 9, paint.on, '10.5px system-ui, sans-serif');
}

function label(g, text, x, y, room, style, font) {
  g.font = font;
  g.fillStyle = style;
  if (text.length > 120) text = text.slice(0, 120);
  if (g.measureText(text).width > room) {
    while (text.length > 1 && g.measureText(text + '…').width > room) text = text.slice(0, Math.max(1, Math.floor(text.length * 0.85)));
    if (text.length < 3) return;
    text += '…';
  }
  g.fillText(text, x, y);
}

function outline(g, r) {
  g.strokeStyle = paint.focus;
  g.lineWidth = 3;
  g.strokeRect(r.x + 1.5, r.y + 1.5, Math.max(1, r.w - 3), Math.max(1, r.h - 3));
  g.lineWidth = 1;
}

// hit returns the innermost rectangle at a point.
function hit(px, py) {
  for (var i = rects.length - 1, best = null; i >= 0; i--) {
    var r = rects[i];
    if (px >= r.x && px < r.x + r.w && py >= r.y && py < r.y + r.h && (!best || r.depth > best.depth)) best = r;
  }
  return best;
}

/* ---- moving about ---- */

function describe(x) {
  var s = path(x) + (isDir(x) && x.p ? '/' : '');
  if (isDir(x)) s += ' · ' + size(x.b) + ' in ' + num(x.c) + (x.c === 1 ? ' file' : ' files');
  else if (x.l) s += ' · ' + (x.t || size(x.b)) + ' · layer ' + x.l;
  else s += ' · deleted';
  if (x.w) s += ' · ' + size(x.w) + ' hidden by upper layers';
  if (!isDir(x) && x.e && (x.e.length > 4)) s += ' · ' + happened(x);
  return s;
}

function happened(x) {
  var out = [];
  for (var i = 0; i < x.e.length; i += 4) out.push(['added', 'changed', 'deleted'][x.e[i + 1] & 3] + ' in layer ' + x.e[i]);
  return out.join(', ');
}

function enter(x) {
  while (!isDir(x) && x.p) x = x.p;
  if (view.at === x) return;
  var from = rects.filter(function (r) { return r.n === x; })[0];
  var before = from && snapshot();
  view.at = x;
  view.pick = null;
  show();
  if (before) zoom(before, from);
}

function up() {
  if (!view.at.p) return;
  var was = view.at;
  enter(view.at.p);
  view.pick = was;
  draw();
  tell(was);
}

function snapshot() {
  if (window.matchMedia('(prefers-reduced-motion: reduce)').matches || !ui.canvas.width) return null;
  var c = document.createElement('canvas');
  c.width = ui.canvas.width;
  c.height = ui.canvas.height;
  c.getContext('2d').drawImage(ui.canvas, 0, 0);
  return c;
}

// zoom lets the old picture's rectangle grow to the whole.
function zoom(before, r) {
  var start = performance.now(), g = ui.canvas.getContext('2d'), w = ui.canvas.clientWidth, h = ui.canvas.clientHeight, mine = view.at;
  var ratio = window.devicePixelRatio || 1;
  requestAnimationFrame(function frame(now) {
    if (view.at !== mine) return;
    var t = Math.min(1, (now - start) / 200), e = 1 - (1 - t) * (1 - t);
    draw();
    if (t >= 1) return;
    var x = r.x * e, y = r.y * e, rw = w + (r.w - w) * e, rh = h + (r.h - h) * e;
    g.globalAlpha = 1 - e;
    g.drawImage(before, x * ratio, y * ratio, Math.max(1, rw * ratio), Math.max(1, rh * ratio), 0, 0, w, h);
    g.globalAlpha = 1;
    requestAnimationFrame(frame);
  });
}

function tell(x) { ui.info.textContent = x ? describe(x) : describe(view.at); }

function show() {
  crumbs();
  list();
  draw();
  tell(null);
}

function crumbs() {
  var chain = [];
  for (var x = view.at; x; x = x.p) chain.unshift(x);
  ui.crumbs.replaceChildren();
  chain.forEach(function (x, i) {
    if (i > 1) ui.crumbs.append('/');
    var b = el('button', { type: 'button', text: x.p ? x.n : '/', onclick: function () { enter(x); } });
    if (x === view.at) b.setAttribute('aria-current', 'location');
    ui.crumbs.append(b);
  });
}

/* ---- the list beside the map ---- */

var PART = 200;

function list() {
  ui.list.replaceChildren();
  var rows, find = view.find.toLowerCase();
  if (find) rows = search(find);
  else {
    rows = view.at.k.filter(function (x) { return view.mode === 'b' ? x.l || x.m : x.w > 0; });
    rows.sort(function (a, b) { return weight(b) - weight(a) || (a.n < b.n ? -1 : 1); });
  }
  if (view.layer) rows = rows.filter(function (x) { return isDir(x) ? find ? x.l === view.layer : has(x, view.layer) !== undefined : x.l === view.layer || touched(x, view.layer); });
  ui.count.textContent = find ? num(rows.length) + (rows.length === 1 ? ' match' : ' matches') : num(rows.length) + (rows.length === 1 ? ' entry' : ' entries');
  more(ui.list, rows, 0, function (x) { return entry(x, !!find); });
}

function touched(x, layer) {
  for (var i = 0; x.e && i < x.e.length; i += 4) if (x.e[i] === layer) return true;
  return false;
}

// weight is how many bytes of what is looked for a name has.
function weight(x) { return view.layer && view.mode === 'b' && isDir(x) ? has(x, view.layer) || 0 : x[view.mode]; }

// has returns how many of the bytes that show in a directory are a layer's;
// undefined if the layer has nothing there at all.
function has(x, layer) {
  if (!x.has) {
    x.has = {};
    var stack = [x];
    while (stack.length) {
      var y = stack.pop();
      for (var i = 0; y.e && i < y.e.length; i += 4) x.has[y.e[i]] = x.has[y.e[i]] || 0;
      if (y.k) y.k.forEach(function (z) { stack.push(z); });
      else if (y.l) x.has[y.l] = (x.has[y.l] || 0) + y.b;
    }
  }
  return x.has[layer];
}

function search(find) {
  var out = [], stack = [view.at];
  if (find[0] === '/') {
    while (stack.length) {
      var d = stack.pop();
      if (d !== view.at && !d.m && path(d).toLowerCase().indexOf(find) >= 0 && visible(d)) out.push(d);
      if (d.k) for (var i = d.k.length - 1; i >= 0; i--) stack.push(d.k[i]);
    }
    return out;
  }
  while (stack.length) {
    var x = stack.pop();
    if (x !== view.at && !x.m && x.n.toLowerCase().indexOf(find) >= 0 && visible(x)) out.push(x);
    if (x.k) for (var j = x.k.length - 1; j >= 0; j--) stack.push(x.k[j]);
  }
  return out;
}

function visible(x) { return view.mode === 'b' ? x.l : x.w > 0; }

// more puts rows into a list or table body, a part at a time.
function more(into, rows, from, make) {
  var tail = into.querySelector(':scope > .tailbtn'), f = document.createDocumentFragment(), to = Math.min(rows.length, from + PART);
  if (tail) tail.remove();
  for (var i = from; i < to; i++) f.append(make(rows[i]));
  if (to < rows.length) {
    var b = el('button', { type: 'button', text: 'Show ' + num(Math.min(PART, rows.length - to)) + ' more of ' + num(rows.length - to) });
    b.addEventListener('click', function () {
      var at = into.children.length - 1;
      more(into, rows, to, make);
      var next = into.children[at] && into.children[at].querySelector('button');
      if (next) next.focus();
    });
    var cell = into.tagName === 'TBODY' ? el('tr', { 'class': 'tailbtn' }, [el('td', { colspan: '4' }, [b])]) : el('li', { 'class': 'tailbtn' }, [el('span'), b]);
    f.append(cell);
  }
  into.append(f);
}

function entry(x, whole) {
  var name = whole ? path(x) : x.n + (x.t ? ' ' + x.t : '');
  var nm = isDir(x) ?
    el('button', { type: 'button', 'class': 'nm', text: name + '/', onclick: function () { clear(); enter(x); ui.list.parentNode.scrollTop = 0; var b = ui.crumbs.lastElementChild; if (b) b.focus(); } }) :
    el('span', { 'class': 'nm', text: name });
  var li = el('li', { title: x.m ? '' : describe(x) }, [swatch(mainLayer(x)), nm, el('span', { 'class': 'n dim', text: x.b || x.w || isDir(x) ? size(weight(x)) : '' })]);
  li.addEventListener('mouseenter', function () { pick(x); });
  nm.addEventListener('focus', function () { pick(x); });
  return li;
}

function pick(x) {
  if (view.pick === x) return;
  view.pick = x;
  draw();
  tell(x);
}

function clear() {
  view.find = '';
  ui.search.value = '';
}

/* ---- keys on the map ---- */

function key(ev) {
  var top = sorted(view.at), i = top.indexOf(view.pick), x = view.pick;
  switch (ev.key) {
    case 'ArrowRight': case 'ArrowDown': i = Math.min(top.length - 1, i + 1); break;
    case 'ArrowLeft': case 'ArrowUp': i = Math.max(0, i < 0 ? 0 : i - 1); break;
    case 'Home': i = 0; break;
    case 'End': i = top.length - 1; break;
    case 'Enter': case ' ':
      ev.preventDefault();
      if (x && isDir(x)) enter(x);
      return;
    case 'Escape': case 'Backspace':
      ev.preventDefault();
      up();
      return;
    default: return;
  }
  ev.preventDefault();
  if (top[i]) pick(top[i]);
}

/* ---- building it ---- */

function explorer() {
  var box = document.getElementById('explorer');
  ui.crumbs = el('div', { 'class': 'crumbs', role: 'navigation', 'aria-label': 'Directory shown' });
  ui.info = el('p', { 'class': 'info', 'aria-live': 'polite', id: 'map-info' });
  ui.canvas = el('canvas', {
    tabindex: '0', role: 'application', 'aria-roledescription': 'map of files', 'aria-describedby': 'map-info',
    'aria-label': 'Files by size. Arrow keys choose, Enter opens a directory, Escape goes up. The list beside it has the same.'
  });
  ui.list = el('ul');
  ui.count = el('span', { 'class': 'dim', role: 'status' });
  ui.search = el('input', { type: 'search', placeholder: 'Search names, or /a/path', 'aria-label': 'Search for files below the directory shown', maxlength: '300', spellcheck: 'false' });
  var modes = [['b', 'What a container sees'], ['w', 'What upper layers hide']].map(function (m) {
    var b = el('button', { type: 'button', 'aria-pressed': String(view.mode === m[0]), text: m[1] });
    b.addEventListener('click', function () {
      view.mode = m[0];
      modes.forEach(function (o) { o.setAttribute('aria-pressed', String(o === b)); });
      view.pick = null;
      show();
    });
    return b;
  });
  box.append(
    el('div', { 'class': 'tools' }, [el('span', { role: 'group', 'aria-label': 'What is shown' }, [modes[0], ' ', modes[1]]), ui.search, ui.count]),
    ui.crumbs,
    el('div', { 'class': 'explore' }, [el('div', {}, [ui.canvas, ui.info]), el('div', { 'class': 'side', tabindex: '0', role: 'region', 'aria-label': 'Files of the directory shown' }, [ui.list])]));
  var timer = 0;
  ui.search.addEventListener('input', function () {
    clearTimeout(timer);
    timer = setTimeout(function () { view.find = ui.search.value; list(); }, 120);
  });
  ui.canvas.addEventListener('mousemove', function (ev) {
    var r = hit(ev.offsetX, ev.offsetY);
    if (r) pick(r.n);
  });
  ui.canvas.addEventListener('mouseleave', function () { view.pick = null; draw(); tell(null); });
  ui.canvas.addEventListener('click', function (ev) {
    var r = hit(ev.offsetX, ev.offsetY);
    if (!r) return;
    // One step at a time: the directory just below the one shown.
    var x = r.n;
    while (x.p && x.p !== view.at) x = x.p;
    if (isDir(x)) enter(x);
  });
  ui.canvas.addEventListener('keydown', key);
  if (window.ResizeObserver) new ResizeObserver(draw).observe(ui.canvas);
  else window.addEventListener('resize', draw);
  var dark = window.matchMedia('(prefers-color-scheme: dark)');
  dark.addEventListener('change', function () { readPaint(); draw(); });
  window.addEventListener('afterprint', function () { readPaint(); draw(); });
  legend();
  show();
}

function legend() {
  var box = document.getElementById('legend');
  [].slice.call(box.children).forEach(function (li) {
    var b = el('button', { type: 'button', 'aria-pressed': 'false', title: 'Show only what layer ' + li.dataset.layer + ' has' });
    while (li.firstChild) b.append(li.firstChild);
    b.prepend(el('span', { text: '' }));
    li.append(b);
    b.addEventListener('click', function () {
      var on = view.layer !== +li.dataset.layer;
      view.layer = on ? +li.dataset.layer : 0;
      box.querySelectorAll('button').forEach(function (o) { o.setAttribute('aria-pressed', String(on && o === b)); });
      list();
      draw();
    });
  });
}

/* ---- the lists of changes ---- */

var perLayer = null;

function changesOf(layer) {
  if (!perLayer) {
    perLayer = {};
    root.all.forEach(function (x) {
      for (var i = 0; x.e && i < x.e.length; i += 4) {
        if (x.e[i]) (perLayer[x.e[i]] = perLayer[x.e[i]] || []).push([x, i]);
      }
    });
  }
  return perLayer[layer] || [];
}

function changes() {
  document.querySelectorAll('.change').forEach(function (d) {
    if (d.open) whole(d);
    d.addEventListener('toggle', function () { if (d.open) whole(d); });
  });
}

// whole replaces the table of a layer's weightiest changes by all of them.
function whole(d) {
  if (d.dataset.whole) return;
  d.dataset.whole = 'yes';
  var all = changesOf(+d.dataset.layer).filter(function (c) { return c[0].p; });
  if (!all.length) return;
  var body = d.querySelector('tbody'), few = [].slice.call(body.children), hint = d.querySelector('.hint');
  var bar = el('div', { 'class': 'filter', role: 'group', 'aria-label': 'Which changes' });
  function fill(kind, button) {
    bar.querySelectorAll('button').forEach(function (b) { b.setAttribute('aria-pressed', String(b === button)); });
    body.replaceChildren();
    if (hint) hint.hidden = kind !== -1;
    if (kind === -1) { few.forEach(function (r) { body.append(r); }); return; }
    var rows = kind === 9 ? all : all.filter(function (c) { return (c[0].e[c[1] + 1] & 3) === kind; });
    rows = rows.map(function (c) { return [path(c[0]), c]; }).sort(function (a, b) { return a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0; });
    more(body, rows, 0, changeRow);
  }
  [['Weightiest', -1], ['All', 9], ['Added', 0], ['Changed', 1], ['Deleted', 2]].forEach(function (f) {
    var n = f[1] < 0 ? few.length : f[1] === 9 ? all.length : all.filter(function (c) { return (c[0].e[c[1] + 1] & 3) === f[1]; }).length;
    if (!n) return;
    var b = el('button', { type: 'button', text: f[0] + ' ' + num(n) });
    b.addEventListener('click', function () { fill(f[1], b); });
    bar.append(b);
  });
  bar.firstChild.setAttribute('aria-pressed', 'true');
  d.querySelector('summary').after(bar);
}

function changeRow(r) {
  var x = r[1][0], i = r[1][1], code = x.e[i + 1], letter = 'ACD'[code & 3], word = ['added', 'changed', 'deleted'][code & 3];
  if (code & 4) word = 'opaque';
  return el('tr', {}, [
    el('td', {}, [el('b', { 'class': 'k ' + letter, text: letter }), ' ' + word]),
    el('td', { 'class': 'path', text: r[0] + (isDir(x) ? '/' : '') + (x.t && x.l === x.e[i] ? ' ' + x.t : '') }),
    el('td', { 'class': 'n', text: x.e[i + 2] ? size(x.e[i + 2]) : '' }),
    el('td', { 'class': 'n', text: x.e[i + 3] ? size(x.e[i + 3]) : '' })
  ]);
}

/* ---- the configuration's lines ---- */

function config() {
  var pair = document.getElementById('pair');
  if (!pair) return;
  var NS = 'http://www.w3.org/2000/svg', svg = document.createElementNS(NS, 'svg');
  svg.setAttribute('aria-hidden', 'true');
  pair.append(svg);
  var right = pair.querySelectorAll('.fields')[1];
  function lines() {
    var base = pair.getBoundingClientRect();
    svg.replaceChildren();
    right.querySelectorAll('.field').forEach(function (r) {
      (r.dataset.links || '').split(' ').forEach(function (id) {
        var l = id && document.getElementById(id);
        if (!l) return;
        var a = l.getBoundingClientRect(), b = r.getBoundingClientRect();
        var x1 = a.right - base.left, y1 = a.top - base.top + Math.min(18, a.height / 2), x2 = b.left - base.left, y2 = b.top - base.top + Math.min(18, b.height / 2), mid = (x2 - x1) / 2;
        var p = document.createElementNS(NS, 'path');
        p.setAttribute('d', 'M' + x1 + ' ' + y1 + 'C' + (x1 + mid) + ' ' + y1 + ' ' + (x2 - mid) + ' ' + y2 + ' ' + x2 + ' ' + y2);
        p.dataset.a = l.id;
        p.dataset.b = r.id;
        svg.append(p);
      });
    });
  }
  function mark(f) {
    var ids = f ? [f.id].concat((f.dataset.links || '').split(' ')) : [];
    pair.classList.toggle('busy', !!f);
    pair.querySelectorAll('.field').forEach(function (o) { o.classList.toggle('on', ids.indexOf(o.id) >= 0); });
    svg.querySelectorAll('path').forEach(function (p) { p.classList.toggle('on', !!f && (p.dataset.a === f.id || p.dataset.b === f.id)); });
  }
  pair.querySelectorAll('.field').forEach(function (f) {
    f.addEventListener('mouseenter', function () { mark(f); });
    f.addEventListener('mouseleave', function () { mark(null); });
    f.addEventListener('focus', function () { mark(f); });
    f.addEventListener('blur', function () { mark(null); });
  });
  lines();
  if (window.ResizeObserver) new ResizeObserver(lines).observe(pair);
  window.addEventListener('beforeprint', lines);
}

function start() {
  readColours();
  readPaint();
  config();
  load();
  view.at = root;
  document.documentElement.classList.add('js');
  explorer();
  changes();
  document.documentElement.dataset.ready = String(total);
}

start();
}());
