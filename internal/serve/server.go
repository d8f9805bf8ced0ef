package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

const (
	// headerTimeout bounds how long a client may take to say what it wants.
	headerTimeout = 10 * time.Second
	// idleTimeout is how long an unused connection is kept.
	idleTimeout = 2 * time.Minute
	// shutdownTimeout is how long answers under way may take to finish.
	shutdownTimeout = 3 * time.Second
)

// Listen opens a port on this machine alone. An empty address is a free port
// of 127.0.0.1; an address that others could reach is refused, because nothing
// here is made for them.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("listen on %s: not a loopback address; use 127.0.0.1:PORT or [::1]:PORT", address)
	}
	var lc net.ListenConfig
	return lc.Listen(ctx, "tcp", address)
}

// Serve answers on ln until ctx ends, then lets answers under way finish for a
// short while. It closes ln, and returns nil when it was ended by ctx.
func Serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: 64 << 10,
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		// ctx is over, so the grace needs a context of its own.
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if server.Shutdown(grace) != nil {
			_ = server.Close() // what is left is cut off
		}
		close(stopped)
	})
	err := server.Serve(ln)
	if stop() {
		return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
	}
	<-stopped
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
