package pull

import "net/http"

// lane is a connection of its own to an endpoint, and one more to where that
// redirects to. Requests that share a transport would share an HTTP/2
// connection, and nothing would be gained where the limit is per connection.
type lane struct {
	own, foreign *http.Transport
}

// takeLane returns a lane that nobody else uses until putLane.
func (e *endpoint) takeLane() *lane {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.lanes); n > 0 {
		l := e.lanes[n-1] // the last used, whose connection is most likely alive
		e.lanes = e.lanes[:n-1]
		return l
	}
	return &lane{own: e.own.Clone(), foreign: e.foreign.Clone()}
}

func (e *endpoint) putLane(l *lane) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lanes = append(e.lanes, l)
}

// transport returns what a request goes over: to the endpoint itself or, away,
// to a host that it redirected to.
func (e *endpoint) transport(l *lane, away bool) *http.Transport {
	switch {
	case l != nil && away:
		return l.foreign
	case l != nil:
		return l.own
	case away:
		return e.foreign
	}
	return e.own
}
