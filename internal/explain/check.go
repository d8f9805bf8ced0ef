package explain

import (
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/shell"
	"github.com/byhand/byhand/overlay"
)

// Checked tells of something in the store that was hashed again. Of an unpacked
// layer, lower is the directory, and blob the digest of its blob if the store
// has that; both may be "".
func (n *Narrator) Checked(c overlay.Check, lower string, blob digest.Digest) {
	if n == nil {
		return
	}
	e := Event{
		Kind: "checked", Layer: c.Layer, Title: "MISMATCH: " + string(c.Kind) + " " + string(c.Verdict), Bad: true,
		Facts: []Fact{
			{Name: "object", Value: c.String(), Silent: true},
			{Name: "match", Value: c.Verdict == overlay.Match, Silent: true},
			{Name: "expected", Value: c.Expected.String()},
			{Name: "calculated", Value: c.Calculated.String(), Silent: c.Calculated == ""},
		},
	}
	if c.Verdict == overlay.Match {
		e.Title, e.Bad = string(c.Kind)+": expected = calculated", false
		e.Facts[3].Silent = true
	}
	if c.Reason != "" {
		e.Notes = append(e.Notes, c.Reason)
	}
	n.mu.Lock()
	store := n.store
	n.mu.Unlock()
	switch {
	case c.Calculated == "": // there is nothing to hash
	case c.Kind != overlay.CheckLayer:
		e.Shell = []string{sum(c.Expected) + " " + shell.Quote(blobIn(store, c.Expected))}
	case lower != "":
		e.Notes = append(e.Notes, "The tar that the layer was is made again, from the files in its directory and from the record of all else that stood in the tar, "+
			"and hashed: the result has to be the diff ID that the config states. By hand the directory can be compared with the layer's blob.")
		e.Shell = []string{"ls -l " + shell.Quote(filepath.Join(filepath.Dir(lower), "tar-record.s2"))}
		if blob != "" {
			e.Shell = append(e.Shell, "tar --compare -f "+shell.Quote(blobIn(store, blob))+" -C "+shell.Quote(lower)+" --exclude='.wh.*' || :")
		}
	}
	n.w.Put(e)
}
