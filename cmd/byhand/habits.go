package main

import (
	"slices"
	"strings"
)

// habit is what people type who come from docker, podman, skopeo or runc, and
// what does it here: worth more in an error than a name that is spelt alike.
type habit struct {
	names string // separated by spaces
	hint  string
}

const (
	hintConfig = "it is a line of a bundle's config.json: byhand bundle IMAGE DIR, then jq (docs/bundle.md has the lines), then byhand run DIR"
	hintHosts  = "a network of its own is loopback alone; with --network host the container has the machine's, with its names"
	hintLogin  = "what podman login or docker login keeps is found; --creds-stdin reads USER:PASSWORD"
)

// runHabits are options of docker run and runc run.
var runHabits = []habit{
	{"i interactive a attach sig-proxy", "the container has your standard input and output without it; -t gives it a terminal"},
	{"rm", "a run leaves nothing behind without it"},
	{"d detach", "a run lasts as long as its container: start it with &, or byhand bundle IMAGE DIR and runc run --detach --bundle DIR ID"},
	{"name", "no container is kept that a name could find; --hostname is what it calls itself"},
	{"p publish P publish-all expose", "no bridge forwards ports; with --network host the container has the machine's"},
	{"net", "it is --network"},
	{"init", "nothing is put before the container's program; an init that the image has can come first after --"},
	{"add-host dns dns-search dns-opt dns-option", hintHosts},
	{"env-file", "--env K=V is repeatable, and --env K takes K from the environment"},
	{"mount", "--volume SRC:DST[:ro] binds a file or directory; for any other mount " + hintConfig},
	{"restart", "nothing watches a container here; what starts byhand run can start it again"},
	{"pull", "byhand pull IMAGE asks the registry what the name means now"},
	{"m memory memory-swap cpus cpu-shares cpu-quota cpuset-cpus pids-limit ulimit shm-size cgroup-parent", hintConfig},
	{"tmpfs device sysctl security-opt l label annotation group-add pid ipc uts userns cgroupns oom-score-adj umask", hintConfig},
	{"b bundle", "a bundle is the operand: byhand run DIR"},
}

// otherHabits are options of any command.
var otherHabits = []habit{
	{"arch os variant override-arch override-os override-variant", "--platform OS/ARCH[/VARIANT] chooses"},
	{"username password password-stdin src-creds src-username src-password", hintLogin},
	{"insecure insecure-registry src-tls-verify", "--plain-http speaks HTTP, --tls-verify=false takes any certificate"},
	{"root data-root", "--store DIR says where images are kept"},
	{"debug verbose v D", "--log-level debug says more, --explain tells every step; --version is the version"},
	{"f force y yes", "nothing is asked before it is done; leave it out"},
}

// commandHabits are commands of other tools.
var commandHabits = []habit{
	{"version", "it is byhand --version"},
	{
		"ps exec attach logs top stop kill wait pause unpause stats state container",
		"byhand keeps no containers, byhand run ends with its own; for one that stays, byhand bundle IMAGE DIR, then runc",
	},
	{"create spec", "byhand bundle IMAGE DIR writes config.json and the root file system"},
	{"start restart", "byhand run DIR starts a bundle, as often as you like"},
	{"build push commit tag import", "byhand makes no images and pushes none; its store is an OCI layout for tools that do"},
	{"login logout", hintLogin},
	{"image list", "there are images, inspect, history and rm"},
	{"rmi remove delete", "it is byhand rm"},
	{"system gc", "byhand prune frees what nothing refers to"},
	{"load", "docker-archive:FILE is an image for any command, as in byhand pull docker-archive:FILE"},
	{"save copy", "byhand pull IMAGE, then skopeo copy oci:STORE:IMAGE; or byhand export, the merged tree as a tar"},
	{"cp", "byhand cat IMAGE PATH prints a file, byhand export IMAGE -o FILE writes all"},
	{"mount", "it is byhand overlay mount DIR"},
	{"umount unmount", "it is byhand overlay umount DIR"},
	{"extract flatten", "byhand unpack IMAGE DIR makes a plain directory"},
	{"manifest", "it is byhand inspect --raw IMAGE"},
	{"config", "it is byhand inspect --raw --config IMAGE"},
	{"digest", "byhand inspect --remote IMAGE has it as Digest"},
	{"list-tags", "it is byhand tags"},
	{"validate check", "it is byhand verify"},
}

// hintFor finds name among habits.
func hintFor(name string, habits []habit) string {
	for _, h := range habits {
		if slices.Contains(strings.Fields(h.names), name) {
			return h.hint
		}
	}
	return ""
}
