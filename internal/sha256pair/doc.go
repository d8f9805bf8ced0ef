// Package sha256pair computes two SHA-256 digests at once (FIPS 180-4, 6.2).
//
// With the processor's SHA instructions each round waits for the one before,
// and the unit that does them is idle half of the time: one stream's rounds fit
// between another's. Two streams side by side take two thirds of the time that
// they take one after the other. Four lanes have no room in the registers, and
// the unit would be busy anyway.
//
// The hashes stay those of crypto/sha256, which does what has no partner and
// the end; this package takes their state out and puts it back.
package sha256pair
