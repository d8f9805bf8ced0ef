package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// completeFlag, as the last argument, asks what could come in the place of
// the word before it. The shells' scripts below use it.
const completeFlag = "--generate-completion"

// completionScripts are for eval or a file that the shell reads at its start.
// Where byhand proposes nothing the shell completes file names.
func completionScripts() map[string]string {
	return map[string]string{
		"bash": `_byhand() {
	local cur=${COMP_WORDS[COMP_CWORD]}
	local IFS=$'\n'
	COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" "${COMP_WORDS[@]:1:COMP_CWORD}" ` + completeFlag + ` 2>/dev/null)" -- "$cur"))
}
complete -o default -F _byhand byhand
`,
		"zsh": `#compdef byhand
_byhand() {
	local -a proposals
	proposals=("${(@f)$("${words[1]}" "${(@)words[2,CURRENT]}" ` + completeFlag + ` 2>/dev/null)}")
	if [[ -n "${proposals[1]}" ]]; then
		compadd -- "${proposals[@]}"
	else
		_files
	fi
}
if [[ "${funcstack[1]}" = _byhand ]]; then _byhand "$@"; else compdef _byhand byhand; fi
`,
		"fish": `function __byhand_complete
	set -l words (commandline -opc) (commandline -ct)
	$words ` + completeFlag + ` 2>/dev/null
end
complete -c byhand -a '(__byhand_complete)'
`,
	}
}

func completionCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print what makes a shell complete byhand's command lines",
		UsageText: "byhand completion bash|zsh|fish",
		Description: "Read it at the start of the shell: in ~/.bashrc or ~/.zshrc with\n\n" +
			"   eval \"$(byhand completion bash)\"\n\n" +
			"and in ~/.config/fish/config.fish with: byhand completion fish | source",
		Action: action(std, operands{min: 1, max: 1}, doCompletion),
	}
}

func doCompletion(_ context.Context, c *call) error {
	script, ok := completionScripts()[c.args[0]]
	if !ok {
		return usagef("completion %s: expected bash, zsh or fish", c.args[0])
	}
	return c.write([]byte(script))
}

// complete prints what the last of words could become, one a line: commands,
// or options if it begins with a dash.
func complete(app *cli.App, words []string, std streams) {
	if len(words) == 0 {
		words = []string{""}
	}
	last := words[len(words)-1]
	if slices.Contains(words[:len(words)-1], "--") {
		return // the container's own
	}
	commands, flags := app.Commands, app.Flags
	for _, w := range words[:len(words)-1] {
		for _, c := range commands {
			if c.HasName(w) {
				commands, flags = c.Subcommands, append(slices.Clone(c.Flags), app.Flags...)
				break
			}
		}
	}
	for _, p := range proposals(commands, flags, strings.HasPrefix(last, "-")) {
		if strings.HasPrefix(p, last) {
			_, _ = fmt.Fprintln(std.out, p)
		}
	}
}

func proposals(commands []*cli.Command, flags []cli.Flag, options bool) (names []string) {
	if !options {
		for _, c := range commands {
			names = append(names, c.Name)
		}
		return names
	}
	for _, f := range flags {
		names = append(names, "--"+f.Names()[0])
	}
	names = append(names, "--help")
	slices.Sort(names)
	return slices.Compact(names)
}
