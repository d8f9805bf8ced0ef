package explain

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/shell"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

// Pull tells of an event of a pull. Warnings and progress are left to the caller.
func (n *Narrator) Pull(e pull.Event) {
	if n == nil {
		return
	}
	switch e.Kind {
	case pull.EventRequest:
		n.request(e.Exchange)
	case pull.EventResponse:
		n.response(e.Exchange)
	case pull.EventToken:
		n.tokenGranted(e.Token)
	case pull.EventVerified:
		n.verified(e)
	case pull.EventMismatch, pull.EventWarning:
		n.mismatch(e.StatedBy, n.layerOf(e.Digest), e.Err)
	case pull.EventChosen:
		n.chosen(e)
	case pull.EventRetry:
		n.mismatch("", 0, e.Err)
		n.w.Put(Event{
			Kind: "retry", Title: fmt.Sprintf("%s: again in %s", e.Object, duration(e.Wait)),
			Facts: []Fact{{Name: "because", Value: e.Err.Error()}, {Name: "seconds", Value: e.Wait.Seconds(), Silent: true}},
		})
	case pull.EventResolved, pull.EventProgress: // the image and its layers tell more
	}
}

// verified tells of a digest that is what it should be.
func (n *Narrator) verified(v pull.Event) {
	n.mu.Lock()
	what, layer := n.whatIs(v), n.layerOfLocked(v.Digest)
	file := n.fileOf(v)
	n.mu.Unlock()
	e := Event{
		Kind: "digest", Layer: layer, Title: what + ": expected = calculated", Facts: []Fact{
			{Name: "object", Value: what, Silent: true},
			{Name: "calculated", Value: v.Digest.String(), Silent: true},
			{Name: "match", Value: true, Silent: true},
		},
	}
	if v.Total > 0 {
		e.Facts = append(e.Facts, Fact{Name: "bytes", Value: v.Total, Silent: true})
	}
	if v.MediaType != "" {
		e.Facts = append(e.Facts, Fact{Name: "mediaType", Value: v.MediaType})
	}
	switch v.StatedBy {
	case pull.ByNothing:
		e.Title = what + ": digest calculated"
		e.Notes = []string{"calculated: " + v.Digest.String(), "A tag says nothing of the digest to expect. From here on all digests are stated by what was verified before."}
	default:
		e.Facts = append(e.Facts, Fact{Name: "expected", Value: v.Digest.String(), Silent: true}, Fact{Name: "statedBy", Value: v.StatedBy, Silent: true})
		e.Title = what + ": expected by " + v.StatedBy + " = calculated"
		e.Notes = []string{v.Digest.String()}
	}
	if file != "" {
		e.Shell = []string{n.sumCommand(v, file)}
	}
	n.w.Put(e)
}

// whatIs says in a word what was verified. The caller holds the lock.
func (n *Narrator) whatIs(v pull.Event) string {
	switch layer := n.layerOfLocked(v.Digest); {
	case v.StatedBy == pull.ByConfig:
		return "uncompressed tar (diff ID)"
	case layer > 0:
		return "blob"
	case v.StatedBy == pull.ByManifest:
		return "config"
	case isIndex(v.MediaType):
		return "index"
	}
	return "manifest"
}

// fileOf is the file that holds by hand what was verified. The caller holds the
// lock.
func (n *Narrator) fileOf(v pull.Event) string {
	d := v.Digest
	if v.StatedBy == pull.ByConfig { // a diff ID: the file is the blob's
		if l := n.layerOfLocked(d); l > 0 {
			d = n.image.Layers[l-1].Descriptor.Digest
		}
	}
	if n.files[d] == "" && n.doc != "" && v.MediaType != "" {
		n.files[d] = n.doc // what a tag stood for
	}
	if v.MediaType != "" {
		n.doc = ""
	}
	local := n.layout != "" || strings.Contains(v.Object, "the local copy")
	if f := n.files[d]; f != "" && (!local || n.fetched[f]) {
		return f // what was fetched for one command does not stay in the store
	}
	switch {
	case n.layout != "":
		n.files[d] = blobIn(n.layout, d)
	case strings.Contains(v.Object, "the local copy"):
		n.files[d] = blobIn(n.store, d)
	default:
		return ""
	}
	if isIndex(v.MediaType) {
		n.index = n.files[d]
	}
	return n.files[d]
}

