package main

import (
	"context"

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
	local line=${COMP_LINE:0:COMP_POINT} cur head IFS=$' \t\n'
	local -a words
	read -ra words <<<"$line"
	[[ $line != *[[:space:]] ]] || words+=('')
	cur=${words[${#words[@]}-1]}
	# readline takes what is before a colon or = for a word of its own.
	head=${cur%"${cur##*[:=]}"}
	[[ $COMP_WORDBREAKS == *:* ]] || head=
	IFS=$'\n'
	COMPREPLY=($("${words[@]}" ` + completeFlag + ` 2>/dev/null))
	COMPREPLY=("${COMPREPLY[@]#"$head"}")
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
	set -l last (commandline -ct)
	set -l words (commandline -opc) "$last"
	set -l proposals ($words ` + completeFlag + ` 2>/dev/null)
	if set -q proposals[1]
		printf '%s\n' $proposals
		return
	end
	# of --store=/srv the shell knows the part behind the sign
	set -l path (string replace -r '^--[^=]*=' '' -- "$last")
	set -l option (string sub -l (math (string length -- "$last") - (string length -- "$path")) -- "$last")
	for found in (__fish_complete_path "$path")
		printf '%s%s\n' "$option" "$found"
	end
end
complete -c byhand -f -a '(__byhand_complete)'
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
