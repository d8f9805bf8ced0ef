// Package report shows an image as one HTML page: what it is, how its digests
// hang together and that they match, what each layer holds, changes and wastes,
// and what its containers are made of.
//
// # The page
//
// One file, and no request is ever made for another: style, script and data are
// in it, and a content security policy allows only these, by their hashes.
// Pictures are SVG and tables are HTML, so that all that matters is there
// without scripts and on paper. The script adds what can be moved about: the
// map of the files, the search, and the whole lists of changes.
//
// The bytes depend on the image and its name alone, neither on the machine nor
// on the time, so that pages can be compared.
//
// # Foreign content
//
// Names, labels, variables and history are an image's, and may be anything.
// They are made printable by [printable], bounded in length and number with a
// note of what was left out, and escaped by html/template; in the embedded data
// every character that could end a script is escaped.
package report
