#include "go_asm.h"
#include "textflag.h"

// What the registers hold:
//
//	BX   hold, bits of input, first one lowest
//	R11  n in its low 6 bits, how many of them count; the rest is noise
//	SI   the next byte of input        DI   where the next byte goes
//	R12  both tables, the one for distances first
//	R13  where the entry lies that is due      AX  its low half
//	R15  the length of the match whose distance is due, or 0
//	CX, DX, R8, R9, R10, R14  anything
//
// and the frame
//
//	inEnd   the last place to refill from    outEnd  the limit
//	window  where the window begins

#define inEnd  last-8(SP)
#define outEnd limit-16(SP)
#define window begin-24(SP)

// REFILL makes at least 56 bits count. Bits that are there already come again
// in the same places.
#define REFILL \
	MOVQ  (SI), CX    \
	SHLXQ R11, CX, CX \
	MOVL  R11, DX     \
	ORQ   CX, BX      \
	SHRL  $3, DX      \
	ADDQ  $7, SI      \
	ANDL  $7, DX      \
	ORL   $56, R11    \
	SUBQ  DX, SI

// func fastBMI2(d *Decoder, repeats *[16]repeatPattern) state
//
// A guess of the processor's that is wrong costs as much as three symbols, and
// what comes next, a literal or a match, is hard to guess. So nothing here
// branches on it: each entry says where the next one is to be looked up, and each
// round takes two entries and does for both whatever either may ask for:
//
//	write a byte                    the first, if it is a literal
//	copy, 64 bytes at a time        a match, if either is a distance
//	write a byte                    the second, if it is a literal
//
// What was not asked for moves the end of the output by 0, and so is
// overwritten. Branches are left for what is rare: a match that overlaps itself
// or is longer than 64, and entries that are left to symbol. A link from lit is an
// entry like others, which writes nothing.
//
// After a refill 56 bits count. A length takes 15 of them, a distance 21, a link
// 10, a literal less; a length follows no length, a distance no distance. So two
// entries take 36 at most, and enough are left to look the next one up.
//
// It is for the caller to make sure that begin ≤ op, and that Slack bytes follow
// the limit: nothing here is checked twice. An index into a table is held back by
// the table's width, which comes from build, as the table does; the reading of
// input by the comparison at the top, the way back by the one with the window.
TEXT ·fastBMI2(SB), NOSPLIT, $24-24
	MOVQ d+0(FP), DX
	MOVQ Decoder_in+0(DX), SI
	MOVQ SI, R8
	ADDQ Decoder_in+8(DX), R8
	SUBQ $const_fastInput, R8
	MOVQ R8, inEnd
	ADDQ Decoder_pos(DX), SI
	MOVQ Decoder_out+0(DX), AX
	MOVQ Decoder_op(DX), DI
	ADDQ AX, DI
	MOVQ Decoder_limit(DX), R9
	ADDQ AX, R9
	MOVQ R9, outEnd
	MOVQ Decoder_begin(DX), R10
	ADDQ AX, R10
	MOVQ R10, window
	MOVQ Decoder_hold(DX), BX
	MOVQ Decoder_n(DX), R11
	LEAQ Decoder_dist(DX), R12
	LEAQ Decoder_lit(DX), R13
	XORL R15, R15

	CMPQ SI, R8
	JHI  done
	CMPQ DI, R9
	JCC  done
	REFILL
	MOVL BX, CX
	ANDL $const_litMask, CX
	LEAQ (R13)(CX*8), R13
	MOVL (R13), AX

	PCALIGN $32

	// AX is looked up and not consumed; it may lack a refill.
