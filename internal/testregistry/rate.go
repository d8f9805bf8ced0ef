package testregistry

import (
	"net"
	"time"
)

// slowListener limits what each of its connections delivers, as the far ends of
// long lines and the storage behind public registries do.
type slowListener struct {
	net.Listener
	rate int64 // bytes a second
}

// Accept implements net.Listener.
func (l *slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &slowConn{Conn: c, rate: l.rate}, nil
}

type slowConn struct {
	net.Conn
	rate int64
	due  time.Time // when the next byte may go
}

const (
	slowPiece = 32 << 10 // bytes that are written between two waits
	maxLate   = 20 * time.Millisecond
)

// Write implements net.Conn.
func (c *slowConn) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 {
		// What a wait was too long by is made up for; an idle connection has
		// saved nothing up.
		if late := time.Now().Add(-maxLate); c.due.Before(late) {
			c.due = late
		}
		n, err := c.Conn.Write(p[:min(len(p), slowPiece)])
		total += n
		if err != nil {
			return total, err
		}
		p = p[n:]
		c.due = c.due.Add(time.Duration(n) * time.Second / time.Duration(c.rate))
		time.Sleep(time.Until(c.due))
	}
	return total, nil
}
