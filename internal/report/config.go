package report

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/sys/capability"

	"github.com/byhand/byhand/bundle"
)

// configPart sets the image config beside the config.json made from it.
type configPart struct {
	Image    []field // of the image config
	Runtime  []field // of config.json
	Refused  string  // why there is no config.json
	Warnings []string
	JSON     string // config.json as a whole
}

// field is one field of either, with the fields of the other that belong to it.
type field struct {
	ID, Name string
	Values   []string // one a line
	More     string   // what was left out
	From     string   // of config.json: where it comes from, in words
	Links    string   // IDs on the other side, with spaces between
	LinkText string   // their names, for readers
}

// host is the machine that config.json is made for: not this one, so that the
// page is the same everywhere. It has all that bundles make use of, but the
// seccomp filter, which is another one for each kernel.
func host(arch string) *bundle.Host {
	h := &bundle.Host{Arch: arch, CgroupV2: true, RecursiveReadOnly: true, NetSysctls: true}
	for _, c := range capability.ListKnown() {
		h.Known = append(h.Known, "CAP_"+strings.ToUpper(c.String()))
	}
	h.Bounding = h.Known
	return h
}

func (b *builder) config(ctx context.Context) *configPart {
	part := &configPart{Image: imageFields(b.in.Image.Config.Raw)}
	result, err := bundle.Spec(b.in.Image.Config.Raw, newRootFS(ctx, b.in.Tree), bundle.Options{
		Host: host(b.in.Image.Spec.Architecture), NoSeccomp: true,
	})
	if err != nil {
		part.Refused = printable(err.Error(), maxValue)
		return part
	}
	raw, err := json.MarshalIndent(result.Spec, "", "  ")
	if err != nil {
		part.Refused = printable(err.Error(), maxValue)
		return part
	}
	part.JSON = printableLines(string(raw), maxRaw)
	for _, w := range result.Warnings {
		part.Warnings = append(part.Warnings, printable(w, maxValue))
	}
	for i, o := range result.Origins {
		f := field{ID: fmt.Sprintf("r%d", i), Name: o.Field, From: o.From}
		f.Values, f.More = values(at(raw, strings.Split(o.Field, ".")))
		part.Runtime = append(part.Runtime, f)
	}
	part.join()
	return part
}

// Names of image config fields, as Origins have them.
var (
	configName = regexp.MustCompile(`config\.[A-Z][A-Za-z]*`)
	topName    = regexp.MustCompile(`\b(os|architecture|variant|created|author)\b`)
)

// annotated are the fields that become annotations, whose origin is told with
// an ellipsis (image-spec, conversion.md, "Annotation Fields").
var annotated = []string{
	"os", "architecture", "variant", "os.version", "os.features", "author", "created",
	"config.StopSignal", "config.ExposedPorts", "config.Labels",
}

// join finds which field comes of which.
func (c *configPart) join() {
	for i := range c.Runtime {
		r := &c.Runtime[i]
		names := configName.FindAllString(r.From, -1)
		switch {
		case r.Name == "annotations":
			names = annotated
		case strings.HasPrefix(r.From, "image "):
			names = append(names, topName.FindAllString(r.From, -1)...)
		}
		for j := range c.Image {
			l := &c.Image[j]
			if slices.Contains(names, l.Name) {
				r.link(l)
				l.link(r)
			}
		}
	}
}

func (f *field) link(other *field) {
	f.Links = strings.TrimSpace(f.Links + " " + other.ID)
	if f.LinkText != "" {
		f.LinkText += ", "
	}
	f.LinkText += other.Name
}

// imageFields lists the fields of an image config but those that tell of its
// layers, in the config's order of writing made fixed.
func imageFields(raw []byte) []field {
	var top, config map[string]json.RawMessage
	if json.Unmarshal(raw, &top) != nil {
		return nil
	}
	if json.Unmarshal(top["config"], &config) != nil {
		config = nil
	}
	var list []field
	add := func(name string, value json.RawMessage) {
		f := field{ID: fmt.Sprintf("i%d", len(list)), Name: name}
		if f.Values, f.More = values(value); len(f.Values) > 0 {
			list = append(list, f)
		}
	}
	known := []string{"Entrypoint", "Cmd", "Env", "WorkingDir", "User", "Volumes", "ExposedPorts", "StopSignal", "Labels"}
	for _, name := range known {
		add("config."+name, config[name])
	}
	for _, name := range sortedKeys(config) {
		if !slices.Contains(known, name) && len(list) < maxFields {
			add("config."+printable(name, maxName), config[name])
		}
	}
	for _, name := range []string{"os", "os.version", "os.features", "architecture", "variant", "author", "created"} {
		add(name, top[name])
	}
	return list
}

// The most fields of an image config, and lines of one, that are shown.
const (
	maxFields = 60
	maxLines  = 24
	maxParts  = 60 // of a list within a line
)

func sortedKeys(m map[string]json.RawMessage) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// at returns the value at a path of keys.
func at(raw json.RawMessage, path []string) json.RawMessage {
	for _, key := range path {
		var m map[string]json.RawMessage
		if json.Unmarshal(raw, &m) != nil {
			return nil
		}
		raw = m[key]
	}
	return raw
}

// values writes a JSON value one element a line. What says nothing has none.
func values(raw json.RawMessage) (lines []string, more string) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil, ""
	}
	var list []json.RawMessage
	var object map[string]json.RawMessage
	switch {
	case raw[0] == '[' && json.Unmarshal(raw, &list) == nil:
		for _, v := range list[:min(len(list), maxLines)] {
			lines = append(lines, scalar(v))
		}
	case raw[0] == '{' && json.Unmarshal(raw, &object) == nil:
		for _, k := range sortedKeys(object) {
			if len(lines) == maxLines {
				break
			}
			line := printable(k, maxName)
			if v := scalar(object[k]); v != "{}" {
				line += ": " + v
			}
			lines = append(lines, line)
		}
	default:
		if v := scalar(raw); v != "" {
			lines = []string{v}
		}
	}
	if all := max(len(list), len(object)); all > len(lines) {
		more = fmt.Sprintf("and %s more", thousands(int64(all-len(lines))))
	}
	return lines, more
}

// scalar writes a value on one line, strings without quotes.
func scalar(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil && len(raw) > 0 && raw[0] == '"' {
		return printable(s, maxValue)
	}
	var mount struct {
		Destination, Type, Source string
		Options                   []string
	}
	if json.Unmarshal(raw, &mount) == nil && mount.Destination != "" {
		return printable(fmt.Sprintf("%s  %s from %s (%s)", mount.Destination, mount.Type, mount.Source, strings.Join(mount.Options, ",")), maxValue)
	}
	var list []json.RawMessage
	var object map[string]json.RawMessage
	var parts []string
	switch {
	case json.Unmarshal(raw, &list) == nil && len(list) > 0:
		for _, v := range list[:min(len(list), maxParts)] {
			parts = append(parts, scalar(v))
		}
		return printable(strings.Join(parts, ", "), maxValue)
	case json.Unmarshal(raw, &object) == nil && len(object) == 1 && object["type"] != nil: // a namespace
		return scalar(object["type"])
	case len(object) > 0:
		for _, k := range sortedKeys(object) {
			parts = append(parts, k+" "+scalar(object[k]))
		}
		return printable(strings.Join(parts, ", "), maxValue)
	}
	return printable(string(raw), maxValue)
}
