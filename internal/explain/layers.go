package explain

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/human"
	"github.com/byhand/byhand/internal/shell"
	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
	"github.com/byhand/byhand/unpack"
)

// Image tells what an image consists of: manifest, config, layers, diff IDs,
// chain IDs; once for each image.
func (n *Narrator) Image(img *pull.Image) {
	if n == nil {
		return
	}
	n.mu.Lock()
	known := n.image != nil && n.image.Manifest.Descriptor.Digest == img.Manifest.Descriptor.Digest && len(n.image.Layers) == len(img.Layers)
	n.image = img
	if known {
		n.mu.Unlock()
		return
	}
	for i, l := range img.Layers {
		if n.files[l.Descriptor.Digest] == "" {
			n.files[l.Descriptor.Digest] = n.layerFile(i+1, l)
		}
	}
	manifest, config := n.files[img.Manifest.Descriptor.Digest], n.files[img.Config.Descriptor.Digest]
	n.mu.Unlock()
	e := Event{
		Kind: "image", Title: fmt.Sprintf("%s: manifest → config → %s", img.Reference, human.Count(len(img.Layers), "layer")),
		Facts: []Fact{
			{Name: "name", Value: img.Reference.String(), Silent: true},
			{Name: "manifest", Value: img.Manifest.Descriptor.Digest.String()},
			{Name: "config", Value: img.Config.Descriptor.Digest.String()},
			{Name: "layers", Value: len(img.Layers), Silent: true},
		},
		Notes: []string{"The manifest names the blobs, and the config the diff IDs, in the same order."},
	}
	if manifest != "" {
		e.Shell = append(e.Shell, "jq -r '.config.digest, .layers[].digest' "+shell.Quote(manifest))
	}
	if config != "" {
		e.Shell = append(e.Shell, "jq -r '.rootfs.diff_ids[]' "+shell.Quote(config))
	}
	n.w.Put(e)
	n.chain(img)
}

// layerFile names the file for a layer's blob. The caller holds the lock.
func (n *Narrator) layerFile(number int, l *pull.Layer) string {
	switch n.image.Reference.Transport {
	case pull.OCI, pull.OCIArchive:
		return blobIn(n.layout, l.Descriptor.Digest)
	case pull.DockerArchive:
		return "" // its names are its own
	case pull.Registry:
	}
	name := "layer" + strconv.Itoa(number) + ".tar"
	switch decompressor(l.Descriptor.MediaType) {
	case "gzip":
		name += ".gz"
	case "zstd":
		name += ".zst"
	}
	return name
}

// chain tells how the chain IDs come about.
func (n *Narrator) chain(img *pull.Image) {
	diffs := make([]digest.Digest, len(img.Layers))
	for i, l := range img.Layers {
		diffs[i] = l.DiffIDValue
	}
	chains := overlay.ChainIDs(diffs)
	for i, l := range img.Layers {
		e := Event{
			Kind: "chain", Layer: i + 1, Title: fmt.Sprintf("blob → diff ID → chain ID, %s", size(l.Descriptor.Size)), Facts: []Fact{
				{Name: "mediaType", Value: l.Descriptor.MediaType, Silent: true},
				{Name: "bytes", Value: l.Descriptor.Size, Silent: true},
				{Name: "blob", Value: l.Descriptor.Digest.String()},
				{Name: "diffId", Label: "diff ID", Value: l.DiffIDValue.String()},
				{Name: "chainId", Label: "chain ID", Value: chains[i].String()},
			},
		}
		if i == 0 {
			e.Notes = []string{"With nothing below, the chain ID is the diff ID."}
		} else {
			if i == 1 {
				e.Notes = []string{`chain ID = sha256("CHAIN DIFF"): of the chain ID of the layer below, a space, and the diff ID`}
			}
			e.Shell = []string{fmt.Sprintf("printf '%%s %%s' %s %s | sha256sum", chains[i-1], l.DiffIDValue)}
		}
		n.w.Put(e)
	}
}

// Blob tells that the store has a layer's blob: before (there), or now.
func (n *Narrator) Blob(d digest.Digest, there bool) {
	if n == nil {
		return
	}
	n.mu.Lock()
	path := blobIn(n.store, d)
	layer := n.layerOfLocked(d)
	n.mu.Unlock()
	title := "the blob is in the store now: blobs/…/" + strings.TrimPrefix(short(d), "sha256:")
	if there {
		title = "the blob is in the store already: nothing is fetched"
	}
	n.w.Put(Event{Kind: "blob", Layer: layer, Title: title, Facts: []Fact{
		{Name: "path", Value: path, Silent: true}, {Name: "present", Value: there, Silent: true},
	}})
}

