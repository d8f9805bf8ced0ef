// Package teststack makes random stacks of layers out of few names, so that
// the layers meet, together with what a simple model says that they mean.
package teststack

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/byhand/byhand/internal/testtar"
)

// Stack is a random stack of layers, base first.
type Stack struct {
	Layers []Layer
	model  *model
}

// Layer is one of a Stack.
type Layer struct {
	Ops []Op
	// Doubt tells why the model does not know what the layers up to this one
	// mean, because they say two things at once; else it is empty.
	Doubt string
	// Tree is what the layers up to this one mean if there is no doubt, by
	// slash-separated name.
	Tree map[string]File
}

// Random returns the stack that belongs to seed, of two to five layers.
func Random(seed uint64) Stack {
	g := &gen{Rand: rand.New(rand.NewPCG(seed, 0))}
	s := Stack{model: newModel()}
	for range 2 + g.IntN(4) {
		ops := g.layer(s.model)
		l := Layer{Ops: ops}
		if s.model.unsure == "" {
			s.model.apply(ops)
		}
		if l.Doubt = s.model.unsure; l.Doubt == "" {
			l.Tree = s.model.tree()
		}
		s.Layers = append(s.Layers, l)
	}
	return s
}

// Tar is the layer's archive.
func (l Layer) Tar() []byte {
	var entries []testtar.Entry
	for _, o := range l.Ops {
		entries = append(entries, o.Entry())
	}
	return testtar.Tar(entries...)
}

// Doubt is that of the whole stack.
func (s Stack) Doubt() string { return s.model.unsure }

// String tells the whole story.
func (s Stack) String() string {
	var lines []string
	for i, l := range s.Layers {
		lines = append(lines, fmt.Sprintf("layer %d:", i+1))
		for _, o := range l.Ops {
			lines = append(lines, "  "+o.String())
		}
	}
	return strings.Join(append(lines, "model: "+s.Doubt()), "\n")
}

// File is a file of a tree.
type File struct {
	Kind     string // file dir symlink fifo char
	Mode     uint32
	UID, GID uint32
	ModTime  time.Time
	Mark     string // the value of user.mark
	Content  string // of files
	Target   string // of symbolic links, and the numbers of devices
	Group    string // the name that sorts first among several hard links
}

// Tree is what the layers mean if there is no doubt, by slash-separated name.
func (s Stack) Tree() map[string]File { return s.model.tree() }
