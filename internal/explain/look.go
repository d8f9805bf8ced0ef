package explain

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/internal/human"
	"github.com/byhand/byhand/internal/shell"
	"github.com/byhand/byhand/pull"
)

// LayerFacts are what a layer's archive holds.
type LayerFacts struct {
	Entries, Files, Whiteouts, Opaques int
	TarBytes, Wasted                   int64
}

// History tells how the steps of a build are paired with the layers.
func (n *Narrator) History(img *pull.Image) {
	if n == nil {
		return
	}
	n.Image(img)
	layers := 0
	for _, h := range img.Spec.History {
		if !h.EmptyLayer {
			layers++
		}
	}
	e := Event{
		Kind: "history", Title: fmt.Sprintf("the config names %s, %d of them with a layer", human.Count(len(img.Spec.History), "step"), layers),
		Facts: []Fact{{Name: "steps", Value: len(img.Spec.History), Silent: true}, {Name: "layers", Value: layers, Silent: true}},
		Notes: []string{"Nothing says which layer is a step's: those that are not marked empty_layer take the layers in order, base first. Sizes are those of the manifest."},
	}
	n.mu.Lock()
	manifest, config := n.files[img.Manifest.Descriptor.Digest], n.files[img.Config.Descriptor.Digest]
	n.mu.Unlock()
	if config != "" {
		e.Shell = append(e.Shell, `jq -r '(.history // [])[] | (if .empty_layer then "-" else "layer" end) + " " + (.created_by // "")' `+shell.Quote(config))
	}
	if manifest != "" {
		e.Shell = append(e.Shell, "jq -r '.layers[] | [.size, .digest] | @tsv' "+shell.Quote(manifest))
	}
	n.w.Put(e)
}

// Tree tells that the layers were read into one tree. Where a layer was read
// from the directory that the store has unpacked it to, lowers has that.
func (n *Narrator) Tree(img *pull.Image, lowers []string) {
	if n == nil {
		return
	}
	n.mu.Lock()
	n.lowers = lowers
	n.mu.Unlock()
	e := Event{
		Kind: "tree", Title: fmt.Sprintf("read %s, base first, into one tree in memory: nothing is unpacked", human.Count(len(img.Layers), "layer")),
		Facts: []Fact{{Name: "layers", Value: len(img.Layers), Silent: true}},
		Notes: []string{"Of each name the topmost layer decides. A file .wh.NAME hides NAME in the layers below, .wh..wh..opq all that they have in its directory."},
	}
	for i := range img.Layers {
		switch p := n.place(i); {
		case p.dir:
			e.Shell = append(e.Shell, "find "+p.quoted()+" -mindepth 1 | wc -l")
		case p.path != "":
			e.Shell = append(e.Shell, "tar -tf "+p.quoted()+" | wc -l")
		}
	}
	n.w.Put(e)
}

// place is where a layer's content is by hand.
type place struct {
	path string // "" for none that a command could use
	dir  bool   // a lower dir, not an archive
}

func (p place) quoted() string { return shell.Quote(p.path) }

// place returns that of layer i, counted from 0.
func (n *Narrator) place(i int) place {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.image == nil || i >= len(n.image.Layers) {
		return place{}
	}
	if i < len(n.lowers) && n.lowers[i] != "" {
		return place{n.lowers[i], true}
	}
	d := n.image.Layers[i].Descriptor.Digest
	file := n.files[d]
	if n.image.Reference.Transport == pull.Registry && !n.fetched[file] {
		file = blobIn(n.store, d)
	}
	return place{path: file}
}