top:
	CMPQ SI, inEnd
	JHI  done
	CMPQ DI, outEnd
	JCC  done
	REFILL

	// The second entry, to R8 and DX. What is rare stops here, as if there had
	// been no look-up.
	MOVWLZX 2(R13), R9
	BEXTRQ  AX, BX, CX
	LEAQ    (R12)(R9*1), DX
	LEAQ    (DX)(CX*8), DX
	MOVL    (DX), R8
	MOVL    AX, CX
	ORB     R8, CX
	JS      done

	// The first one's value, to R14.
	BZHIQ   AX, BX, CX
	MOVBLZX 6(R13), R14
	SHRXQ   AX, BX, BX
	SUBL    AX, R11
	SHRXQ   R14, CX, R14
	MOVWLZX 4(R13), CX
	MOVBLZX 7(R13), R10
	ADDL    CX, R14
	MOVB    R14, (DI)
	ADDQ    R10, DI

	// The entry after the second, to CX and R13.
	MOVWLZX 2(DX), AX
	BEXTRQ  R8, BX, CX
	LEAQ    (R12)(AX*1), R13
	LEAQ    (R13)(CX*8), R13
	MOVL    (R13), CX

	// The second one's value, to R10.
	BZHIQ   R8, BX, R10
	SHRXQ   R8, BX, BX
	SUBL    R8, R11
	MOVBLZX 6(DX), R8
	SHRXQ   R8, R10, R10
	MOVWLZX 4(DX), R8
	MOVBLZX 7(DX), DX
	ADDL    R8, R10

	// If the first is a length, distances being next, then the second is its
	// distance; else the first is a distance, or R15 is 0.
	TESTL   R9, R9
	CMOVQEQ R14, R15
	CMOVQEQ R10, R14
	MOVQ    DI, R8
	SUBQ    R14, R8
	CMPQ    R8, window
	JCS     before

inside:
	CMPQ    R14, R15
	JCS     overlap
	TESTL   R15, R15
	CMOVQEQ R12, R8 // no match: whatever is not being written at the moment
	VMOVDQU (R8), Y0
	VMOVDQU 32(R8), Y1
	VMOVDQU Y0, (DI)
	VMOVDQU Y1, 32(DI)
	CMPQ    R15, $64
	JHI     long
	ADDQ    R15, DI

copied:
	MOVB    R10, (DI)
	ADDQ    DX, DI
	MOVL    $0, R15
	TESTL   AX, AX
	CMOVQEQ R10, R15
	MOVL    CX, AX
	JMP     top

long:
	ADDQ $64, R8
	ADDQ DI, R15
	ADDQ $64, DI

more:
	VMOVDQU (R8), Y0
	VMOVDQU 32(R8), Y1
	VMOVDQU Y0, (DI)
	VMOVDQU Y1, 32(DI)
	ADDQ    $64, R8
	ADDQ    $64, DI
	CMPQ    DI, R15
	JCS     more
	MOVQ    R15, DI
	JMP     copied

	// The match overlaps itself. Within 16 bytes, its first R14 bytes are
	// repeated over a register, and that is written again and again, each time by
	// as many bytes further as are whole repetitions.
overlap:
	ADDQ    DI, R15
	VMOVDQU (R8), X0
	CMPQ    R14, $16
	JCC     halves
	SHLQ    $5, R14
	ADDQ    repeats+8(FP), R14
	VPSHUFB repeatPattern_shuffle(R14), X0, X0
	MOVQ    repeatPattern_stride(R14), R14

repeat:
	VMOVDQU X0, (DI)
	ADDQ    R14, DI
	CMPQ    DI, R15
	JCS     repeat
	MOVQ    R15, DI
	JMP     copied

halves:
	VMOVDQU X0, (DI)
	ADDQ    $16, R8
	ADDQ    $16, DI
	VMOVDQU (R8), X0
	CMPQ    DI, R15
	JCS     halves
	MOVQ    R15, DI
	JMP     copied

	// There is no match, or it is too far away.
before:
	TESTL R15, R15
	JZ    inside
	MOVQ  $const_corrupt, AX
	JMP   return

done:
	MOVQ $const_needMore, AX

return:
	VZEROUPPER
	MOVQ AX, ret+16(FP)
	MOVQ d+0(FP), DX
	SUBQ Decoder_in+0(DX), SI
	MOVQ SI, Decoder_pos(DX)
	SUBQ Decoder_out+0(DX), DI
	MOVQ DI, Decoder_op(DX)
	MOVQ BX, Decoder_hold(DX)
	ANDQ $63, R11
	MOVQ R11, Decoder_n(DX)
	MOVQ R15, Decoder_length(DX)
	LEAQ Decoder_lit(DX), AX
	SUBQ AX, R13
	SARQ $3, R13
	MOVQ R13, Decoder_due(DX)
	RET
