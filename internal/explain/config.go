package explain

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/byhand/byhand/bundle"
	"github.com/byhand/byhand/internal/human"
	"github.com/byhand/byhand/internal/shell"
)

// Field is a field of config.json and where its value comes from.
type Field struct {
	Field string          `json:"field"`
	Value json.RawMessage `json:"value,omitempty"` // null: kept to itself
	From  string          `json:"from"`
}

// Config tells where each field of the config.json in dir comes from. Gone says
// that it is removed at the end.
func (n *Narrator) Config(dir string, r bundle.Result, gone bool) {
	if n == nil {
		return
	}
	path := absolute(filepath.Join(dir, "config.json"))
	fields := origins(r)
	e := Event{Kind: "config", Title: "write " + path, Facts: []Fact{
		{Name: "path", Value: path, Silent: true}, {Name: "fields", Value: fields, Silent: true},
	}}
	for _, f := range fields {
		if f.Field == "process.env" || f.Field == "mounts" {
			continue // told one by one
		}
		e.Notes = append(e.Notes, fmt.Sprintf("%s = %s ← %s", f.Field, brief(f.Value), f.From))
	}
	if !gone {
		e.Shell = []string{"jq '.process, .mounts' " + shell.Quote(path)}
	}
	n.w.Put(e)
}

// origins finds the values of the fields.
func origins(r bundle.Result) []Field {
	var doc map[string]any
	if raw, err := json.Marshal(r.Spec); err != nil || json.Unmarshal(raw, &doc) != nil {
		return nil
	}
	var fields []Field
	for _, o := range r.Origins {
		value, ok := find(doc, o.Field)
		if !ok {
			continue // left out, as empty fields are
		}
		f := Field{Field: o.Field, From: o.From}
		if !strings.Contains(o.From, "--env") || strings.HasSuffix(o.Field, ".env") {
			f.Value = compact(value)
		}
		if o.Field == "process.env" {
			f.Value = nil // one by one; what --env brings may be a secret
		}
		fields = append(fields, f)
	}
	return fields
}

// find looks up process.args, process.env[PATH] or mounts[/proc].
func find(doc map[string]any, field string) (any, bool) {
	name, key, keyed := strings.Cut(strings.TrimSuffix(field, "]"), "[")
	var v any = doc
	for part := range strings.SplitSeq(name, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = m[part]; !ok {
			return nil, false
		}
	}
	if !keyed {
		return v, true
	}
	list, _ := v.([]any)
	for _, item := range list {
		switch item := item.(type) {
		case string:
			if n, value, _ := strings.Cut(item, "="); n == key {
				return value, true
			}
		case map[string]any:
			if item["destination"] == key {
				return item, true
			}
		}
	}
	return nil, false
}

func compact(v any) json.RawMessage {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) != nil {
		return nil
	}
	return json.RawMessage(strings.TrimSpace(b.String()))
}

// brief is a value for people: whole where it is short.
func brief(raw json.RawMessage) string {
	const most = 240
	if raw == nil {
		return "(not shown)"
	}
	var v any
	_ = json.Unmarshal(raw, &v)
	if m, ok := v.(map[string]any); ok && m["destination"] != nil {
		var options []string
		list, _ := m["options"].([]any)
		for _, o := range list {
			options = append(options, fmt.Sprint(o))
		}
		return fmt.Sprintf("%v %v (%s)", m["type"], m["source"], strings.Join(options, ","))
	}
	if len(raw) <= most {
		return string(raw)
	}
	switch v := v.(type) {
	case []any:
		return fmt.Sprintf("[%s]", human.Count(len(v), "entry"))
	case map[string]any:
		return fmt.Sprintf("{%s}", human.Count(len(v), "member"))
	}
	return string(raw[:most]) + "…"
}
