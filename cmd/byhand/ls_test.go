package main

import (
	"encoding/json"
	"testing"
	"time"
)

// TestFileTimeJSON has times that tar can hold and RFC 3339 cannot: they are
// no reason to list nothing.
func TestFileTimeJSON(t *testing.T) {
	for sec, want := range map[int64]string{
		0:            `{"modTime":"1970-01-01T00:00:00.0000005Z"}`,
		1 << 40:      `{"modTime":"36812-02-20T00:36:16.0000005Z"}`,
		-(1 << 37):   `{"modTime":"-2386-09-25T08:55:28.0000005Z"}`,
		-62135596801: `{"modTime":"0000-12-31T23:59:59.0000005Z"}`,
	} {
		got, err := json.Marshal(struct {
			ModTime fileTime `json:"modTime"`
		}{fileTime{time.Unix(sec, 500).UTC()}})
		if err != nil || string(got) != want {
			t.Errorf("%d: %s, %v; expected %s", sec, got, err, want)
		}
	}
}
