package explain

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/human"
	"github.com/byhand/byhand/internal/shell"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

// Narrator turns what happens into events. Its methods may be called from several
// goroutines, and do nothing on a nil Narrator.
type Narrator struct {
	w *Writer

	mu        sync.Mutex
	store     string                   // directory of the store
	userXattr bool                     // the store's marks are user.overlay.*
	layout    string                   // where documents come from, if that is a directory
	steps     map[int64]int            // of requests, by the client's number
	token     int                      // the step that asked for a token
	accept    string                   // the media types that manifests are asked for with
	asked     map[string]bool          // addresses that a command was given for
	doc       string                   // the document that came last and was not verified yet
	index     string                   // the index that came last
	files     map[digest.Digest]string // by hand, the content of that digest
	fetched   map[string]bool          // files that a command was given for
	image     *pull.Image
	lowers    []string       // of its layers: where one is unpacked and read from there
	mount     string         // the command for a private mount
	told      map[error]bool // errors that were told
}

// New returns a narrator that writes to w.
func New(w *Writer) *Narrator {
	return &Narrator{
		w: w, steps: map[int64]int{}, asked: map[string]bool{},
		files: map[digest.Digest]string{}, told: map[error]bool{},
		fetched: map[string]bool{},
	}
}

// Say tells a message, such as a warning.
func (n *Narrator) Say(message string) {
	if n != nil {
		n.w.Put(Event{Kind: kindMessage, Title: message})
	}
}

// Reference tells what the name of an image stands for.
func (n *Narrator) Reference(given string, ref pull.Reference) {
	if n == nil {
		return
	}
	title := given + " stands for " + ref.String()
	if given == ref.String() {
		title = "find " + given
	}
	e := Event{Kind: "reference", Title: title, Facts: []Fact{
		{Name: "given", Value: given, Silent: true}, {Name: "name", Value: ref.String(), Silent: true},
	}}
	switch {
	case ref.Transport == pull.Registry:
		e.Facts = append(e.Facts, Fact{Name: "registry", Value: ref.Host}, Fact{Name: "repository", Value: ref.Repository})
	case ref.Transport == pull.OCIArchive:
		const dir = "image"
		n.Layout(dir)
		e.Shell = []string{"mkdir -p " + dir, "tar -xf " + shell.Quote(absolute(ref.Path)) + " -C " + dir}
		e.Facts = append(e.Facts, Fact{Name: "path", Value: ref.Path})
	case ref.Transport == pull.OCI:
		n.Layout(absolute(ref.Path))
		fallthrough
	default:
		e.Facts = append(e.Facts, Fact{Name: "path", Value: ref.Path})
	}
	if ref.Tag != "" {
		e.Facts = append(e.Facts, Fact{Name: "tag", Value: ref.Tag})
	}
	if ref.Digest != "" {
		e.Facts = append(e.Facts, Fact{Name: "digest", Value: ref.Digest.String()})
	}
	n.w.Put(e)
}

// absolute is a path for commands, which run elsewhere.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// Store says where the store is, and whether its marks are user.overlay.*.
func (n *Narrator) Store(dir string, userXattr bool) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.store, n.userXattr = dir, userXattr
}

// Layout says that documents come from the OCI image layout in dir now; "" ends
// that.
func (n *Narrator) Layout(dir string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.layout = dir
}

// Stored tells that the store knows the image by name, or that it does not.
func (n *Narrator) Stored(name string, manifest digest.Digest) {
	if n == nil {
		return
	}
	n.mu.Lock()
	index := filepath.Join(n.store, "index.json")
	n.mu.Unlock()
	e := Event{Kind: "store", Facts: []Fact{{Name: "found", Value: manifest != "", Silent: true}, {Name: "name", Value: name, Silent: true}}}
	if manifest == "" {
		e.Title = "the store does not list " + name + " for this platform"
	} else {
		e.Title = "the store lists " + name
		query := ".manifests[] | select(.annotations.\"" + ocispec.AnnotationRefName + "\" == " + strconv.Quote(name) + ") | .digest"
		e.Facts = append(e.Facts, Fact{Name: "manifest", Value: manifest.String()})
		e.Shell = []string{"jq -r " + shell.Quote(query) + " " + shell.Quote(index)}
	}
	n.w.Put(e)
}

// List tells where the names of the images in the store come from.
func (n *Narrator) List() {
	if n == nil {
		return
	}
	n.mu.Lock()
	index := filepath.Join(n.store, "index.json")
	n.mu.Unlock()
	n.w.Put(Event{
		Kind: "store", Title: "the store is an OCI image layout; its index.json lists the images",
		Shell: []string{`jq -r '.manifests[] | .annotations."` + ocispec.AnnotationRefName + `", .digest' ` + shell.Quote(index)},
	})
}

// Freed tells what was removed from the store.
func (n *Narrator) Freed(f overlay.Freed) {
	if n == nil {
		return
	}
	e := Event{Kind: "freed", Title: fmt.Sprintf("freed %s in %s and %s", size(f.Bytes), human.Count(f.Layers, "layer"), human.Count(f.Blobs, "blob")), Facts: []Fact{
		{Name: "images", Value: append([]string{}, f.Images...), Silent: len(f.Images) == 0},
		{Name: "layers", Value: f.Layers, Silent: true},
		{Name: "blobs", Value: f.Blobs, Silent: true},
		{Name: "bytes", Value: f.Bytes, Silent: true},
	}, Notes: []string{"What an image, a bundle or another process uses stays. A layer is renamed into staging first, so that it is whole or gone."}}
	for _, k := range f.Kept {
		e.Notes = append(e.Notes, "kept "+k.What+", used by "+strings.Join(k.Users, ", "))
	}
	n.w.Put(e)
}

// Failed tells of the error that ends the command with an exit status.
func (n *Narrator) Failed(err error, status int) {
	if n == nil {
		return
	}
	n.mismatch("", 0, err)
	n.w.Put(Event{
		Kind: "failed", Bad: true, Title: fmt.Sprintf("failed, exit status %d", status),
		Facts: []Fact{{Name: "status", Value: status, Silent: true}, {Name: "error", Value: strings.TrimSpace(err.Error())}},
	})
}

// short is a digest as people recognise it.
func short(d digest.Digest) string {
	algorithm, _, _ := strings.Cut(d.String(), ":")
	return algorithm + ":" + human.Short(d) + "…"
}

// sum is the program that calculates digests like d.
func sum(d digest.Digest) string {
	algorithm, _, _ := strings.Cut(d.String(), ":")
	return algorithm + "sum"
}

// size prints bytes for people.
func size(n int64) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}

// blobIn is the path of a blob in a layout.
func blobIn(layout string, d digest.Digest) string {
	algorithm, hex, _ := strings.Cut(d.String(), ":")
	return filepath.Join(layout, "blobs", algorithm, hex)
}
