package pull_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/byhand/byhand/pull"
)

func TestParsePlatform(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want string // "": ReferenceError
	}{
		{"linux/amd64", "linux/amd64"},
		{"linux/arm64/v8", "linux/arm64"},
		{"linux/arm64/v9", "linux/arm64/v9"},
		{"linux/arm", "linux/arm/v7"},
		{"linux/arm/v6", "linux/arm/v6"},
		{"linux/arm/6", "linux/arm/v6"},
		{"Linux/AMD64", "linux/amd64"},
		{"linux/x86_64", "linux/amd64"},
		{"linux/aarch64", "linux/arm64"},
		{"linux/armhf", "linux/arm/v7"},
		{"linux/i386", "linux/386"},
		{"linux/amd64/v1", "linux/amd64"},
		{"linux/amd64/v3", "linux/amd64/v3"},
		{"arm64", "linux/arm64"},
		{"linux", "linux/" + runtime.GOARCH},
		{"windows/amd64", "windows/amd64"},
		{"plan9/mips", "plan9/mips"},
		{"", ""},
		{"/", ""},
		{"linux/", ""},
		{"linux//v7", ""},
		{"linux/amd64/v1/x", ""},
		{"linux/am d64", ""},
		{"nonsense", ""},
		{"linux/amd64\n", ""},
	} {
		p, err := pull.ParsePlatform(tt.in)
		var re *pull.ReferenceError
		switch {
		case tt.want == "" && !errors.As(err, &re):
			t.Errorf("%q: %v, %v; want a ReferenceError", tt.in, p, err)
		case tt.want == "":
		case err != nil || pull.FormatPlatform(p) != tt.want:
			t.Errorf("%q: %s, %v; want %s", tt.in, pull.FormatPlatform(p), err, tt.want)
		}
	}
}

func FuzzParsePlatform(f *testing.F) {
	for _, s := range []string{"linux/amd64", "linux/arm/v7", "arm64/v8", "x86_64", "a/b/c/d", "linux/arm/8", "a/arm/vv7"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := pull.ParsePlatform(s)
		if err != nil {
			return
		}
		again, err := pull.ParsePlatform(pull.FormatPlatform(p))
		if err != nil {
			t.Fatalf("%q gives %q, which is refused: %v", s, pull.FormatPlatform(p), err)
		}
		if diff := cmp.Diff(p, again); diff != "" {
			t.Errorf("%q: %s", s, diff)
		}
	})
}

func TestServes(t *testing.T) {
	here := pull.Platform{OS: "linux", Architecture: runtime.GOARCH}
	for _, tt := range []struct {
		want, have string
		serves     bool
	}{
		{"linux/amd64", "linux/amd64", true},
		{"linux/amd64", "linux/x86_64", true},
		{"linux/amd64", "linux/amd64/v1", true},
		{"linux/amd64", "linux/amd64/v3", false},
		{"linux/amd64/v3", "linux/amd64", true},
		{"linux/amd64", "linux/386", false},
		{"linux/arm/v7", "linux/arm/v6", true},
		{"linux/arm/v6", "linux/arm/v7", false},
		{"linux/arm64", "linux/arm64/v8", true},
		{"linux/arm64", "/arm64", true},
		{"linux/arm64", "linux/", true},
		{"linux/arm64", "windows/arm64", false},
	} {
		want, err := pull.ParsePlatform(tt.want)
		if err != nil {
			t.Fatal(err)
		}
		part := append(strings.Split(tt.have, "/"), "")
		have := pull.Platform{OS: part[0], Architecture: part[1], Variant: part[2]}
		if got := pull.Serves(want, have); got != tt.serves {
			t.Errorf("Serves(%s, %s) = %v", tt.want, tt.have, got)
		}
	}
	if !pull.Serves(pull.Platform{}, here) || pull.Serves(pull.Platform{}, pull.Platform{OS: "linux", Architecture: "mips"}) {
		t.Error("the zero platform is not this machine")
	}
}
