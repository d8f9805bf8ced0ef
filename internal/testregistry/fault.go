package testregistry

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Fault is what goes wrong with an answer. Fields combine where that makes
// sense; offsets count in the whole object, not in the part that was asked for.
type Fault struct {
	Times int // how many answers; 0: all
	After int // how many answers go well before

	Status  int               // this status, with Body or a registry's error
	Header  map[string]string // set on the answer
	Body    []byte            // replaces the content
	HTML    bool              // a web page with status 200, as captive portals send
	NoRange bool              // ranges are ignored: status 200 and the whole
	// RefuseRange is the status that a request for a range gets.
	RefuseRange int
	// RangeShift makes ranges begin that much later than asked for, as
	// their Content-Range says too.
	RangeShift int64
	// RangeLie delivers the whole object's beginning in place of a range.
	RangeLie bool

	Cut      *int64        // the connection breaks before this byte
	Drop     *int64        // the object ends before this byte, and the headers agree
	Flip     *int64        // this byte has one bit changed
	Extra    []byte        // follows the content
	Endless  bool          // the content never ends; has no length
	Stall    *int64        // nothing follows from this byte on
	Chunked  bool          // no Content-Length
	Length   *int64        // this Content-Length
	Pause    time.Duration // before every chunk of Chunk bytes
	Chunk    int
	Redirect string // to this address; %s is the request's path and query
	Hangup   bool   // the connection is closed without an answer
}

// At returns a pointer to n, for Fault's offsets.
//
//go:fix inline
func At(n int64) *int64 { return new(n) }

type armedFault struct {
	Fault
	part string
	seen int
}

// Fault makes answers to requests whose path contains part go wrong. Of several
// faults for one request the first counts.
func (r *Registry) Fault(part string, f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, &armedFault{Fault: f, part: part})
}

// ClearFaults ends all faults.
func (r *Registry) ClearFaults() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = nil
}

// fault returns the fault for a request, nil if it shall go well.
func (r *Registry) fault(q *http.Request) *Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.faults {
		if !strings.Contains(q.URL.Path, f.part) {
			continue
		}
		f.seen++
		if f.seen <= f.After || f.Times > 0 && f.seen > f.After+f.Times {
			continue
		}
		return &f.Fault
	}
	return nil
}

// inject answers with a fault. It returns false if the fault leaves this
// request alone.
func (r *Registry) inject(w http.ResponseWriter, q *http.Request, f *Fault, doc document) bool {
	for k, v := range f.Header {
		w.Header().Set(k, v)
	}
	switch {
	case f.Hangup:
		panic(http.ErrAbortHandler)
	case f.Redirect != "":
		w.Header().Set("Location", strings.ReplaceAll(f.Redirect, "%s", q.URL.RequestURI()))
		w.WriteHeader(http.StatusTemporaryRedirect)
		return true
	case f.HTML:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte("<html><body>Welcome to Airport WiFi, please log in</body></html>\n"))
		return true
	case f.Status != 0 && f.Body != nil:
		w.WriteHeader(f.Status)
		_, _ = w.Write(f.Body)
		return true
	case f.Status != 0:
		registryError(w, f.Status, "FAULT", "injected")
		return true
	case f.RefuseRange != 0:
		if q.Header.Get("Range") == "" {
			return false
		}
		registryError(w, f.RefuseRange, "RANGE_INVALID", "no ranges")
		return true
	}
	r.serveBroken(w, q, f, doc)
	return true
}

// content returns the object as the fault changes it.
func (f *Fault) content(doc document) []byte {
	data := doc.data
	if f.Body != nil {
		data = f.Body
	}
	if f.Drop != nil {
		data = data[:min(*f.Drop, int64(len(data)))]
	}
	if f.Flip != nil && *f.Flip < int64(len(data)) {
		data = slices.Clone(data)
		data[*f.Flip] ^= 0x20
	}
	return append(slices.Clip(data), f.Extra...)
}

// serveBroken serves the object with the faults that are in its content.
func (r *Registry) serveBroken(w http.ResponseWriter, q *http.Request, f *Fault, doc document) {
	data := f.content(doc)
	total := int64(len(data))
	start, stop, ranged := rangeOf(q)
	stop = min(stop, total)
	status := http.StatusOK
	if f.NoRange {
		ranged = false
	}
	w.Header().Set("Content-Type", doc.mediaType)
	switch {
	case ranged && start >= total:
		registryError(w, http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID", "beyond the end")
		return
	case ranged:
		start += f.RangeShift
		status = http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, stop-1, total))
	default:
		start, stop = 0, total
	}
	if f.RangeLie && ranged {
		data = append(bytes.Clone(data[:total-start]), make([]byte, start)...)
		copy(data[start:], data[:total-start])
	}
	length := stop - start
	if f.Length != nil {
		length = *f.Length // the server sends no more than it says
	}
	data = data[:min(stop, start+length)]
	if !f.Chunked && !f.Endless {
		w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
	}
	w.WriteHeader(status)
	r.send(w, q, f, data, start)
}

// send writes data from start on, as slowly, and as far, as the fault says.
func (r *Registry) send(w http.ResponseWriter, q *http.Request, f *Fault, data []byte, start int64) {
	end := int64(len(data))
	for _, at := range []*int64{f.Cut, f.Stall} {
		if at != nil {
			end = max(min(end, *at), start)
		}
	}
	chunk := int64(f.Chunk)
	if chunk == 0 {
		chunk = 32 << 10
	}
	for pos := start; pos < end; pos += chunk {
		if f.Pause > 0 && !r.wait(q, f.Pause) {
			return
		}
		if _, err := w.Write(data[pos:min(pos+chunk, end)]); err != nil {
			return
		}
		flush(w)
	}
	switch {
	case f.Stall != nil:
		flush(w)
		r.wait(q, time.Hour)
		panic(http.ErrAbortHandler)
	case f.Cut != nil:
		flush(w)
		panic(http.ErrAbortHandler)
	case f.Endless:
		junk := bytes.Repeat([]byte("more "), 1000)
		for q.Context().Err() == nil {
			if _, err := w.Write(junk); err != nil {
				return
			}
		}
	}
}

// wait sleeps; false means that the client or the test has gone.
func (r *Registry) wait(q *http.Request, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-q.Context().Done():
	case <-r.stopped:
	}
	return false
}

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// rangeOf reads "bytes=START-LAST" and "bytes=START-"; stop is LAST+1.
func rangeOf(q *http.Request) (start, stop int64, ok bool) {
	s, ok := strings.CutPrefix(q.Header.Get("Range"), "bytes=")
	if !ok {
		return 0, 0, false
	}
	first, last, _ := strings.Cut(s, "-")
	start, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, 0, false
	}
	if last == "" {
		return start, 1 << 62, true
	}
	n, err := strconv.ParseInt(last, 10, 64)
	return start, n + 1, err == nil
}

// serve answers without a fault.
func serve(w http.ResponseWriter, q *http.Request, doc document) {
	w.Header().Set("Content-Type", doc.mediaType)
	http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(doc.data))
}
