// Package serve is a read-only OCI distribution registry for this machine
// alone. It answers from OCI image layouts, tars of them and docker save
// archives where they lie, so that a lab or a test has a registry to pull from
// without the internet and without copying anything.
//
// It implements the pull half of the distribution specification 1.1: the /v2/
// ping, manifests and blobs by GET and HEAD, ranges, the list of tags with
// pagination, the error documents, and, where asked for, the token protocol
// with its 401 challenge, its realm and signed tokens that expire.
//
// # Why not a library
//
// The registry of go-containerregistry is made for tests that push: it keeps
// what it serves in its own store, accepts writes, and knows neither tokens
// nor tag pages. What is needed here is small and is the reverse: no writes at
// all, ranges on files where they are, tokens that are really checked.
//
// # What it promises
//
// Blobs are served as they are, never checked or repaired: telling a true
// registry from a lying one is the client's work. A layout's blobs may be
// symbolic links, as long as they stay inside the layout. A repository serves
// only what its own images refer to. What the sources contain is read once,
// when they are opened.
package serve
