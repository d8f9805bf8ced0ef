package overlay

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// files compares the store's own files of a layer with what they should say.
func (v *verifier) files(p *layerProof) {
	l := v.store.layout
	p.file(nameLink, p.chain.short())
	if p.index > 0 {
		p.file(nameLower, l.lowerText(p.chains[:p.index]))
	} else if _, err := p.readFile(nameLower); err == nil {
		p.differ(nameLower, "file", "nothing", "file")
	}
	target, err := os.Readlink(l.link(p.chain))
	if want := l.linkTarget(p.chain); err != nil || target != want {
		p.differ("../../"+nameLinks+"/"+p.chain.short(), "target", want, orError(target, err))
	}
	v.layerJSON(p)
}

func (v *verifier) layerJSON(p *layerProof) {
	f, err := v.store.readLayerFile(p.chain)
	var missing *MissingLayerError
	switch {
	case errors.As(err, &missing):
		p.differ(nameLayerJSON, "content", "facts about the layer", "none: "+missing.Reason)
		return
	case err != nil:
		p.differ(nameLayerJSON, "content", "facts about the layer", err.Error())
		return
	}
	var parent ChainID
	if p.index > 0 {
		parent = p.chains[p.index-1]
	}
	for _, fact := range []struct{ key, want, found string }{
		{"diffId", p.diffID.String(), f.DiffID.String()},
		{"parent", parent.String(), f.Parent.String()},
	} {
		if fact.want != fact.found {
			p.differ(nameLayerJSON, fact.key, fmt.Sprintf("%q", fact.want), fmt.Sprintf("%q", fact.found))
		}
	}
	if p.got == p.diffID.Digest() && f.TarSize != p.size {
		p.differ(nameLayerJSON, "tarSize", fmt.Sprint(p.size), fmt.Sprint(f.TarSize))
	}
}

// file compares a small file beside diff.
func (p *layerProof) file(name, want string) {
	if found, err := p.readFile(name); err != nil || found != want {
		p.differ(name, "content", fmt.Sprintf("%q", want), orError(found, err))
	}
}

// readFile reads a file beside diff, or enough of it to see that it is
// another.
func (p *layerProof) readFile(name string) (string, error) {
	const most = 1 << 20
	f, err := openRegular(p.dir.fd, name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	raw, err := io.ReadAll(io.LimitReader(f, most))
	return string(raw), err
}

func orError(found string, err error) string {
	const most = 80
	if err != nil {
		if strings.Contains(err.Error(), unix.ENOENT.Error()) {
			return "nothing"
		}
		return err.Error()
	}
	if len(found) > most {
		found = strings.ToValidUTF8(found[:most-utf8.UTFMax], "") + "…"
	}
	return fmt.Sprintf("%q", found)
}
