package tarstream

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// slowSums is what the checksum is, byte by byte.
func slowSums(b []byte) (unsigned, signed int64) {
	for i, c := range b {
		if i >= fSum.from && i < fSum.to {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	return unsigned, signed
}

func TestChecksum(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 1000 {
		b := make([]byte, blockSize)
		for j := range b {
			b[j] = byte(r.Uint32()) >> (i % 9)
		}
		if i == 0 {
			b = bytes.Repeat([]byte{0xff}, blockSize)
		}
		unsigned, signed := slowSums(b)
		for _, tt := range []struct {
			sum  int64
			want bool
		}{{unsigned, true}, {signed, true}, {unsigned + 1, false}, {unsigned ^ 256, signed == unsigned^256}} {
			if tt.sum < 0 {
				continue // no field can name it
			}
			copy(fSum.of(b), octalField(tt.sum))
			if got := checksumOK(b); got != tt.want {
				t.Fatalf("round %d: %d, of %d and %d: %v, want %v", i, tt.sum, unsigned, signed, got, tt.want)
			}
		}
	}
}

// octalField is a number as a checksum field has it.
func octalField(v int64) string {
	raw := []byte("000000\x00 ")
	for i := 5; i >= 0; i-- {
		raw[i] = '0' + byte(v&7)
		v >>= 3
	}
	return string(raw)
}

func TestParseOctal(t *testing.T) {
	for _, tt := range []struct {
		field string
		want  int64
		ok    bool
	}{
		{"0000644\x00", 0o644, true},
		{"0000644 ", 0o644, true},
		{" 644 \x00\x00\x00", 0o644, true},
		{"77777777777\x00", 0o77777777777, true},
		{"777777777777", 0o777777777777, true},
		{"644\x00junk", 0o644, true},
		{"644 \x00junk", 0, false},
		{"6 4\x00", 0, false},
		{"648\x00", 0, false},
		{"\x00\x00\x00", 0, true},
		{"\x00644", 0o644, true},
		{"", 0, true},
		{"\x00\x00\x00\x00\x00\x00\x00\x00", 0, true},
		{"01234567", 0o1234567, true},
		{"0123456/", 0, false},
		{"0000644\x00junk", 0o644, true},
		{"777777777777777777777\x00", 0o777777777777777777777, true},
		{"7777777777777777777777\x00", 0, false},
		{strings.Repeat("0", 30) + "7\x00", 7, true},
		{"-1\x00", 0, false},
	} {
		if got, ok := parseOctal([]byte(tt.field)); ok != tt.ok || ok && got != tt.want {
			t.Errorf("%q: %o, %v; want %o, %v", tt.field, got, ok, tt.want, tt.ok)
		}
	}
}

// TestLeadingOctal compares with reading digit by digit.
func TestLeadingOctal(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 100000 {
		b := make([]byte, r.IntN(24))
		for i := range b {
			b[i] = '0' + byte(r.UintN(8))
		}
		if len(b) > 0 && r.IntN(8) > 0 {
			b[r.IntN(len(b))] = byte(r.UintN(256))
		}
		var want int64
		digits := 0
		for digits < min(len(b), 16) && b[digits] >= '0' && b[digits] <= '7' {
			want = want*8 + int64(b[digits]-'0')
			digits++
		}
		if got, n := leadingOctal(b); got != want || n != digits {
			t.Fatalf("%q: %o of %d digits, want %o of %d", b, got, n, want, digits)
		}
	}
}
