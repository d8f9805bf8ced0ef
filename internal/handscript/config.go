package handscript

import (
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/byhand/byhand/internal/human"
	sh "github.com/byhand/byhand/internal/shell"
)

// config writes image.json and config.json.
func (w *writer) config() error {
	record, err := w.Record.Encode()
	if err != nil {
		return err
	}
	config, err := w.spec.Encode()
	if err != nil {
		return err
	}
	w.note("What the bundle was made from.")
	w.file("image.json", string(human.EscapeJSON(record)))
	w.note("config.json tells the runtime what to start, and how (runtime-spec, config.md). Where its fields come from:")
	for _, o := range w.spec.Origins {
		w.remark("    %s: %s", o.Field, o.From)
	}
	w.file(`"$tmp/config.json"`, string(human.EscapeJSON(config)))
	w.derive()
	w.note("It comes last: without it no runtime takes the directory for a whole bundle.")
	w.raw("mv \"$tmp/config.json\" config.json\nprintf '%s\\n' \"$dir\"\n")
	if w.flat() || w.Mount {
		w.next()
	}
	return nil
}

// next says what starts the bundle, as it can be typed.
func (w *writer) next() {
	if dir := relative(w.Dir); sh.Quote(dir) != dir {
		w.line("say", "start it with: runc run --bundle "+sh.Quote(dir)+" NAME")
		return
	}
	w.raw("say \"start it with: runc run --bundle $dir NAME\"\n")
}

// derive shows, for what is simple enough, how config.json follows from the
// image's config (image-spec, conversion.md). Only what holds is written.
func (w *writer) derive() {
	image, process := w.Image.Spec.Config, w.spec.Spec.Process
	if process == nil {
		process = &specs.Process{}
	}
	w.note("How it follows from the image's config (image-spec, conversion.md), where no option says otherwise.")
	if slices.Equal(slices.Concat(image.Entrypoint, image.Cmd), process.Args) {
		w.line("derived", "process.args", "(.config.Entrypoint // []) + (.config.Cmd // [])", ".process.args")
	}
	if image.WorkingDir == process.Cwd {
		w.line("derived", "process.cwd", ".config.WorkingDir", ".process.cwd")
	}
	if len(image.Env) > 0 && !slices.ContainsFunc(image.Env, func(e string) bool { return !slices.Contains(process.Env, e) }) {
		names := len(image.Env)
		if slices.Equal(image.Env, process.Env[:min(names, len(process.Env))]) {
			w.line("derived", "process.env", ".config.Env", envFilter(names))
		}
	}
	if image.User == "" && process.User.UID == 0 && process.User.GID == 0 {
		w.line("derived", "process.user", `if (.config.User // "") == "" then [0, 0] else "somebody" end`, "[.process.user.uid, .process.user.gid]")
	}
}

// envFilter takes the first n variables: those that the image sets come before
// those that byhand adds.
func envFilter(n int) string { return ".process.env[:" + strconv.Itoa(n) + "]" }
