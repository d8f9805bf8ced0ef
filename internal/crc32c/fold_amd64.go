package crc32c

import "golang.org/x/sys/cpu"

// hasFold says whether the processor has what fold uses.
var hasFold = cpu.X86.HasAVX512F && cpu.X86.HasAVX512VPCLMULQDQ

// fold sets rest to a block that has the same remainder as that many blocks
// at p, at least one, where crc is the remainder of what is before.
//
//go:noescape
func fold(rest *[blockSize]byte, p *byte, blocks int, crc uint32)
