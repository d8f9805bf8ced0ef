package overlay

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/shell"
)

// Verdict is what a check found.
type Verdict string

// The verdicts. Only Match says that all is well.
const (
	Match    Verdict = "match"
	Mismatch Verdict = "MISMATCH"
	// Unproved is something that nothing on disk can prove or refute.
	Unproved Verdict = "unproved"
)

// CheckKind is what a check is about.
type CheckKind string

// The kinds of checks.
const (
	CheckIndex    CheckKind = "index"
	CheckManifest CheckKind = "manifest"
	CheckConfig   CheckKind = "config"
	CheckBlob     CheckKind = "blob"  // a compressed layer that the store keeps
	CheckLayer    CheckKind = "layer" // a lower dir, by the tar that it was made of
)

// Check is one digest that was calculated again from what is on disk.
type Check struct {
	Kind       CheckKind     `json:"kind"`
	Layer      int           `json:"layer,omitempty"` // of blobs and layers, from 1, base first
	Expected   digest.Digest `json:"expected"`
	Calculated digest.Digest `json:"calculated,omitempty"` // "" where there is nothing to hash
	Verdict    Verdict       `json:"result"`
	Reason     string        `json:"reason,omitempty"` // of another verdict than match
}

func (c Check) String() string {
	if c.Layer > 0 {
		return fmt.Sprintf("%s %d", c.Kind, c.Layer)
	}
	return string(c.Kind)
}

// Difference is something in a layer of the store that is not as the layer
// says.
type Difference struct {
	Layer int `json:"layer"` // from 1, base first
	// Name is a file's in the layer, beginning with a slash, or that of one of
	// the store's own files beside it, without.
	Name      string `json:"name"`
	Attribute string `json:"attribute"` // such as "mode", "content", "file" for one that is missing or extra
	Expected  string `json:"expected"`
	Found     string `json:"found"`
	// Warning is set for what does no harm: a modification time.
	Warning bool `json:"warning,omitempty"`
}

// String is one line; a name that cannot stand on one as it is comes quoted.
func (d Difference) String() string {
	name := d.Name
	if !shell.Displayable(name) {
		name = strconv.Quote(name)
	}
	return fmt.Sprintf("layer %d: %s: %s: expected %s, found %s", d.Layer, name, d.Attribute, d.Expected, d.Found)
}

// Report is what Verify found.
type Report struct {
	Checks      []Check      `json:"checks"`
	Differences []Difference `json:"differences"`
	Notes       []string     `json:"notes"` // what could not be checked, and why
}

// OK reports whether every check matches.
func (r *Report) OK() bool {
	return !slices.ContainsFunc(r.Checks, func(c Check) bool { return c.Verdict != Match })
}

// Failed returns the checks that do not match.
func (r *Report) Failed() []Check {
	return slices.DeleteFunc(slices.Clone(r.Checks), func(c Check) bool { return c.Verdict == Match })
}

func (r *Report) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(r.Notes, n) {
		r.Notes = append(r.Notes, n)
	}
}

// VerifyOptions configures [Store.Verify]. The zero value is ready to use.
type VerifyOptions struct {
	// Jobs is how many layers and blobs are read at once; 0 is one per CPU.
	Jobs int
	// Progress, when not nil, is told how many of the bytes of a layer's tar
	// have been hashed, from several goroutines. layer counts from 1.
	Progress func(layer int, done, total int64)
}

func (o VerifyOptions) jobs() int { return cmp.Or(max(o.Jobs, 0), runtime.GOMAXPROCS(0)) }

// Verify proves an image again from what is on disk now: index, manifest and
// config, the compressed layers that are kept, and the lower dirs. A lower dir
// is proved in two steps. Its tar is made anew of the layer's record and the
// files, and must have the diff ID: that covers content, and every header. Then
// type, mode, owner, attributes, target, device number, hard links and time of
// each file must be as those headers, the rules of unpacking and the layers
// below say, and no file may be missing or too much. Nothing is changed.
//
// What is wrong is in the report; an error is that of reading, or ctx's.
func (s *Store) Verify(ctx context.Context, img Image, o VerifyOptions) (*Report, error) {
	r := &Report{Checks: []Check{}, Differences: []Difference{}, Notes: []string{}}
	ids, blobs, err := s.verifyDocuments(ctx, img, r)
	if err != nil {
		return nil, err
	}
	if ids == nil {
		r.note("the layers cannot be checked before manifest and config are right")
		return r, nil
	}
	held := make([]digest.Digest, len(blobs))
	for i, b := range blobs {
		held[i] = b.desc.Digest
	}
	if err := s.Hold(ctx, ChainIDs(ids), held); err != nil {
		return nil, err
	}
	blobChecks, err := s.verifyBlobs(ctx, blobs, o)
	if err != nil {
		return nil, err
	}
	r.Checks = append(r.Checks, blobChecks...)
	if err := s.verifyLayers(ctx, ids, blobs, o, r); err != nil {
		return nil, err
	}
	slices.SortStableFunc(r.Differences, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.Layer, b.Layer), strings.Compare(a.Name, b.Name))
	})
	return r, nil
}

// verifyLayers checks the lower dirs.
func (s *Store) verifyLayers(ctx context.Context, ids []digest.Digest, blobs []blobState, o VerifyOptions, r *Report) error {
	v, err := s.newVerifier(ids, o, r)
	if err != nil {
		return err
	}
	defer v.close()
	if err := v.run(ctx, func(int) bool { return true }); err != nil {
		return err
	}
	for i, p := range v.proofs {
		check := v.check(p)
		// An image that was only pulled has blobs and no lower dirs.
		if p.absent && i < len(blobs) && blobs[i].kept {
			continue
		}
		r.Checks = append(r.Checks, check)
	}
	v.notes()
	return nil
}

// notes says once what could not be checked.
func (v *verifier) notes() {
	switch {
	case v.owners:
	case !v.format.Squashed:
		v.report.note("owners were not compared, for this process sees other users than the one that unpacked (%s)", v.format)
	default:
		v.report.note("owners cannot be proved on disk, for the store keeps all files as the user's who unpacked them; the true ones are in the layers' records")
	}
	if v.unseen.Load() {
		v.report.note("extended attributes trusted.* cannot be seen without CAP_SYS_ADMIN and were not checked")
	}
}