// Overlay tells of an event of the store. Warnings are left to the caller.
func (n *Narrator) Overlay(e overlay.Event) {
	if n == nil {
		return
	}
	out := Event{Layer: e.Index, Facts: []Fact{{Name: "chainId", Value: e.ChainID.String(), Silent: true}}}
	switch e.Kind {
	case overlay.EventPresent:
		out.Kind, out.Title = "layer", "unpacked in the store already: nothing is fetched"
		out.Facts = append(out.Facts, Fact{Name: "directory", Value: e.Layer.Dir}, Fact{Name: "present", Value: true, Silent: true})
	case overlay.EventWaiting:
		out.Kind, out.Title = "wait", "another process is unpacking it; waiting for that"
	case overlay.EventAdopted:
		out.Kind, out.Title = "unpacked", "unpacked and verified by a command that did not get to its end: nothing is fetched"
	case overlay.EventUnpacked:
		n.unpacked(&out, e)
	case overlay.EventSettled:
		if e.Index == 1 && len(e.Unpacked.Pending.HardLinks) == 0 {
			return // there is nothing below
		}
		n.settled(&out, e.Unpacked.Pending)
	case overlay.EventCommitted:
		out.Kind, out.Title = "layer", "in the store, by one rename"
		out.Facts = append(out.Facts, Fact{Name: "directory", Value: e.Layer.Dir}, Fact{Name: "link", Value: e.Layer.Link},
			Fact{Name: "bytes", Value: e.Layer.Bytes}, Fact{Name: "present", Value: false, Silent: true})
	case overlay.EventRetry:
		n.mismatch("", e.Index, e.Err)
		out.Kind, out.Title = "retry", "what came was damaged; fetching it once more"
		out.Facts = append(out.Facts, Fact{Name: "because", Value: e.Err.Error()})
	case overlay.EventStarted, overlay.EventWarning:
		return
	}
	n.w.Put(out)
}

