// Package inflate decodes deflate (RFC 1951) and gzip (RFC 1952) from chunks of
// input into buffers of output, faster than an io.Reader can.
//
// Three things make the difference. The bits that are due lie in a 64-bit word
// that one load refills, so that a refill lasts for up to three symbols. A code
// of up to 10 bits is found in one look-up together with its extra bits. And
// the window lies in front of each output buffer, so that a match is copied from
// the very buffer it is written to, without an own window and its wrap-around.
//
// On amd64 with BMI2 and AVX the loop over symbols is assembly, which is another
// loop: whether a literal or a match comes next is no branch in it, as no
// processor guesses that well. It has no bounds checks of its own, and says what
// it relies on. The tests run both, in buffers that end at forbidden pages.
//
// What is accepted and what is refused is the same as in compress/flate, and
// fuzz tests hold the two against each other. The checksum and the length at
// the end of a gzip member are read and not compared: the callers hash the whole
// content with a cryptographic digest, which finds whatever they could find.
package inflate
