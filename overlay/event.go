package overlay

import (
	"time"

	"github.com/byhand/byhand/unpack"
)

// EventKind says what an [Event] reports.
type EventKind int

// The kinds of events.
const (
	EventPresent   EventKind = iota // the layer was there already
	EventWaiting                    // another process is making the layer; it is waited for
	EventStarted                    // the layer's stream is being opened
	EventUnpacked                   // the stream ended and was verified; the layer is staged
	EventSettled                    // what the layers below decide was decided; Unpacked.Pending says what
	EventCommitted                  // the layer has its final name
	EventRetry                      // the stream was damaged (Err) and is fetched once more
	EventWarning                    // something was left out or left behind; Message says what
	EventAdopted                    // the layer was verified by a process that ended before it could be committed; nothing is fetched
	EventProved                     // the layer, of another boot, was proved to be whole
)

// Event is one step of work on the store. Fields that do not apply are zero.
type Event struct {
	Kind    EventKind
	Index   int // the layer's place in the image, from 1, base first
	ChainID ChainID
	DiffID  DiffID
	Layer   Layer // of EventPresent and EventCommitted
	// Unpacked tells what the stream held; of EventUnpacked,
	// EventAdopted and EventSettled.
	Unpacked unpack.Result
	// Whiteouts and Opaques are names in the layer, of EventUnpacked where
	// Options.Markers asks for them: the first 16 MiB of both.
	Whiteouts, Opaques []string
	Elapsed            time.Duration // since the layer's work began
	Work               time.Duration // of EventUnpacked: reading the tar and writing files, without waiting for the stream
	Message            string
	Err                error
}
