package overlay

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// owner is what one open Store holds in staging: a locked file whose name is
// the prefix of everything the Store works on there, and whose lines are the
// leases, that is the layers and blobs it relies on. When the lock is free,
// the owner is dead and all of it can go.
type owner struct {
	id   string
	lock *fileLock
	next atomic.Int64

	mu     sync.Mutex
	leased map[string]struct{}
}

// Lines of the owner's file.
const (
	leaseLayer = "layer "
	leaseBlob  = "blob "
)

// own returns the Store's owner, making it and sweeping after dead ones the
// first time.
func (s *Store) own() (*owner, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owner != nil {
		return s.owner, nil
	}
	o, err := newOwner(s.layout)
	if err != nil {
		return nil, fmt.Errorf("claim staging: %w", err)
	}
	s.owner = o
	if err := s.sweep(o.id, false); err != nil {
		s.warn(err, "sweep staging")
	}
	return o, nil
}

func newOwner(l layout) (*owner, error) {
	for {
		var raw [ownerIDLen / 2]byte
		if _, err := rand.Read(raw[:]); err != nil {
			return nil, err
		}
		id := hex.EncodeToString(raw[:])
		lock, err := tryLock(l.owner(id))
		if err != nil {
			return nil, err
		}
		if lock == nil {
			continue // a sweeper looked at the file before it was locked
		}
		o := &owner{id: id, lock: lock, leased: map[string]struct{}{}}
		if _, err := fmt.Fprintf(lock.file, "pid %d\n", os.Getpid()); err != nil {
			lock.release()
			return nil, err
		}
		return o, nil
	}
}

// work returns a new path in staging that dies with the owner.
func (o *owner) work(l layout) string { return l.work(o.id, o.next.Add(1)) }

// close removes what the owner has left and gives up its name.
func (o *owner) close(l layout) error {
	err := sweepWork(l, map[string]bool{o.id: true})
	o.lock.release()
	return err
}

// lease records that this process relies on layers and blobs, so that no other
// removes them. Looking whether they exist comes after leasing, never before:
// a remover reads the leases under the exclusive lock that this takes shared.
func (s *Store) lease(ctx context.Context, lines ...string) error {
	o, err := s.own()
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	var b strings.Builder
	for _, line := range lines {
		if _, ok := o.leased[line]; !ok {
			b.WriteString(line + "\n")
		}
	}
	if b.Len() == 0 {
		return nil
	}
	gc, err := lockDir(ctx, s.layout.layers(), false)
	if err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	defer func() { _ = gc.Close() }()
	if _, err := o.lock.file.WriteString(b.String()); err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	for _, line := range lines {
		o.leased[line] = struct{}{}
	}
	return nil
}

// leases returns the lease lines of all live owners, each with the processes
// that hold it, except those of the owner skip. The caller holds the removal lock.
func leases(l layout, skip string) (map[string][]string, error) {
	entries, err := os.ReadDir(l.staging())
	if err != nil {
		return nil, fmt.Errorf("read leases: %w", err)
	}
	found := map[string][]string{}
	for _, e := range entries {
		kind, id := classify(e.Name())
		if kind != stagingOwner || id == skip {
			continue
		}
		if err := readLeases(l.owner(id), found); err != nil {
			return nil, fmt.Errorf("read leases: %w", err)
		}
	}
	return found, nil
}

// readLeases adds the lines of one owner's file to found, if the owner lives.
func readLeases(path string, found map[string][]string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	dead, err := flockNow(f, lockShared)
	if err != nil || dead {
		return err
	}
	who := "another process"
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if pid, ok := strings.CutPrefix(lines.Text(), "pid "); ok {
			who = "process " + pid
			continue
		}
		found[lines.Text()] = append(found[lines.Text()], who)
	}
	return lines.Err()
}

func layerLeases(chains []ChainID) []string {
	lines := make([]string, len(chains))
	for i, c := range chains {
		lines[i] = leaseLayer + c.String()
	}
	return lines
}
