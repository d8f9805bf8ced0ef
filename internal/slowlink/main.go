// Slowlink is a line between a benchmark's client and its registry that is as
// slow as a real one: every connection to it is passed on, its answers at so many
// megabytes a second, its requests so much later.
//
//	slowlink HOST:PORT MEGABYTES/S DELAY
//
// It prints the address it listens on, and runs until it is killed.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

func main() {
	fmt.Fprintln(os.Stderr, "slowlink:", run(context.Background(), os.Args[1:], os.Stdout))
	os.Exit(1)
}

// run returns what ended it.
func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 3 {
		return errors.New("wants HOST:PORT MEGABYTES/S DELAY")
	}
	rate, err := strconv.ParseFloat(args[1], 64)
	if err != nil || rate <= 0 {
		return fmt.Errorf("%s is no rate", args[1])
	}
	delay, err := time.ParseDuration(args[2])
	if err != nil || delay < 0 {
		return fmt.Errorf("%s is no delay", args[2])
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, listener.Addr()); err != nil {
		return err
	}
	l := link{target: args[0], rate: rate * 1e6, delay: delay}
	return l.serve(ctx, listener)
}

// link is what all connections have in common.
type link struct {
	target string
	rate   float64       // of one connection's answers, in bytes a second
	delay  time.Duration // of each piece of a request
}

func (l *link) serve(ctx context.Context, listener net.Listener) error {
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		go l.pass(ctx, client)
	}
}

// pass is one connection, which is closed when its server has closed it.
func (l *link) pass(ctx context.Context, client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", l.target)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	go func() {
		_, _ = io.Copy(server, &late{client, l.delay})
		if half, ok := server.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}()
	_, _ = io.Copy(client, &paced{r: server, rate: l.rate})
}

// late delivers whatever it reads after a delay.
type late struct {
	r     io.Reader
	delay time.Duration
}

func (l *late) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if n > 0 {
		time.Sleep(l.delay)
	}
	return n, err
}

// paced delivers at most rate bytes a second. What it could have delivered while
// there was nothing to read is lost, as on a real line, but for the last moment:
// a sleep may take longer than it was to.
type paced struct {
	r    io.Reader
	rate float64
	due  time.Time // of the next byte
}

const moment = 20 * time.Millisecond

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if latest := time.Now().Add(-moment); p.due.Before(latest) {
		p.due = latest
	}
	p.due = p.due.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	time.Sleep(time.Until(p.due))
	return n, err
}
