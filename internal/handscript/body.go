package handscript

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/byhand/byhand/pull"
)

// body writes everything below the functions.
func (w *writer) body() error {
	w.prepare()
	switch w.Image.Reference.Transport {
	case pull.Registry:
		w.reach()
		if w.Image.Index != nil {
			w.index()
		}
		w.manifest()
	case pull.DockerArchive:
		w.dockerArchive()
	default:
		w.layout()
	}
	for i := range w.plans {
		w.layer(i)
	}
	if err := w.stack(); err != nil {
		return err
	}
	w.volumes()
	return w.config()
}

// inTmp is a file of the script's own.
func inTmp(name string) shell { return shell(`"$tmp/` + name + `"`) }

// index fetches the index and chooses from it.
func (w *writer) index() {
	d := w.Image.Index.Descriptor
	w.note("The name means an index: a list of manifests, one for each platform (image-spec, image-index.md). A tag can be moved; "+
		"this digest is what %s meant when the script was made.", w.Image.Reference)
	w.fetched("index", "index", d)
	entry, position, ok := chosen(w.Image.Index.Raw, w.Image.Manifest.Descriptor)
	if !ok {
		w.note("It leads to the manifest below through an index of its own.")
		return
	}
	w.note("Which of them is this machine's?")
	w.raw("chosen=$(jq -r --arg os " + w.word(entry.OS) + " --arg arch " + w.word(entry.Architecture) + " --arg variant " + w.word(entry.Variant) + ` '
	[.manifests[] | select(.platform.os == $os and .platform.architecture == $arch and (.platform.variant // "") == $variant)]
	| .[` + strconv.Itoa(position) + `].digest' "$tmp/index")` + "\n")
	w.line("expect", "index: the manifest for "+pull.FormatPlatform(entry), w.Image.Manifest.Descriptor.Digest, shell(`"$chosen"`))
}

// chosen finds the platform that an index gives the manifest, and its position
// among the entries for the same platform.
func chosen(index []byte, manifest ocispec.Descriptor) (p pull.Platform, position int, ok bool) {
	var doc ocispec.Index
	if json.Unmarshal(index, &doc) != nil {
		return p, 0, false
	}
	for _, d := range doc.Manifests {
		if d.Digest == manifest.Digest && d.Platform != nil {
			p = *d.Platform
			ok = true
			break
		}
	}
	for _, d := range doc.Manifests {
		if d.Digest == manifest.Digest {
			return p, position, ok
		}
		if d.Platform != nil && d.Platform.OS == p.OS && d.Platform.Architecture == p.Architecture && d.Platform.Variant == p.Variant {
			position++
		}
	}
	return p, 0, false
}

// fetched gets a manifest or an index of a registry.
func (w *writer) fetched(what, file string, d ocispec.Descriptor) {
	w.line("fetch", what, "manifests/"+d.Digest.String(), inTmp(file), d.Size, d.MediaType)
	w.line("verify", what, inTmp(file), d.Digest, d.Size)
}

// manifest gets manifest and config, where the image has one of each.
func (w *writer) manifest() {
	d := w.Image.Manifest.Descriptor
	w.note("The manifest: digests and sizes of the config and of the layers (image-spec, manifest.md).")
	if w.Image.Reference.Transport == pull.Registry {
		w.fetched("manifest", "manifest", d)
	} else {
		w.line("stored", "manifest", inTmp("manifest"), d.Digest, d.Size)
	}
	w.line("expect", "manifest: digest of the config", w.Image.Config.Descriptor.Digest, shell(`"$(jq -r .config.digest "$tmp/manifest")"`))
	w.line("expect", "manifest: number of layers", len(w.Image.Layers), shell(`"$(jq '.layers | length' "$tmp/manifest")"`))
	w.note("The config: what to run, and for each layer its diff ID, the digest of its uncompressed tar (image-spec, config.md). " +
		"The config's own digest is the image ID.")
	w.blob("config", "image-config", w.Image.Config.Descriptor)
	w.line("expect", "config: number of diff IDs", len(w.Image.Layers), shell(`"$(jq '.rootfs.diff_ids | length' "$tmp/image-config")"`))
}

