// Package crc32c computes CRC-32C as hash/crc32 does, at up to twice its speed where
// the processor multiplies without carry 64 bytes at a time (AVX-512 with
// VPCLMULQDQ).
//
// A CRC is a remainder, which does not change when a part of the data is
// replaced by one that has the same remainder at another place: the assembly
// folds blocks of 256 bytes onto the next until one is left, and hash/crc32
// takes the sum of that one and of what follows.
package crc32c
