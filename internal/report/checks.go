package report

import (
	"bytes"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/overlay"
	"github.com/byhand/byhand/pull"
)

// check is one digest: who states it, and what was calculated in this run.
type check struct {
	What       string
	StatedBy   string
	Expected   string // empty where nothing states it
	Calculated string
	Of         string // what was hashed
	Result     string // match, or why there is nothing to compare with
	Match      bool
}

// compare makes a check of a stated digest.
func compare(what, statedBy string, want, got digest.Digest, of string) (check, error) {
	if want != got {
		return check{}, &overlay.DigestError{Object: what, Want: want, Got: got}
	}
	return check{
		What: what, StatedBy: statedBy, Expected: want.String(), Calculated: got.String(),
		Of: of, Result: "match", Match: true,
	}, nil
}

// checks lists the digests of the chain, from the name down. Documents are
// hashed here once more. Layers were hashed by those who read them, compressed
// and uncompressed: their streams end well only where both matched.
func (b *builder) checks() ([]check, error) {
	var list []check
	in, img := b.in, b.in.Image
	statedBy, want := in.statesTop()
	if img.Index != nil {
		c, err := documentCheck("Index", statedBy, want, img.Index)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
		statedBy, want = "index", img.Manifest.Descriptor.Digest
		if !bytes.Contains(img.Index.Raw, []byte(want)) {
			statedBy = "an index inside the index"
		}
	}
	c, err := documentCheck("Manifest", statedBy, want, &img.Manifest)
	if err != nil {
		return nil, err
	}
	list = append(list, c)
	statedBy = "manifest, config"
	if img.Reference.Transport == pull.DockerArchive {
		statedBy = "the archive, where it names files by digest"
	}
	if c, err = documentCheck("Config", statedBy, img.Config.Descriptor.Digest, &img.Config); err != nil {
		return nil, err
	}
	list = append(list, c)
	chain := overlay.ChainIDs(in.diffIDs())
	for i, l := range img.Layers {
		list = append(list, b.layerChecks(i, l, chain)...)
	}
	return list, nil
}

func documentCheck(what, statedBy string, want digest.Digest, d *pull.Document) (check, error) {
	algorithm := d.Descriptor.Digest.Algorithm()
	if !algorithm.Available() {
		algorithm = digest.Canonical
	}
	got, of := algorithm.FromBytes(d.Raw), counted(int64(len(d.Raw)), "byte")
	if want == "" {
		return check{What: what, StatedBy: statedBy, Calculated: got.String(), Of: of, Result: "nothing to compare it with"}, nil
	}
	return compare(what, statedBy, want, got, of)
}

// statesTop tells what vouches for the topmost document, and the digest that
// it has to have: none for a tag of a registry, which names what the registry
// gives, nor for the manifest that is made for an archive of docker save.
func (in *Input) statesTop() (by string, want digest.Digest) {
	img := in.Image
	top := img.Manifest.Descriptor.Digest
	if img.Index != nil {
		top = img.Index.Descriptor.Digest
	}
	switch ref := img.Reference; {
	case ref.Digest != "":
		return "the name", ref.Digest
	case ref.Transport == pull.OCI || ref.Transport == pull.OCIArchive:
		return "index.json", top
	}
	return "", ""
}

func (b *builder) layerChecks(i int, l *pull.Layer, chain []overlay.ChainID) []check {
	blob := l.Descriptor.Digest.String()
	diff := l.DiffID().String()
	stated := fmt.Sprintf("manifest, layers[%d]", i)
	if b.in.Image.Reference.Transport == pull.DockerArchive {
		stated = "the archive, where it names files by digest"
	}
	blobCheck := check{
		What: fmt.Sprintf("Layer %d", i+1), StatedBy: stated,
		Expected: blob, Calculated: blob, Of: counted(l.Descriptor.Size, "byte"), Result: "match", Match: true,
	}
	if !b.in.verified(l) {
		blobCheck.Calculated, blobCheck.Match = "", false
		blobCheck.Of, blobCheck.Result = "", "not at hand: the layer was read from its unpacked directory"
	}
	formula := "the first diff ID"
	if i > 0 {
		formula = fmt.Sprintf("“chain ID %d” + space + “diff ID %d”", i, i+1)
	}
	return []check{
		blobCheck,
		{
			What: fmt.Sprintf("Diff ID %d", i+1), StatedBy: fmt.Sprintf("config, rootfs.diff_ids[%d]", i),
			Expected: diff, Calculated: diff, Of: counted(b.stats[i].TarSize, "byte") + " of tar", Result: "match", Match: true,
		},
		{
			What: fmt.Sprintf("Chain ID %d", i+1), StatedBy: "",
			Calculated: chain[i].String(), Of: formula, Result: "names the lower dir",
		},
	}
}