// sumCommand calculates the digest again.
func (n *Narrator) sumCommand(v pull.Event, file string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.layerOfLocked(v.Digest)
	if v.StatedBy != pull.ByConfig || l == 0 {
		return sum(v.Digest) + " " + shell.Quote(file)
	}
	program := decompressor(n.image.Layers[l-1].Descriptor.MediaType)
	if program == "" {
		return sum(v.Digest) + " " + shell.Quote(file)
	}
	return program + " -dc " + shell.Quote(file) + " | " + sum(v.Digest)
}

// decompressor is the program for a layer's media type, "" for a plain tar.
func decompressor(mediaType string) string {
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		return "gzip"
	case strings.HasSuffix(mediaType, "zstd"):
		return "zstd"
	}
	return ""
}

// mismatch tells of a digest or size in err that is not what it should be,
// once.
func (n *Narrator) mismatch(statedBy string, layer int, err error) {
	var (
		object, want, got string
		key               error
	)
	var blob *pull.DigestError
	var length *pull.SizeError
	var stored *overlay.DigestError
	switch {
	case errors.As(err, &blob):
		key, object, want, got = blob, blob.Object, blob.Want.String(), blob.Got.String()
	case errors.As(err, &length):
		key, object, want, got = length, length.Object, size(length.Want), size(length.Got)
	case errors.As(err, &stored):
		key, object, want, got = stored, stored.Object, stored.Want.String(), stored.Got.String()
	default:
		return
	}
	n.mu.Lock()
	told := n.told[key]
	n.told[key] = true
	n.mu.Unlock()
	if told {
		return
	}
	by := ""
	if statedBy != "" {
		by = " by " + statedBy
	}
	n.w.Put(Event{
		Kind: "digest", Layer: layer, Bad: true, Title: "MISMATCH, expected ≠ calculated: " + object,
		Facts: []Fact{
			{Name: "object", Value: object, Silent: true},
			{Name: "match", Value: false, Silent: true},
			{Name: "expected", Value: want, Silent: true},
			{Name: "calculated", Value: got, Silent: true},
			{Name: "statedBy", Value: statedBy, Silent: true},
		},
		Notes: []string{"expected" + by + ": " + want, "calculated: " + got},
	})
}

// maxEntries bounds how many entries of an index are told.
const maxEntries = 20

// chosen tells which manifest of an index is taken.
func (n *Narrator) chosen(v pull.Event) {
	c := v.Choice
	taken := c.Entries[c.Taken]
	e := Event{Kind: "platform", Title: fmt.Sprintf("platform %s: entry %d of %d in the index", c.Want, c.Taken+1, len(c.Entries)), Facts: []Fact{
		{Name: "wanted", Value: c.Want, Silent: true},
		{Name: "accepted", Value: c.Accept, Silent: true},
		{Name: "taken", Value: taken.Digest.String(), Silent: true},
	}}
	for i, entry := range c.Entries {
		if i == maxEntries {
			e.Notes = append(e.Notes, fmt.Sprintf("… and %d more", len(c.Entries)-i))
			break
		}
		platform, mark := entry.Platform, ""
		if platform == "" {
			platform = "no platform named"
		}
		switch {
		case i == c.Taken && entry.Platform == "":
			mark = "  ← opened, to see"
		case i == c.Taken:
			mark = "  ← taken"
		case !entry.Image:
			mark = "  (no image)"
		}
		e.Notes = append(e.Notes, fmt.Sprintf("%s %s%s", short(entry.Digest), platform, mark))
	}
	e.Notes = append(e.Notes, "The best match counts, then the order. What will do, best first: "+strings.Join(c.Accept, ", ")+".")
	n.mu.Lock()
	index := n.index
	n.mu.Unlock()
	if index != "" {
		e.Shell = []string{fmt.Sprintf("jq -r '.manifests[%d] | .platform, .digest' %s", c.Taken, shell.Quote(index))}
	}
	n.w.Put(e)
}

// layerOf returns the number of the layer that has the digest, its blob's or its
// diff ID; 0 for none.
func (n *Narrator) layerOf(d digest.Digest) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.layerOfLocked(d)
}

func (n *Narrator) layerOfLocked(d digest.Digest) int {
	if n.image == nil || d == "" {
		return 0
	}
	for i, l := range n.image.Layers {
		if l.Descriptor.Digest == d || l.DiffIDValue == d {
			return i + 1
		}
	}
	return 0
}
