package bundle

import (
	"maps"
	"slices"
	"strings"
)

const annotationPrefix = "org.opencontainers.image."

// annotations follows image-spec conversion.md, "Annotation Fields", where a
// label stands above the field with the same meaning. Labels with which an
// image would steer the runtime are left out, although that document keeps
// them: an image must not choose, say, sockets of the host to connect to.
func (d *draft) annotations() error {
	c, p := &d.image, &d.image.Config
	all := map[string]string{}
	for key, value := range map[string]string{
		"os": c.OS, "architecture": c.Architecture, "variant": c.Variant,
		"os.version": c.OSVersion, "os.features": strings.Join(c.OSFeatures, ","),
		"author": c.Author, "created": c.Created, "stopSignal": p.StopSignal,
		"exposedPorts": strings.Join(p.ExposedPorts, ","),
	} {
		if value != "" {
			all[annotationPrefix+key] = value
		}
	}
	var dropped []string
	for _, key := range slices.Sorted(maps.Keys(p.Labels)) {
		if key == "" { // runtime-spec config.md, "Annotations": keys must not be empty
			d.warn("label of the image left out, because it has no name: " + quoteShort(p.Labels[key]))
			continue
		}
		if steersRuntime(key) && !d.o.KeepRuntimeLabels {
			dropped = append(dropped, quoteShort(key))
			continue
		}
		all[key] = p.Labels[key]
	}
	if len(dropped) > 0 {
		d.warn("labels of the image left out, because they steer runtimes: " + strings.Join(dropped, ", "))
	}
	if len(all) > 0 {
		d.spec.Annotations = all
		d.from("annotations", "image os, architecture, variant, created, …, config.Labels")
	}
	return nil
}

// steersRuntime says whether some runtime obeys the annotation: runc and crun
// (the first four), gVisor, Kata Containers, crun's libkrun and wasm handlers.
// By those of the last two lines gVisor and Kata put a container into the
// sandbox of another one, and NVIDIA's runtime gives it devices.
func steersRuntime(key string) bool {
	if key == "bundle" {
		return true
	}
	return slices.ContainsFunc([]string{
		"org.systemd.property.", "org.criu.", "run.oci.",
		"dev.gvisor.", "io.katacontainers.", "krun.", "module.wasm.",
		"io.kubernetes.cri.", "io.kubernetes.cri-o.", "io.kubernetes.docker.", "com.github.containers.virtcontainers.",
		"cdi.k8s.io/", "nvidia.cdi.k8s.io/",
	}, func(p string) bool { return strings.HasPrefix(key, p) })
}
