package inflate_test

import (
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// A fence is memory with a page behind it that nobody may touch: what reads or
// writes beyond its end is killed on the spot. Assembly has no other bounds.
type fence struct {
	memory []byte
	pages  int
}

var (
	fencesMu sync.Mutex
	fences   = map[int][]fence{} // unused ones, by pages
)

func getFence(size int) fence {
	page := os.Getpagesize()
	pages := (size + page - 1) / page
	fencesMu.Lock()
	defer fencesMu.Unlock()
	if free := fences[pages]; len(free) > 0 {
		fences[pages] = free[:len(free)-1]
		return free[len(free)-1]
	}
	memory, err := unix.Mmap(-1, 0, (pages+1)*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err == nil {
		err = unix.Mprotect(memory[pages*page:], unix.PROT_NONE)
	}
	if err != nil {
		panic(err) // there is no test without memory
	}
	return fence{memory[:pages*page], pages}
}

// last returns the n bytes before the forbidden page.
func (f fence) last(n int) []byte { return f.memory[len(f.memory)-n:] }

// put lets others use the fence; one that was never made is left alone.
func (f fence) put() {
	if f.pages == 0 {
		return
	}
	fencesMu.Lock()
	defer fencesMu.Unlock()
	fences[f.pages] = append(fences[f.pages], f)
}

// way is how a decoder does its work.
type way int

const (
	fastest  way = iota // with the processor's own code
	hashing             // the same, with hashes computed beside it
	portably            // in Go alone
)

var ways = map[string]way{"fastest": fastest, "hashing": hashing, "portable": portably}

func eachWay(t *testing.T, test func(t *testing.T, how way)) {
	t.Helper()
	for name, how := range ways {
		t.Run(name, func(t *testing.T) { test(t, how) })
	}
}
