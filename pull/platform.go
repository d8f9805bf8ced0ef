package pull

import (
	"runtime"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Platform is an operating system, an architecture and its variant, in the
// words of GOOS and GOARCH (image-spec, "image index").
type Platform = ocispec.Platform

// ParsePlatform reads os/arch[/variant], or one word that is either an
// operating system or an architecture; what is left out is this machine's.
// Common other names (x86_64, aarch64, armhf …) are understood. An error is a
// [*ReferenceError].
func ParsePlatform(s string) (Platform, error) {
	fail := func(reason string) (Platform, error) {
		return Platform{}, &ReferenceError{Input: s, Reason: reason + "; a platform is os/arch[/variant], for example linux/arm64"}
	}
	parts := strings.Split(s, "/")
	for _, p := range parts {
		if p == "" || strings.IndexFunc(p, notPlatformRune) >= 0 {
			return fail("malformed platform")
		}
	}
	for i := range parts {
		parts[i] = strings.ToLower(parts[i])
	}
	switch len(parts) {
	case 1:
		if slices.Contains(knownOS, parts[0]) {
			return normalize(Platform{OS: parts[0], Architecture: runtime.GOARCH}), nil
		}
		p := normalize(Platform{OS: "linux", Architecture: parts[0]})
		if !slices.Contains(knownArch, p.Architecture) {
			return fail("unknown operating system or architecture")
		}
		return p, nil
	case 2:
		return normalize(Platform{OS: parts[0], Architecture: parts[1]}), nil
	case 3:
		return normalize(Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}), nil
	}
	return fail("malformed platform")
}

// FormatPlatform writes p as os/arch[/variant], the form [ParsePlatform] reads.
func FormatPlatform(p Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

var (
	knownOS   = []string{"linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "solaris", "wasi", "wasip1"}
	knownArch = []string{
		"386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle",
		"ppc64", "ppc64le", "riscv64", "s390x", "wasm",
	}
)

func notPlatformRune(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-', r == '.':
		return false
	}
	return true
}

// defaultPlatform is that of this machine. byhand makes Linux containers.
func defaultPlatform() Platform {
	return normalize(Platform{OS: "linux", Architecture: runtime.GOARCH})
}

// Serves reports whether Resolve takes an image for have where p is asked for,
// and says nothing. The zero p is this machine. An image that does not say what
// it is for serves.
func Serves(p, have Platform) bool {
	here := p.OS == ""
	if here {
		p = defaultPlatform()
	}
	return have.Architecture == "" || rank(fallbacks(p, here), withLinux(have)) >= 0
}

// normalize gives the usual names, and leaves out a variant that says nothing:
// arm64/v8 is arm64, amd64/v1 is amd64; plain arm means arm/v7.
func normalize(p Platform) Platform {
	p.OS, p.Architecture, p.Variant = strings.ToLower(p.OS), strings.ToLower(p.Architecture), strings.ToLower(p.Variant)
	if p.OS == "macos" {
		p.OS = "darwin"
	}
	switch p.Architecture {
	case "i386", "i486", "i586", "i686", "x86":
		p.Architecture, p.Variant = "386", ""
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	}
	switch p.Architecture {
	case "amd64":
		if p.Variant == "v1" {
			p.Variant = ""
		}
	case "arm64":
		if p.Variant == "v8" || p.Variant == "8" || p.Variant == "v8.0" {
			p.Variant = ""
		}
	case "arm":
		switch p.Variant {
		case "", "7":
			p.Variant = "v7"
		case "5", "6", "8":
			p.Variant = "v" + p.Variant
		}
	}
	return p
}

// fallbacks lists what runs on p, best first, p itself included: an older
// variant of the same architecture always does. The 32-bit architecture that a
// 64-bit machine also runs is offered only where nobody asked for p by name.
func fallbacks(p Platform, crossArch bool) []Platform {
	p = normalize(p)
	var list []Platform
	add := func(arch string, variants ...string) {
		for _, v := range variants {
			list = append(list, Platform{OS: p.OS, Architecture: arch, Variant: v})
		}
	}
	switch p.Architecture {
	case "amd64":
		add("amd64", older(p.Variant, "v4", "v3", "v2", "")...)
		if crossArch {
			add("386", "")
		}
	case "arm64":
		add("arm64", arm64Variants(p.Variant)...)
		if crossArch {
			add("arm", "v8", "v7", "v6", "v5")
		}
	case "arm":
		add("arm", older(p.Variant, "v8", "v7", "v6", "v5")...)
	default:
		add(p.Architecture, p.Variant)
		if p.Variant != "" {
			add(p.Architecture, "")
		}
	}
	return list
}

// older returns the part of all that starts with v; all is newest first. A
// variant that is not in all stands alone.
func older(v string, all ...string) []string {
	if i := slices.Index(all, v); i >= 0 {
		return all[i:]
	}
	return []string{v}
}

// arm64Variants orders the Armv8 and Armv9 revisions: v9.x includes v8.(x+5).
func arm64Variants(v string) []string {
	if v == "v9" {
		v = "v9.0"
	}
	nine := []string{"v9.7", "v9.6", "v9.5", "v9.4", "v9.3", "v9.2", "v9.1", "v9.0"}
	eight := []string{"v8.9", "v8.8", "v8.7", "v8.6", "v8.5", "v8.4", "v8.3", "v8.2", "v8.1", ""}
	i := slices.Index(nine, v)
	if i < 0 {
		return older(v, eight...)
	}
	list := append(slices.Clone(nine[i:]), "v9")
	from := max(0, i-3) // v9.7 … v9.4 include v8.9, the newest there is
	return append(list, eight[min(from, len(eight)-1):]...)
}

// rank says how well have serves the wanted list of [fallbacks]: 0 is best,
// -1 is not at all.
func rank(want []Platform, have Platform) int {
	have = normalize(have)
	return slices.IndexFunc(want, func(w Platform) bool {
		return w.OS == have.OS && w.Architecture == have.Architecture && w.Variant == have.Variant
	})
}