// Counted tells what is in layer number, from 1.
func (n *Narrator) Counted(number int, f LayerFacts) {
	if n == nil {
		return
	}
	e := Event{
		Kind: "counted", Layer: number, Title: fmt.Sprintf("%s, %s, %s, %s; %s of tar",
			human.Count(f.Entries, "entry"), human.Count(f.Files, "file"), human.Count(f.Whiteouts, "whiteout"), human.Count(f.Opaques, "opaque directory"), size(f.TarBytes)),
		Facts: []Fact{
			{Name: "entries", Value: f.Entries, Silent: true},
			{Name: "files", Value: f.Files, Silent: true},
			{Name: "whiteouts", Value: f.Whiteouts, Silent: true},
			{Name: "opaques", Value: f.Opaques, Silent: true},
			{Name: "tarBytes", Value: f.TarBytes, Silent: true},
			{Name: "wasted", Value: f.Wasted, Silent: true},
		},
	}
	if f.Wasted > 0 {
		e.Notes = []string{size(f.Wasted) + " of its files do not show in the image: upper layers delete or replace them."}
	}
	switch p := n.place(number - 1); {
	case p.dir:
		e.Shell = []string{"find " + p.quoted() + ` -mindepth 1 -printf '%M %n %s %P\n'`}
	case p.path != "":
		e.Shell = []string{"tar -tvf " + p.quoted()}
	}
	n.w.Put(e)
}

// Compared tells how layer number is compared with those below it. First says
// that it is the first one that is.
func (n *Narrator) Compared(number int, first bool) {
	if n == nil {
		return
	}
	e := Event{
		Kind: "compared", Layer: number, Title: "its names against those of the layers below",
		Facts: []Fact{{Name: "below", Value: number - 1, Silent: true}},
	}
	if first {
		e.Notes = []string{"Added is what only this layer has, changed what one below has, too, and deleted what a whiteout names. Lists of names do not tell that a layer in between had deleted a name, and what goes with an opaque or deleted directory."}
		for i := range number - 1 {
			e.Shell = append(e.Shell, n.names(i)...)
		}
	}
	if list := n.names(number - 1); list != nil {
		below := []string{"/dev/null"}
		for i := range number - 1 {
			below = append(below, namesFile(i))
		}
		own := namesFile(number - 1)
		e.Shell = append(e.Shell, list...)
		e.Shell = append(e.Shell,
			"cat "+strings.Join(below, " ")+" | LC_ALL=C sort -u > below",
			"LC_ALL=C comm -23 "+own+` below | sed -n '/\.wh\./!s,^,A /,p'`,
			"LC_ALL=C comm -12 "+own+` below | sed -n 's,^,C /,p'`,
			`sed -n '/\.wh\.\.wh\./d; s,\.wh\.,,p' `+own+` | sed 's,^,D /,'`)
	}
	n.w.Put(e)
}

func namesFile(i int) string { return "layer" + strconv.Itoa(i+1) + ".names" }

// names are the commands that list the names in layer i, counted from 0, once.
func (n *Narrator) names(i int) []string {
	p := n.place(i)
	to := " | LC_ALL=C sort -u > " + namesFile(i)
	switch {
	case p.dir:
		return []string{"( find " + p.quoted() + ` -mindepth 1 ! -type c -printf '%P\n'; find ` + p.quoted() + ` -type c -printf '%P\n' | sed 's,[^/]*$,.wh.&,' )` + to}
	case p.path != "":
		return []string{"tar -tf " + p.quoted() + ` | sed 's,^\./*,,; s,/*$,,; /^$/d'` + to}
	}
	return nil
}

// Listed tells where the entries of a listing come from. Name is that of the
// directory or file in the tree, "." for the root.
func (n *Narrator) Listed(given, name string, dir, recursive bool) {
	if n == nil {
		return
	}
	e := Event{Kind: "listed", Title: "list /" + strings.TrimPrefix(name, "."), Facts: []Fact{{Name: "path", Value: given, Silent: true}}}
	if path.Clean("/"+given) != path.Clean("/"+name) {
		e.Notes = []string{given + " leads there through symbolic links, within the image."}
	}
	e.Notes = append(e.Notes, "What each layer has of it, topmost first: the first that has a name, or its whiteout, decides.")
	pattern := strings.TrimPrefix(path.Clean("/"+name), "/")
	if dir {
		pattern = path.Join(escapePattern(pattern), "*")
	} else {
		pattern = escapePattern(pattern)
	}
	options := " --wildcards --no-wildcards-match-slash --no-recursion "
	if recursive {
		options = " --wildcards "
	}
	for i := n.layers() - 1; i >= 0; i-- {
		switch p := n.place(i); {
		case p.dir && recursive:
			e.Shell = append(e.Shell, "find "+shell.Quote(path.Join(p.path, name))+" -mindepth 1 -exec ls -ld {} + 2>/dev/null || :")
		case p.dir:
			e.Shell = append(e.Shell, "ls -lA "+shell.Quote(path.Join(p.path, name))+" 2>/dev/null || :")
		case p.path != "":
			e.Shell = append(e.Shell, "tar -tvf "+p.quoted()+options+shell.Quote(pattern)+" "+shell.Quote("./"+pattern)+" 2>/dev/null || :")
		}
	}
	n.w.Put(e)
}

