// Genfast writes the assembly of package inflate: the loop over symbols alone,
// and eight times in a row with SHA-256 in it, for which one text serves.
//
//	genfast > fast_amd64.s
package main

import (
	_ "embed"
	"io"
	"log"
	"math"
	"math/big"
	"os"
	"strconv"
	"strings"
	"text/template"
)

//go:embed fast_amd64.s.tmpl
var text string

func main() {
	if err := generate(os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func generate(w io.Writer) error {
	t, err := template.New("").Funcs(template.FuncMap{
		"alone":     func() []round { return []round{{Last: true, First: "top"}} },
		"aside":     aside,
		"constants": constants,
		"join":      func(words []string) string { return strings.Join(words, ", ") },
		"mul":       func(a, b int) int { return a * b },
	}).Parse(text)
	if err != nil {
		return err
	}
	return t.Execute(w, nil)
}

// round is one of the loop's.
type round struct {
	Label  string // what its labels end in
	First  string // the label of the first one
	Last   bool   // the loop ends after it
	Aside  bool   // it hashes, too:
	Number int    // of the rounds with a block
	Quads  []quad
}

// quad is four rounds of SHA-256.
type quad struct {
	Constants int      // where theirs are
	Words     []string // of the message: what is used, and what comes after it
	Next      bool     // the words that are used make place for later ones
}

// Following is the number of the round that comes next.
func (r round) Following() int {
	if r.Last {
		return 0
	}
	return r.Number + 1
}

// aside are the rounds that hash a block.
func aside() []round {
	const (
		rounds = 8
		quads  = 16 // of a block, the last four of which need no words after theirs
	)
	all := make([]round, rounds)
	for i := range all {
		r := round{Label: strconv.Itoa(i), First: "top0", Last: i == rounds-1, Aside: true, Number: i}
		for q := i * quads / rounds; q < (i+1)*quads/rounds; q++ {
			r.Quads = append(r.Quads, quad{Constants: 16 * q, Words: words(q), Next: q < quads-4})
		}
		all[i] = r
	}
	return all
}

// words are the registers of the message from the quad's on.
func words(quad int) []string {
	names := [4]string{"X3", "X4", "X5", "X6"}
	var all []string
	for i := range names {
		all = append(all, names[(quad+i)%len(names)])
	}
	return all
}

// constants are those of SHA-256's rounds: the first 32 bits after the point of
// the cube roots of the first 64 primes (FIPS 180-4, 4.2.2).
func constants() []uint32 {
	var all []uint32
	for n := int64(2); len(all) < 64; n++ {
		if big.NewInt(n).ProbablyPrime(0) {
			_, fraction := math.Modf(math.Cbrt(float64(n)))
			all = append(all, uint32(fraction*(1<<32)))
		}
	}
	return all
}
