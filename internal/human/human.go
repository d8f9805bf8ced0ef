// Package human writes sizes, counts and digests as people read them.
package human

import (
	"fmt"
	"strings"
)

// Bytes writes a number of bytes: "3.4 MB", powers of 1000 as docker does.
func Bytes(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"kB", "MB", "GB", "TB", "PB", "EB"} {
		if v /= 1000; v < 999.5 {
			break
		}
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f %s", v, unit)
	}
	return fmt.Sprintf("%.0f %s", v, unit)
}

// Count writes "1 layer" or "5 layers", "2 entries".
func Count(n int, noun string) string {
	return fmt.Sprintf("%d %s", n, Plural(int64(n), noun))
}

// Plural is the noun as it stands behind n: layer, layers, entries.
func Plural(n int64, noun string) string {
	if n == 1 {
		return noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		return stem + "ies"
	}
	return noun + "s"
}

// Short is a digest as people recognise it: the first 12 digits.
func Short[D ~string](d D) string {
	hex := string(d[strings.IndexByte(string(d), ':')+1:])
	return hex[:min(12, len(hex))]
}
