package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// imageConfig is the part of an image config that a bundle needs.
type imageConfig struct {
	OS, Architecture, Variant, OSVersion, Author, Created string

	OSFeatures []string
	Config     imageProcess
}

type imageProcess struct {
	User, WorkingDir, StopSignal string

	Env, Entrypoint, Cmd  []string
	Volumes, ExposedPorts []string // sorted
	Labels                map[string]string
}

// parseConfig reads the raw config. It does not use struct tags, because
// encoding/json takes "OS" for "os" and JSON's keys are case-sensitive.
func parseConfig(raw []byte) (imageConfig, error) {
	var c imageConfig
	top, err := object("", raw)
	if err != nil {
		return c, err
	}
	inner := fields{}
	if v, ok := top.values["config"]; ok && !isNull(v) {
		if inner, err = object("config", v); err != nil {
			return c, err
		}
	}
	inner.prefix = "config."
	top.str("os", &c.OS)
	top.str("architecture", &c.Architecture)
	top.str("variant", &c.Variant)
	top.str("os.version", &c.OSVersion)
	top.str("author", &c.Author)
	top.str("created", &c.Created)
	top.strs("os.features", &c.OSFeatures)
	p := &c.Config
	inner.str("User", &p.User)
	inner.str("WorkingDir", &p.WorkingDir)
	inner.str("StopSignal", &p.StopSignal)
	inner.strs("Env", &p.Env)
	inner.command("Entrypoint", &p.Entrypoint)
	inner.command("Cmd", &p.Cmd)
	inner.keys("Volumes", &p.Volumes)
	inner.keys("ExposedPorts", &p.ExposedPorts)
	inner.decode("Labels", "an object of strings", &p.Labels)
	if top.err != nil {
		return c, top.err
	}
	if inner.err != nil {
		return c, inner.err
	}
	return c, c.validate()
}

// validate refuses NUL, which ends a string for the kernel but not for us, so
// that what was checked would not be what is used.
func (c *imageConfig) validate() error {
	p := &c.Config
	for _, f := range []struct {
		name   string
		values []string
	}{
		{"config.User", []string{p.User}},
		{"config.WorkingDir", []string{p.WorkingDir}},
		{"config.Env", p.Env},
		{"config.Entrypoint", p.Entrypoint},
		{"config.Cmd", p.Cmd},
		{"config.Volumes", p.Volumes},
	} {
		for _, v := range f.values {
			if strings.ContainsRune(v, 0) {
				return &ConfigError{Field: f.name, Want: "no NUL byte", Got: fmt.Sprintf("%q", v)}
			}
		}
	}
	return nil
}

// fields decodes the members of one JSON object and keeps the first error.
type fields struct {
	prefix string
	values map[string]json.RawMessage
	err    error
}

func object(name string, raw []byte) (fields, error) {
	f := fields{}
	if err := json.Unmarshal(raw, &f.values); err != nil || f.values == nil {
		return f, &ConfigError{Field: name, Want: "a JSON object", Got: sample(raw), Err: err}
	}
	return f, nil
}

func (f *fields) decode(key, want string, into any) {
	v, ok := f.values[key]
	if !ok || isNull(v) || f.err != nil {
		return
	}
	if err := json.Unmarshal(v, into); err != nil {
		f.err = &ConfigError{Field: f.prefix + key, Want: want, Got: sample(v)}
	}
}

func (f *fields) str(key string, into *string) { f.decode(key, "a string", into) }

func (f *fields) strs(key string, into *[]string) { f.decode(key, "an array of strings", into) }

// command reads an array, or the single string that early images have.
func (f *fields) command(key string, into *[]string) {
	if v := bytes.TrimSpace(f.values[key]); len(v) > 0 && v[0] == '"' {
		var one string
		if f.str(key, &one); one != "" {
			*into = []string{one}
		}
		return
	}
	f.strs(key, into)
}

func (f *fields) keys(key string, into *[]string) {
	var set map[string]json.RawMessage
	f.decode(key, "an object", &set)
	if len(set) > 0 {
		*into = slices.Sorted(maps.Keys(set))
	}
}

func isNull(v json.RawMessage) bool { return string(bytes.TrimSpace(v)) == "null" }

// sample shows the start of what was found.
func sample(v []byte) string {
	const most = 40
	s := string(bytes.TrimSpace(v))
	if s == "" {
		return "nothing"
	}
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "?") + "…"
	}
	return s
}
