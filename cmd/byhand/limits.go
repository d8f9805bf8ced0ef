package main

import (
	"errors"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/byhand/byhand/pull"
	"github.com/byhand/byhand/unpack"
)

// limits are all that --limit can set: each is a field of one of these
// structs, and is called by its name in lower case with dashes.
type limits struct {
	pull   pull.Limits
	retry  pull.RetryPolicy
	unpack unpack.Limits
}

// parseLimits reads NAME=VALUE settings. A value is a number, with K, M, G
// or T for powers of 1024, or a duration where the limit is one.
func parseLimits(settings []string) (limits, error) {
	var l limits
	for _, s := range settings {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return l, usagef("--limit %q: expected NAME=VALUE", s)
		}
		field, names := l.field(name)
		if !field.IsValid() {
			return l, usagef("--limit %s: there is no limit %q; there are %s", s, name, strings.Join(names, ", "))
		}
		if err := setLimit(field, value); err != nil {
			return l, usagef("--limit %s: %v", s, err)
		}
	}
	return l, nil
}

func (l *limits) field(name string) (reflect.Value, []string) {
	var names []string
	for _, group := range []any{&l.pull, &l.retry, &l.unpack} {
		v := reflect.ValueOf(group).Elem()
		for i := range v.NumField() {
			n := kebab(v.Type().Field(i).Name)
			if n == kebab(name) || n == name {
				return v.Field(i), nil
			}
			names = append(names, n)
		}
	}
	return reflect.Value{}, names
}

// limitRemedy says how the limit is raised that err comes from, if it comes
// from one that can be.
func limitRemedy(err error) string {
	name := ""
	if e, ok := errors.AsType[*pull.LimitError](err); ok {
		name = e.Limit
	} else if e, ok := errors.AsType[*unpack.LimitError](err); ok {
		name = e.Limit
	}
	var l limits
	if field, _ := l.field(name); !field.IsValid() {
		return ""
	}
	return "; --limit " + kebab(name) + "=VALUE sets it"
}

func setLimit(field reflect.Value, value string) error {
	if field.Type() == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(value)
		if err == nil && d <= 0 {
			err = usagef("a duration above zero is needed")
		}
		field.SetInt(int64(d))
		return err
	}
	n, err := parseSize(value)
	field.SetInt(n)
	return err
}

// parseSize reads a count or a number of bytes.
func parseSize(s string) (int64, error) {
	unit := int64(1)
	if n := len(s); n > 0 {
		if i := strings.IndexByte("KMGT", s[n-1]&^0x20); i >= 0 && s[n-1] >= 'A' {
			unit <<= 10 * (i + 1)
			s = s[:n-1]
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 || n > (1<<63-1)/unit {
		return 0, usagef("expected a number above zero such as 500, 64M or 10G")
	}
	return n * unit, nil
}

// kebab turns HeaderSize and UIDMaps into header-size and uid-maps.
func kebab(name string) string {
	var b strings.Builder
	for i, r := range name {
		upper := r >= 'A' && r <= 'Z'
		if upper && i > 0 && !(name[i-1] >= 'A' && name[i-1] <= 'Z') && name[i-1] != '-' {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