// unpacked tells what a layer's tar held.
func (n *Narrator) unpacked(out *Event, e overlay.Event) {
	c := e.Unpacked.Counts
	out.Kind, out.Title = "unpacked", fmt.Sprintf("unpacked into staging: %s of content in %s of tar", size(e.Unpacked.Bytes), size(e.Unpacked.TarSize))
	var list []string
	for _, k := range []struct {
		n    int
		name string
	}{
		{c.Files, "file"},
		{c.Dirs, "directory"},
		{c.Implicit, "implied directory"},
		{c.Symlinks, "symbolic link"},
		{c.HardLinks, "hard link"},
		{c.Devices, "device"},
		{c.FIFOs, "FIFO"},
		{c.Whiteouts, "whiteout"},
		{c.Opaques, "opaque directory"},
	} {
		out.Facts = append(out.Facts, Fact{Name: camel(k.name) + "Count", Value: k.n, Silent: true})
		if k.n > 0 {
			list = append(list, human.Count(k.n, k.name))
		}
	}
	out.Facts = append(out.Facts,
		Fact{Name: "bytes", Value: e.Unpacked.Bytes, Silent: true}, Fact{Name: "tarBytes", Value: e.Unpacked.TarSize, Silent: true},
		Fact{Name: "whiteouts", Value: listed(e.Whiteouts), Silent: len(e.Whiteouts) == 0},
		Fact{Name: "opaques", Value: listed(e.Opaques), Silent: len(e.Opaques) == 0})
	out.Notes = append([]string{human.Count(c.Entries, "entry") + ": " + strings.Join(list, ", ")}, skipped(e.Unpacked.Skipped)...)
	if max(len(e.Whiteouts), len(e.Opaques), len(e.Unpacked.Pending.ImplicitDirs)) > maxNames {
		out.Notes = append(out.Notes, fmt.Sprintf("The commands have the first %d names of a kind.", maxNames))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.image != nil && e.Index <= len(n.image.Layers) {
		out.Shell = tarCommands(e, n.files[n.image.Layers[e.Index-1].Descriptor.Digest], n.userXattr)
	}
}

// listed is never nil, so that the JSON has a list.
func listed(names []string) []string {
	if len(names) > maxNames {
		return append(append([]string{}, names[:maxNames]...), fmt.Sprintf("… and %d more", len(names)-maxNames))
	}
	return append([]string{}, names...)
}

func skipped(skips []unpack.Skip) []string {
	var notes []string
	for _, s := range skips {
		notes = append(notes, "not kept: "+s.String())
	}
	return notes
}

// maxNames bounds how many names of a layer are told.
const maxNames = 20

// tarCommands unpack a layer into lower/N as overlayfs wants it.
func tarCommands(e overlay.Event, file string, userXattr bool) []string {
	if file == "" {
		return nil
	}
	opaque := "trusted.overlay.opaque"
	if userXattr {
		opaque = "user.overlay.opaque"
	}
	dir := "lower/" + strconv.Itoa(e.Index)
	in := func(name string) string { return shell.Quote(dir + "/" + name) }
	cmds := []string{"mkdir -p " + dir}
	// Whiteouts come first: tar gives their directories back their times.
	for _, name := range first(e.Whiteouts) {
		if slash := strings.LastIndexByte(name, '/'); slash > 0 {
			cmds = append(cmds, "mkdir -p "+in(name[:slash]))
		}
		cmds = append(cmds, "mknod "+in(name)+" c 0 0")
	}
	cmds = append(cmds, "tar -xpf "+shell.Quote(file)+" -C "+dir+" --numeric-owner --xattrs --xattrs-include='*' --exclude='.wh.*'")
	for _, name := range first(e.Opaques) {
		cmds = append(cmds, "mkdir -p "+in(name), "setfattr -n "+opaque+" -v y "+in(name))
	}
	if implied := first(e.Unpacked.Pending.ImplicitDirs); len(implied) > 0 {
		var touch strings.Builder
		touch.WriteString("touch -d @0")
		for _, name := range implied {
			touch.WriteString(" " + in(name))
		}
		cmds = append(cmds, touch.String())
	}
	return cmds
}

// first are as many names as are told.
func first(names []string) []string { return names[:min(len(names), maxNames)] }

// settled tells what the layers below have decided.
func (n *Narrator) settled(out *Event, p unpack.Pending) {
	out.Kind, out.Title = "settled", "settled on the layers below"
	dir := "lower/" + strconv.Itoa(out.Layer)
	below := lowers(out.Layer - 1)
	if len(p.ImplicitDirs) > 0 {
		out.Facts = append(out.Facts, Fact{Name: "implied", Value: listed(p.ImplicitDirs)})
		out.Notes = append(out.Notes, "Implied directories take owner, mode and times of what they cover.")
		if len(below) > 0 {
			out.Shell = append(out.Shell, sameAs(p.ImplicitDirs, below, dir))
		}
	}
	for i, l := range p.HardLinks {
		if i == maxNames || len(below) == 0 {
			break
		}
		target := make([]string, len(below))
		for j, b := range below {
			target[j] = shell.Quote(b + "/" + l.Target)
		}
		out.Shell = append(out.Shell, fmt.Sprintf(`ln "$(ls -d %s 2>/dev/null | head -n 1)" %s`, strings.Join(target, " "), shell.Quote(dir+"/"+l.Name)))
	}
	if len(p.HardLinks) > 0 {
		out.Notes = append(out.Notes, human.Count(len(p.HardLinks), "hard link")+" to files of layers below.")
	}
	if len(p.Whiteouts) > 0 {
		out.Notes = append(out.Notes, "A whiteout stays where something below is hidden by it.")
	}
	if p.OpaqueRoot {
		out.Notes = append(out.Notes, "The layer hides all that is below; overlayfs does not look at the root's mark, so each name below is whited out.")
	}
}

// sameAs gives directories of a layer the attributes of the nearest ones below.
func sameAs(names, below []string, dir string) string {
	var quoted []string
	for _, name := range first(names) {
		quoted = append(quoted, shell.Quote(name))
	}
	return fmt.Sprintf(`for d in %s; do for b in %s; do if [ -d "$b/$d" ]; then`+
		` chown --reference="$b/$d" "%s/$d"; chmod --reference="$b/$d" "%s/$d"; touch -r "$b/$d" "%s/$d"; break; fi; done; done`,
		strings.Join(quoted, " "), strings.Join(below, " "), dir, dir, dir)
}

// lowers are the directories of layers 1 to n, by hand, topmost first.
func lowers(n int) []string {
	var list []string
	for i := n; i > 0; i-- {
		list = append(list, "lower/"+strconv.Itoa(i))
	}
	return list
}

// camel makes the name of a fact of a noun: "hard link" is hardLink.
func camel(noun string) string {
	words := strings.Fields(noun)
	for i, w := range words[1:] {
		words[i+1] = strings.ToUpper(w[:1]) + w[1:]
	}
	words[0] = strings.ToLower(words[0])
	return strings.Join(words, "")
}
