package shell

import "strings"

// indent begins the lines that continue a command.
const indent = "  "

// Wrap breaks a command of one line into lines of at most width characters,
// as far as it can, that mean the same when they are pasted together: each but
// the last ends in a backslash. It breaks between words, and a word that is
// longer than a line by itself where that reads well. What stands in double
// quotes stays in one piece.
func Wrap(command string, width int) []string {
	var lines []string
	line := ""
	for _, word := range units(split(command), width-2-len(indent)) {
		sep := " "
		if line == "" || line == indent {
			sep = ""
		}
		if line != "" && len([]rune(line+sep+word)) > width-2 { // " \" follows
			lines = append(lines, line+` \`)
			line, sep = indent, ""
		}
		if len([]rune(line+word)) > width-2 {
			pieces := cut(word, width-len(line)-1, width-1)
			for _, p := range pieces[:len(pieces)-1] {
				lines = append(lines, line+sep+p+`\`)
				line, sep = "", ""
			}
			word = pieces[len(pieces)-1]
		}
		line += sep + word
	}
	return append(lines, line)
}

// units joins words that are read together, as far as they fit into width: an
// option and its value, a bar and what it leads to.
func units(words []string, width int) []string {
	var list []string
	for i := 0; i < len(words); i++ {
		w := words[i]
		leads := w == "|" || w == "&&" || len(w) > 1 && w[0] == '-' && !strings.ContainsAny(w, "= ")
		if leads && i+1 < len(words) && words[i+1][0] != '-' && words[i+1] != "|" {
			if pair := w + " " + words[i+1]; len([]rune(pair)) <= width {
				w = pair
				i++
			}
		}
		list = append(list, w)
	}
	return list
}

// split returns the words of a command, with their quotes.
func split(command string) []string {
	var words []string
	start, depth := 0, 0
	quote := byte(0)
	for i := 0; i < len(command); i++ {
		switch c := command[i]; {
		case c == '\\':
			i++
		case c == '\'' && (quote == 0 || depth > 0):
			// Inside "$(…)" single quotes count again; nothing here nests deeper.
			for i++; i < len(command) && command[i] != '\''; i++ {
			}
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == '"':
			quote ^= '"'
		case c == ' ' && quote == 0:
			if i > start {
				words = append(words, command[start:i])
			}
			start = i + 1
		}
	}
	if start < len(command) {
		words = append(words, command[start:])
	}
	return words
}

// cut breaks a word into pieces that a backslash and a newline join again: the
// first of at most first characters, the others of at most rest. Inside single
// quotes each piece gets quotes of its own. A word with other quotes, or without a
// place to break, stays whole.
func cut(word string, first, rest int) []string {
	if strings.ContainsAny(word, "\"\\$`()") {
		return []string{word}
	}
	prefix, body, quoted := "", word, false
	switch start := strings.IndexByte(word, '\''); {
	case start < 0:
	case strings.Count(word, "'") == 2 && strings.HasSuffix(word, "'"): // as NAME='VALUE', too
		prefix, body, quoted = word[:start], word[start+1:len(word)-1], true
	default:
		return []string{word}
	}
	quotes := 0
	if quoted {
		quotes = 2
	}
	var pieces []string
	for room := first - quotes - len(prefix); len(body) > room; room = rest - quotes {
		head := body[:max(0, min(room, len(body)))]
		at := strings.LastIndexAny(head, " ,&") + 1
		if at < len(head)/2 {
			at = strings.LastIndexAny(head, ":/") + 1
		}
		if at <= 0 {
			if at = strings.IndexAny(body, " ,:/&") + 1; at == 0 || at == len(body) {
				break
			}
		}
		pieces = append(pieces, body[:at])
		body = body[at:]
	}
	pieces = append(pieces, body)
	if quoted {
		for i, p := range pieces {
			pieces[i] = "'" + p + "'"
		}
	}
	pieces[0] = prefix + pieces[0]
	return pieces
}
