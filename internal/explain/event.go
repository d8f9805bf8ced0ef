// Package explain narrates what byhand does: each request, digest, directory and
// mount as it happens, with the shell command that does the same.
//
// A [Writer] writes [Event] values, as a transcript for people or as JSON, an
// object a line. The transcript is a shell script: all that is said is a
// comment. A [Narrator] makes the events of what pull, overlay and bundle tell.
package explain

import "time"

// Version is that of the JSON: a new one takes something away or changes its
// meaning. What is added keeps the version.
const Version = 1

// kindMessage is something that is said besides; it is no step.
const kindMessage = "message"

// Event is one thing that happened.
type Event struct {
	Kind string // as docs/explain.md lists them
	// Step is the number of the event that this one continues, such as the
	// request that an answer is for; 0 begins a new step.
	Step int
	// Resume says what the continued step was, for where another one was
	// written meanwhile.
	Resume string
	Layer  int // the layer it is about, from 1, base first; 0: none
	Title  string
	Facts  []Fact
	Notes  []string // sentences
	Shell  []string // commands that do the same, without line breaks
	Bad    bool     // something is not as it should be
}

// Fact is something that an event tells.
type Fact struct {
	Name  string
	Label string // what it is called in the transcript, if not Name
	// Value is a string, a number, a bool, a list of strings, Headers, or a
	// Command.
	Value any
	// Silent facts are for the JSON alone: the title has them in words.
	Silent bool
}

// Command is a shell command that is told and does not stand for itself.
type Command string

// Headers are fields of a request or an answer.
type Headers struct {
	Mark  string   // begins their lines in the transcript
	Brief []Header // of the transcript, where that shows less
	List  []Header
}

// Header is one of them.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// record is an event as JSON.
type record struct {
	Version int            `json:"version"`
	Time    time.Time      `json:"time"`
	Step    int            `json:"step,omitempty"`
	Event   string         `json:"event"`
	Layer   int            `json:"layer,omitempty"`
	Title   string         `json:"title"`
	Facts   map[string]any `json:"facts,omitempty"`
	Notes   []string       `json:"notes,omitempty"`
	Shell   []string       `json:"shell,omitempty"`
	Bad     bool           `json:"bad,omitempty"`
}
