package main

import (
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
)

// globalFlags hold for every command.
func globalFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{
			Name: "store", Usage: "keep images and layers in `DIR`",
			EnvVars: []string{storeVariable}, Value: defaultStore(),
			DefaultText: "/var/lib/byhand for root, else $XDG_DATA_HOME/byhand or ~/.local/share/byhand",
		},
		&cli.StringFlag{
			Name: "platform", Usage: "choose the image for `OS/ARCH[/VARIANT]`",
			DefaultText: "this machine's",
		},
		&cli.IntFlag{
			Name: "jobs", Usage: "fetch and unpack up to `N` layers at once", Value: defaultJobs,
		},
		&cli.BoolFlag{Name: "sync", Usage: "wait for the disk before a layer or a bundle counts"},
		&cli.StringSliceFlag{
			Name: "limit", Usage: "set the limit `NAME=VALUE`, as in entries=5000000 or bytes=100G (repeatable)",
		},
		&cli.StringFlag{
			Name: "progress", Usage: "show progress as `auto|tty|plain|json|none`", Value: "auto",
		},
		&cli.BoolFlag{Name: "json", Usage: "print JSON: tables, and what a pull took"},
		&cli.BoolFlag{Name: "explain", Usage: "tell every step on standard error, with shell commands that do the same"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress and no warnings"},
		&cli.StringFlag{
			Name: "log-level", Usage: "what to say on standard error: `error|warn|info|debug` and graver", Value: "info",
		},
		&cli.BoolFlag{Name: "version", Usage: "print the version"},
	}, registryFlags()...)
}

// storeVariable names the store where --store does not.
const storeVariable = "BYHAND_STORE"

// defaultJobs layers at once keep a fast network and a few cores busy; the
// memory bound is about 5 MB for each.
const defaultJobs = 4

func registryFlags() []cli.Flag {
	const category = "Registries"
	return []cli.Flag{
		&cli.StringFlag{Name: "creds", Category: category, Usage: "log in with `USER:PASSWORD` (visible to ps; prefer --creds-stdin)"},
		&cli.BoolFlag{Name: "creds-stdin", Category: category, Usage: "read USER:PASSWORD from standard input"},
		&cli.StringFlag{Name: "authfile", Category: category, Usage: "read logins from `FILE`, as podman login and docker login write them"},
		&cli.BoolFlag{Name: "plain-http", Category: category, Usage: "speak HTTP to the registry, not HTTPS"},
		&cli.BoolFlag{Name: "tls-verify", Category: category, Usage: "check the registry's certificate", Value: true},
		&cli.StringFlag{Name: "cert-dir", Category: category, Usage: "find *.crt, *.cert and *.key for the registry in `DIR`"},
		&cli.StringSliceFlag{
			Name: "hosts-dir", KeepSpace: true, Category: category, Usage: "find containerd-style hosts.toml files in `DIR`",
			DefaultText: "/etc/containerd/certs.d and /etc/byhand/certs.d",
		},
	}
}

// containerFlags decide what config.json says.
func containerFlags() []cli.Flag {
	const category = "Container"
	return []cli.Flag{
		&cli.StringFlag{Name: "entrypoint", Category: category, Usage: "start `PROGRAM` instead of the image's entrypoint; empty for none"},
		&cli.StringSliceFlag{Name: "env", KeepSpace: true, Aliases: []string{"e"}, Category: category, Usage: "set `K=V` in the environment (repeatable)"},
		&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Category: category, Usage: "run as `USER[:GROUP]`, names or numbers"},
		&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Category: category, Usage: "start in `DIR`"},
		&cli.StringFlag{Name: "hostname", Category: category, Usage: "be called `NAME`"},
		&cli.StringFlag{Name: "domainname", Category: category, Usage: "be in the NIS domain `NAME`"},
		&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Category: category, Usage: "give the container a terminal"},
		&cli.BoolFlag{Name: "read-only", Category: category, Usage: "make the root file system read-only"},
		&cli.StringSliceFlag{Name: "cap-add", Category: category, Usage: "add the capability `CAP`, or ALL (repeatable)"},
		&cli.StringSliceFlag{Name: "cap-drop", Category: category, Usage: "drop the capability `CAP`, or ALL (repeatable)"},
		&cli.BoolFlag{Name: "privileged", Category: category, Usage: "all capabilities, no masked paths, no seccomp"},
		&cli.BoolFlag{Name: "no-new-privileges", Category: category, Usage: "setuid programs give no privileges"},
		&cli.StringFlag{Name: "network", Category: category, Usage: "`none|host`: loopback alone, or the host's network", Value: "none"},
		&cli.StringSliceFlag{Name: "volume", KeepSpace: true, Aliases: []string{"v"}, Category: category, Usage: "bind `SRC:DST[:ro]` (repeatable)"},
		&cli.BoolFlag{Name: "keep-runtime-labels", Category: category, Usage: "keep image labels that steer the OCI runtime itself"},
	}
}

func rootfsFlag(defaultText string) cli.Flag {
	return &cli.StringFlag{Name: "rootfs", Usage: "make the root file system `overlay|flat`: an overlay mount or plain files", DefaultText: defaultText}
}

func rootfsFlags() []cli.Flag {
	return []cli.Flag{
		rootfsFlag("overlay for root, else flat"),
		&cli.BoolFlag{Name: "no-mount", Usage: "leave mounting the overlay to \"byhand overlay mount DIR\""},
		&cli.StringFlag{Name: "runtime", Usage: "make sure that `PROGRAM`, which is to start the bundle, is there"},
		&cli.BoolFlag{Name: "rootless", Usage: "with a user namespace, as a runtime needs it that you start yourself (the default for an ordinary user)"},
	}
}

func keepBlobsFlag() cli.Flag {
	return &cli.BoolFlag{Name: "keep-blobs", Usage: "keep the compressed layers in the store too"}
}

// defaultStore is /var/lib/byhand for root, and the user's data directory
// for everyone else (XDG Base Directory Specification).
func defaultStore() string {
	if isRealRoot() {
		return "/var/lib/byhand"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "byhand")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "share", "byhand")
}
