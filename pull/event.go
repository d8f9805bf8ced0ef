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
	// EventVerified: Object, of Total bytes, has Digest, which StatedBy names.
	EventVerified
	// EventMismatch: Object is not what StatedBy says; Err is a *DigestError
	// or a *SizeError with both.
	EventMismatch
	// EventChosen: Choice was made among the manifests of an index.
	EventChosen
	// EventRetry: Object failed with Err and is tried again after Wait.
	EventRetry
	// EventWarning: Message is something the user should know and that does
	// not stop the pull.
	EventWarning
	// EventRequest: a request, Exchange, is sent.
	EventRequest
	// EventResponse: the answer to a request came, or its failure; Exchange
	// has both.
	EventResponse
	// EventToken: a token service gave Token.
	EventToken
	// EventDone: the layer with Digest ended verified; Stats says what it took.
	// It comes after the last EventVerified of it.
	EventDone
)

// What states a digest, for Event.StatedBy.
const (
	ByNothing   = ""              // a tag was asked for: the digest was calculated, and is compared with nothing
	ByReference = "the reference" // the person who asked
	ByIndex     = "the index"
	ByManifest  = "the manifest"
	ByConfig    = "the config"        // it states diff IDs
	BySource    = "the source's list" // index.json of a layout, manifest.json of an archive
)

// Event is something that happened during a pull. It never contains secrets.
type Event struct {
	Kind         EventKind
	Object       string        // what it is about, for people: "layer 2 of …"
	Digest       digest.Digest // of Object, where it has one
	MediaType    string        // EventVerified, of a document
	StatedBy     string        // EventVerified, EventMismatch: where the expected digest comes from
	Bytes, Total int64
	Wait         time.Duration // EventRetry: the time until the next attempt
	Err          error         // EventRetry: what failed; EventWarning: where it is about an error
	Message      string        // EventWarning
	Exchange     *Exchange     // EventRequest, EventResponse; not to be changed
	Choice       *Choice       // EventChosen
	Token        *TokenGrant   // EventToken
	Stats        Stats         // EventDone
}

// Stats is what one layer's stream took. The times are those of stages that
// run side by side, so their sum may exceed the time that passed.
type Stats struct {
	Bytes      int64         // of the blob, compressed
	TarBytes   int64         // uncompressed; 0 if nothing was decompressed
	Network    time.Duration // spent in reads from where the blob comes from
	Hash       time.Duration // computing both digests, as far as decompressing did not do it on the side
	Decompress time.Duration // without waiting for input or for a free buffer
}

// Choice tells which manifest of an index was taken for a platform, and why.
type Choice struct {
	Want    string   // the platform asked for
	Accept  []string // the platforms that will do, best first
	Entries []ChoiceEntry
	Taken   int // index into Entries
}

// ChoiceEntry is a manifest that an index lists.
type ChoiceEntry struct {
	Platform string // "" if the index names none
	Digest   digest.Digest
	Image    bool // false: an attestation, or something else that is no image
}

// String tells the choice on one line.
func (c *Choice) String() string {
	if c.Taken < 0 || c.Taken >= len(c.Entries) {
		return "nothing for " + c.Want
	}
	return c.Want + ": " + c.Entries[c.Taken].Digest.String()
}

// TokenGrant says what a token is for. The token itself is a secret.
type TokenGrant struct {
	From    string // host of the token service
	Service string
	Scopes  []string
	Login   string // where the login that it was given for came from; "" is none
	Life    time.Duration
}

// String tells the grant on one line.
func (t *TokenGrant) String() string { return "token from " + t.From + " for " + t.Life.String() }

// observe reports e to the observer, if there is one.
func (c *Client) observe(e Event) {
	if c.Observe != nil {
		c.Observe(e)
	}
}
