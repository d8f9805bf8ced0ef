package unpack_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/byhand/byhand/unpack"
)

func TestSkipString(t *testing.T) {
	for want, s := range map[string]unpack.Skip{
		`1 owner not kept, 1000:1000 of "home/demo/": invalid argument`: {Kind: unpack.SkipOwner, Count: 1, Name: "home/demo/", What: "1000:1000", Err: unix.EINVAL},
		`2 extended attributes not kept, first user.a of "a\nb"`:        {Kind: unpack.SkipXattr, Count: 2, Name: "a\nb", What: "user.a"},
		`3 character devices of number 0:0 left out, first 0:0 of "x"`:  {Kind: unpack.SkipZeroDevice, Count: 3, Name: "x", What: "0:0"},
		`1 thing not kept, y of "x"`:                                    {Kind: 99, Count: 1, Name: "x", What: "y"},
	} {
		if got := s.String(); got != want {
			t.Errorf("%q, expected %q", got, want)
		}
	}
}