// blob gets a blob that the manifest names.
func (w *writer) blob(what, file string, d ocispec.Descriptor) {
	get := "stored"
	if w.Image.Reference.Transport == pull.Registry {
		get = "blob"
	}
	w.line(get, what, inTmp(file), d.Digest, d.Size)
}

// layout prepares an OCI image layout for reading.
func (w *writer) layout() {
	if w.Image.Reference.Transport == pull.OCI {
		w.note("The image layout: each blob is a file with its digest for a name (image-spec, image-layout.md). " +
			"index.json says which manifest a tag means.")
	} else {
		w.openArchive("The archive is a tar of an image layout: each blob is a file with its digest for a name (image-spec, image-layout.md).")
	}
	w.manifest()
}

// openArchive unpacks an archive of files that are proved one by one later.
func (w *writer) openArchive(text string) {
	w.note("%s", text)
	w.raw("layout=$tmp/source\nmkdir \"$layout\"\n" +
		"tar --extract --file \"$archive\" --directory \"$layout\" --no-same-owner --no-same-permissions || die 4 \"$archive cannot be read\"\n")
}

// dockerArchive finds the image in an archive of docker save.
func (w *writer) dockerArchive() {
	d := w.Image.Config.Descriptor
	w.openArchive("The archive is what docker save writes: manifest.json names, for each image in it, the files with its config and its layers.")
	w.note("Which of the images? The one whose config has the digest that is the image ID. The config says what to run, and for each " +
		"layer its diff ID, the digest of its uncompressed tar (image-spec, config.md).")
	w.raw(`number=0
until
	name=$(jq -er ".[$number].Config" "$layout/manifest.json") || die 4 "$archive does not have the image any more"
	[ -f "$layout/$name" ] && sum=$(` + string(d.Digest.Algorithm()) + `sum <"$layout/$name") && [ "${sum%% *}" = ` + d.Digest.Encoded() + ` ]
do
	number=$((number + 1))
done
`)
	w.line("saved", "config", inTmp("image-config"), d.Digest, d.Size, shell(`"$name"`))
}

// layer gets, unpacks and completes one layer.
func (w *writer) layer(i int) {
	l, p, n := w.Image.Layers[i], w.plans[i], i+1
	what := fmt.Sprintf("layer %d", n)
	w.raw("\n# " + strings.Repeat("-", 78) + "\n")
	w.remark("Layer %d of %d: %s, uncompressed %s.", n, len(w.plans), short(l.Descriptor.Size), short(p.size))
	w.get(i, what)
	w.learn("The diff ID is that of the tar inside: the digest above proves what came, this one what it is.")
	switch p.compression {
	case "":
		w.raw(`mv "$tmp/blob" "$tmp/layer.tar"` + "\n")
	default:
		flags := map[string]string{"gzip": "-dc", "zstd": "-dcq", "bzip2": "-dc"}[p.compression]
		w.raw(p.compression + " " + flags + ` <"$tmp/blob" >"$tmp/layer.tar" || : # what is wrong then, the next line finds` + "\n")
		w.raw(`rm "$tmp/blob"` + "\n")
	}
	w.line("verify", what+", uncompressed", inTmp("layer.tar"), l.DiffID(), p.size)
	w.line("expect", fmt.Sprintf("config: diff ID of layer %d", n), l.DiffID(), shell(fmt.Sprintf(`"$(jq -r '.rootfs.diff_ids[%d]' "$tmp/image-config")"`, i)))
	w.raw(fmt.Sprintf("mkdir lower/%d\n", n))
	w.unpack(n, p)
	if w.flat() {
		w.add(n, p)
	}
}

// get brings a layer's blob.
func (w *writer) get(i int, what string) {
	d := w.Image.Layers[i].Descriptor
	if w.Image.Reference.Transport == pull.DockerArchive {
		w.line("saved", what, inTmp("blob"), d.Digest, d.Size, shell(fmt.Sprintf(`"$(jq -r ".[$number].Layers[%d]" "$layout/manifest.json")"`, i)))
		return
	}
	w.blob(what, "blob", d)
	w.line("expect", "manifest: digest of "+what, d.Digest, shell(fmt.Sprintf(`"$(jq -r '.layers[%d].digest' "$tmp/manifest")"`, i)))
}

