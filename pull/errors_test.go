package pull_test

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/pull"
)

func TestErrorTexts(t *testing.T) {
	a, b := digest.FromString("a"), digest.FromString("b")
	many := make([]string, 100)
	for i := range many {
		many[i] = "linux/amd64"
	}
	for _, tt := range []struct {
		err  error
		want []string
	}{
		{&pull.DigestError{Object: "layer 3 of x", Want: a, Got: b}, []string{"verify layer 3 of x: ", "expected digest " + a.String(), "found " + b.String()}},
		{&pull.SizeError{Object: "x", Want: 5, Got: 4}, []string{"verify x: expected 5 bytes, found 4"}},
		{&pull.SizeError{Object: "x", Want: 5, Got: 6}, []string{"found at least 6"}},
		{&pull.LimitError{Object: "x", Limit: "Ratio", Max: 1000, Got: 2000}, []string{"read x: ", "2000", "Ratio", "1000", "raise"}},
		{&pull.NotFoundError{Object: "x"}, []string{"find x: not found"}},
		{&pull.NotFoundError{Object: "x", Available: []string{"a", "b"}}, []string{"there is a, b"}},
		{&pull.PlatformError{Object: "x", Want: "linux/arm", Have: []string{"linux/amd64"}}, []string{"linux/arm", "linux/amd64", "--platform"}},
		{&pull.PlatformError{Object: "x", Want: "linux/arm", Have: many}, []string{"and 60 more"}},
		{&pull.PlatformError{Object: "x", Want: "linux/arm"}, []string{"no image"}},
		{&pull.FormatError{Object: "x", Reason: "line\nbreak \x1b[31mred\xff"}, []string{`line\nbreak \x1b[31mred`}},
		{&pull.UnsupportedError{Object: "x", What: strings.Repeat("long ", 10_000)}, []string{"…"}},
		{&pull.AuthError{Host: "h", Tried: []string{"--creds"}}, []string{"h", "--creds"}},
	} {
		text := tt.err.Error()
		for _, want := range tt.want {
			if !strings.Contains(text, want) {
				t.Errorf("%q lacks %q", text, want)
			}
		}
		if strings.ContainsAny(text, "\n\x1b") || len(text) > 8192 || strings.HasPrefix(text, "failed to") {
			t.Errorf("%q is not one clean line", text)
		}
	}
}