func (n *Narrator) layers() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.image == nil {
		return 0
	}
	return len(n.image.Layers)
}

// escapePattern makes a pattern of tar's that matches name alone.
func escapePattern(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

// Content tells which layer, from 1, has the content of a file. Name is that in
// the layer's tree, entry the one that the layer's archive gives it.
func (n *Narrator) Content(given, name string, layer int, entry string) {
	if n == nil {
		return
	}
	e := Event{
		Kind: "content", Layer: layer, Title: "has the content of " + given,
		Facts: []Fact{{Name: "path", Value: given, Silent: true}, {Name: "entry", Value: entry}},
	}
	switch p := n.place(layer - 1); {
	case p.dir:
		e.Shell = []string{"cat " + shell.Quote(path.Join(p.path, name))}
	case p.path != "":
		e.Shell = []string{"tar -xOf " + p.quoted() + " -- " + shell.Quote(entry)}
	}
	n.w.Put(e)
}

// Reported tells of a page that was written; file is "" for standard output.
func (n *Narrator) Reported(file string, d digest.Digest) {
	if n == nil {
		return
	}
	e := Event{Kind: "report", Title: "the page, on standard output", Notes: []string{"All that it shows is in the manifest, the config and the layers' archives, which the commands above read."}}
	if file != "" {
		e.Title = "the page, in " + file
		e.Facts = []Fact{{Name: "file", Value: file, Silent: true}, {Name: "digest", Value: d.String()}}
		e.Shell = []string{sum(d) + " " + shell.Quote(absolute(file))}
	}
	n.w.Put(e)
}

// Forgotten tells that images were taken off the store's list.
func (n *Narrator) Forgotten(names []string) {
	if n == nil || len(names) == 0 {
		return
	}
	n.mu.Lock()
	index := path.Join(n.store, ocispec.ImageIndexFile)
	n.mu.Unlock()
	e := Event{Kind: "forgotten", Title: "take " + human.Count(len(names), "image") + " off the store's list", Facts: []Fact{{Name: "names", Value: names}}}
	e.Notes = []string{"First the list, then what only they needed: whoever is interrupted leaves nothing that is listed and not there."}
	e.Shell = []string{`jq -r '.manifests[] | .annotations."` + ocispec.AnnotationRefName + `"' ` + shell.Quote(index)}
	n.w.Put(e)
}

// Pruned tells what the store needs and what it has.
func (n *Narrator) Pruned() {
	if n == nil {
		return
	}
	n.mu.Lock()
	index, blobs := shell.Quote(path.Join(n.store, ocispec.ImageIndexFile)), path.Join(n.store, "blobs")
	n.mu.Unlock()
	n.w.Put(Event{
		Kind: "store", Title: "keep what the store's list leads to: index, manifest, config, layers",
		Notes: []string{"What the store has and nothing refers to goes. Afterwards the last command finds nothing."},
		Shell: []string{
			`jq -r '.manifests[] | .digest, (.annotations."io.byhand.index" // empty)' ` + index + ` | tr : / | while read -r m; do echo "$m"; jq -r '.. | .digest? // empty' ` +
				shell.Quote(blobs) + `/"$m" | tr : /; done | LC_ALL=C sort -u > needed`,
			"find " + shell.Quote(blobs) + ` -type f -printf '%P\n' | LC_ALL=C sort > there`,
			"LC_ALL=C comm -13 needed there",
		},
	})
}
