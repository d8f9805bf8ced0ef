package pull

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// EventKind says what an [Event] reports.
type EventKind int

const (
	// EventResolved: a reference was resolved to the manifest Digest.
	EventResolved EventKind = iota + 1
	// EventProgress: Bytes of Total bytes of Object have arrived.
	EventProgress
	// EventVerified: Object matched Digest in full.
	EventVerified
	// EventRetry: Object failed with Err and is tried again after Wait.
	EventRetry
	// EventWarning: Message is something the user should know and that does
	// not stop the pull.
	EventWarning
	// EventRequest: a request, described by Message, is sent.
	EventRequest
	// EventResponse: the answer to a request, described by Message, came.
	EventResponse
)

// Event is something that happened during a pull. It never contains secrets.
type Event struct {
	Kind         EventKind
	Object       string        // what it is about, for people: "layer 2 of …"
	Digest       digest.Digest // of Object, where it has one
	Bytes, Total int64
	Wait         time.Duration // EventRetry: the time until the next attempt
	Err          error         // EventRetry: what failed; EventWarning: where it is about an error
	Message      string        // EventWarning, EventRequest, EventResponse
}

// observe reports e to the observer, if there is one.
func (c *Client) observe(e Event) {
	if c.Observe != nil {
		c.Observe(e)
	}
}
