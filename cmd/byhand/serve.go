package main

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/byhand/byhand/internal/serve"
)

func serveCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "serve image layouts and archives as a read-only registry on this machine",
		UsageText: "byhand serve [OPTIONS] [NAME[:TAG]=]SOURCE…",
		Description: "A SOURCE is oci:DIR, oci-archive:FILE, docker-archive:FILE or a path. Prints the\n" +
			"address and serves until it is interrupted.\n\n   byhand serve --token-auth demo=oci:./image",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "listen on the loopback `ADDRESS:PORT`", DefaultText: "a free port of 127.0.0.1"},
			&cli.BoolFlag{Name: "token-auth", Usage: "make clients get a token first, as public registries do"},
			&cli.StringFlag{Name: "token-user", Usage: "with --token-auth, give tokens to `USER:PASSWORD` alone"},
			&cli.DurationFlag{Name: "token-life", Usage: "with --token-auth, a token is good for `TIME`, as in 30s", DefaultText: "5m"},
		},
		Action: action(std, operands{min: 1, max: -1}, doServe),
	}
}

func doServe(ctx context.Context, c *call) (err error) {
	auth, err := tokenAuth(c.flags)
	if err != nil {
		return err
	}
	sources := make([]serve.Source, len(c.args))
	for i, a := range c.args {
		if sources[i], err = serve.ParseSource(a); err != nil {
			return &usageError{err.Error()}
		}
	}
	catalog, err := serve.Open(ctx, sources)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, catalog.Close()) }()
	ln, err := serve.Listen(ctx, c.flags.String("listen"))
	if err != nil && !isAny[*net.OpError](err) {
		return &usageError{err.Error()} // the address itself is wrong
	}
	if err != nil {
		return err
	}
	if err := c.println(ln.Addr()); err != nil {
		return errors.Join(err, ln.Close())
	}
	return serve.Serve(ctx, ln, catalog.Handler(serve.Options{Auth: auth, Observe: c.explainAccess()}))
}

func tokenAuth(f *cli.Context) (*serve.TokenAuth, error) {
	if !f.Bool("token-auth") {
		if f.IsSet("token-user") || f.IsSet("token-life") {
			return nil, usagef("serve: --token-user and --token-life go with --token-auth")
		}
		return nil, nil
	}
	if f.Duration("token-life") < 0 {
		return nil, usagef("serve: --token-life %s: expected a time above zero, as in 5m", f.Duration("token-life"))
	}
	o := serve.TokenOptions{Life: f.Duration("token-life")}
	if login := f.String("token-user"); login != "" {
		user, password, ok := strings.Cut(login, ":")
		if !ok || user == "" {
			return nil, usagef("serve: --token-user: expected USER:PASSWORD")
		}
		o.Username, o.Password = user, password
	}
	return serve.NewTokenAuth(o), nil
}
