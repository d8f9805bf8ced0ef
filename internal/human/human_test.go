package human_test

import (
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/byhand/byhand/internal/human"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		-5: "-5 B", 0: "0 B", 999: "999 B", 1000: "1.0 kB", 9949: "9.9 kB", 9951: "10 kB",
		999_499: "999 kB", 999_500: "1.0 MB", 1_500_000_000: "1.5 GB", 1 << 62: "4.6 EB",
	} {
		if got := human.Bytes(n); got != want {
			t.Errorf("%d: %q, expected %q", n, got, want)
		}
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[digest.Digest]string{"sha256:0123456789abcdef": "0123456789ab", "sha256:01": "01", "": "", "plain": "plain"} {
		if got := human.Short(d); got != want {
			t.Errorf("%q: %q, expected %q", d, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 entries", 1: "1 entry", 2: "2 entries"} {
		if got := human.Count(n, "entry"); got != want {
			t.Errorf("%d: %q, expected %q", n, got, want)
		}
	}
	if got := human.Count(5, "layer"); got != "5 layers" {
		t.Errorf("%q, expected 5 layers", got)
	}
}