// unpack makes a lower dir.
func (w *writer) unpack(n int, p layerPlan) {
	if p.tar {
		words := []any{"extract", fmt.Sprintf("lower/%d", n)}
		if len(p.exclude) > 0 {
			w.learn("Not for tar: these entries of the archive it would understand in another way than Docker does, or they mean another place. They follow below.")
			words = append(words, "--no-recursion", "--anchored", "--no-wildcards")
			for _, name := range p.exclude {
				words = append(words, "--exclude="+name)
			}
		}
		w.line(words...)
	}
	w.steps(p.unlock, "An ordinary user has to be allowed to change what is in these; they get their modes back below.")
	w.steps(p.dirs, "Directories that the layer's paths lead through, at the place where they really are.")
	w.steps(p.moves, "In the layers below, a symbolic link stands where this layer's paths lead through: the files belong where the link points.")
	w.steps(p.files, "What tar could not make.")
	w.steps(p.links, "Hard links to files of layers below.")
	w.steps(p.whiteouts, "What the layer deletes. The names are hidden wherever in the tar the whiteouts stand, and only in the layers below.")
	w.steps(p.opaques, "Directories that hide what the layers below have in them.")
	w.steps(p.meta, "Directories without an entry of their own keep what the layers below say about them: owner, mode, attributes, time. "+
		"Those in which something was done since tar made them get their time back.")
	w.raw("rm \"$tmp/layer.tar\"\n")
}

// add puts a lower dir on top of the flat tree.
func (w *writer) add(n int, p layerPlan) {
	w.steps(p.flat, "What the layer deletes or replaces goes first.")
	w.learn("The files themselves, not copies: one more name for each. Directories become one.")
	w.raw(fmt.Sprintf("cp -al --remove-destination lower/%d/. rootfs/\n", n))
}

// stack makes one tree of the lower dirs.
func (w *writer) stack() error {
	w.raw("\n# " + strings.Repeat("-", 78) + "\n")
	if w.flat() {
		w.remark("All layers are in rootfs now.")
		w.raw("discard lower\n")
		return nil
	}
	top, err := w.Tree.Lookup(".", false)
	if err != nil {
		return err
	}
	w.remark("What the container writes goes to upper. overlayfs shows upper's attributes for the root directory, so they have to be the image's.")
	w.commands(attributes(top, "upper", false))
	if !w.Mount && len(w.spec.Volumes) == 0 {
		return nil
	}
	layers := make([]string, len(w.plans))
	for i := range layers {
		layers[i] = strconv.Itoa(len(layers) - i)
	}
	options := "lowerdir=" + strings.Join(layers, ":") + ",upperdir=../upper,workdir=../work"
	if len(options) >= 4096 {
		return &UnsupportedError{w.Image.Reference.String(), fmt.Sprintf("its %d layers do not fit into one call of mount; use --rootfs flat", len(layers))}
	}
	w.note("All layers, topmost first, as one tree (kernel, filesystems/overlayfs.rst). Short names, because mount takes no more than a page " +
		"of options; the variable keeps util-linux 2.39 from its limit of 255 bytes.")
	w.raw("mounted=maybe\n(cd lower && LIBMOUNT_FORCE_MOUNT2=always mount -t overlay overlay -o " + options + " ../rootfs) || die 1 \"$dir/rootfs: cannot mount the overlay\"\nmounted=yes\n")
	return nil
}

// volumes copies what the image has where it declares volumes.
func (w *writer) volumes() {
	if len(w.spec.Volumes) > 0 {
		w.note("Directories that the image declares as volumes live beside its root file system, and begin with what the image has there.")
		w.raw("mkdir volumes\n")
	}
	for _, v := range w.spec.Volumes {
		e, err := w.Tree.Lookup(v.Destination, true)
		if err != nil {
			w.line("mkdir", v.Source)
			continue
		}
		w.line("cp", "-a", filepath.Join("rootfs", e.Name), v.Source)
	}
	if !w.flat() && !w.Mount && len(w.spec.Volumes) > 0 {
		w.raw("umount rootfs # --no-mount\nmounted=\n")
	}
}
