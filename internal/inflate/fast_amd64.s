#include "go_asm.h"
#include "textflag.h"

// What the registers hold:
//
//	BX   hold, bits of input, first one lowest
//	R11  n in its low 6 bits, how many of them count; the rest is noise
//	SI   the next byte of input        R8   the last place to refill twice from
//	DI   where the next byte goes      R9   the limit   R10  begin of the window
//	R12  table of literals and lengths      R13  table of distances
//	AX   the entry that is due
//	CX, DX, R14  anything

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

// LOOKUP gets the entry for the next litBits bits into AX.
#define LOOKUP \
	MOVL BX, AX                \
	ANDL $const_litMask, AX    \
	MOVL (R12)(AX*4), AX

// CONSUME drops the bits of the entry AX. Counts of bits are below 32 and lie in
// a byte of their own, so AX serves as a count just as it is: SHRX looks at 6
// bits, and what else is subtracted from R11 is above those that count there.
#define CONSUME \
	SHRXQ AX, BX, BX \
	SUBL  AX, R11

// LITERAL writes the literal of the entry AX, whose bits are consumed of R14, and
// gets the next entry. A literal's second byte is litBits, so that the entry is
// what BEXTR wants to know: where the next code begins, and how many bits count.
#define LITERAL \
	BEXTRQ AX, R14, CX       \
	SHRL   $16, AX           \
	MOVB   AX, (DI)          \
	INCQ   DI                \
	MOVL   (R12)(CX*4), AX

// VALUE(BITS, TEMP, TO) gets base and extra bits of the entry AX, which is lost.
// BITS is hold before CONSUME.
#define VALUE(BITS, TEMP, TO) \
	BZHIQ AX, BITS, TO  \
	MOVL  AX, TEMP      \
	SHRL  $8, TEMP      \
	SHRXQ TEMP, TO, TO  \
	SHRL  $16, AX       \
	ADDL  AX, TO

// SECOND(TABLE, MASK) replaces the link AX, whose bits are consumed, by the entry
// of the second table.
#define SECOND(TABLE, MASK) \
	MOVL  AX, DX            \
	SHRL  $8, DX            \
	ANDL  $15, DX           \
	BZHIQ DX, BX, DX        \
	SHRL  $16, AX           \
	ADDL  AX, DX            \
	ANDL  $MASK, DX         \
	MOVL  (TABLE)(DX*4), AX

// func fastBMI2(d *Decoder, repeats *[16]repeatPattern) state
//
// This is fastPortable, with two differences. The next entry is looked up before
// the current one's work is done, so that the processor waits for memory and
// copies at the same time. And it is for the caller to make sure that begin ≤ op,
// and that Slack bytes follow the limit: nothing here is checked twice. Every
// other index comes from the input, and is held back by a mask, by the
// comparisons at the top, or by the one with R10.
TEXT ·fastBMI2(SB), NOSPLIT, $0-24
	MOVQ d+0(FP), DX
	MOVQ Decoder_in+0(DX), SI
	MOVQ SI, R8
	ADDQ Decoder_in+8(DX), R8
	SUBQ $const_fastInput, R8
	ADDQ Decoder_pos(DX), SI
	MOVQ Decoder_out+0(DX), AX
	MOVQ Decoder_op(DX), DI
	ADDQ AX, DI
	MOVQ Decoder_limit(DX), R9
	ADDQ AX, R9
	MOVQ Decoder_begin(DX), R10
	ADDQ AX, R10
	MOVQ Decoder_hold(DX), BX
	MOVQ Decoder_n(DX), R11
	LEAQ Decoder_lit(DX), R12
	LEAQ Decoder_dist(DX), R13

	CMPQ SI, R8
	JHI  needMore
	CMPQ DI, R9
	JCC  needMore
	REFILL
	LOOKUP

	PCALIGN $32

	// AX is looked up and not consumed; it may lack a refill.
top:
	CMPQ  SI, R8
	JHI   needMore
	CMPQ  DI, R9
	JCC   needMore
	REFILL
	MOVQ  BX, R14
	CONSUME
	TESTL AX, AX
	JNS   noLiteral
	LITERAL
	MOVQ  BX, R14
	CONSUME
	TESTL AX, AX
	JNS   noLiteral
	LITERAL
	MOVQ  BX, R14
	CONSUME
	TESTL AX, AX
	JNS   noLiteral

literal:
	LITERAL
	JMP top

noLiteral:
	TESTL $const_flagOther, AX
	JNZ   other

length:
	// Two literals and a length took up to 42 bits: there are enough left to
	// look the distance up while the refill is under way.
	VALUE(R14, DX, R14)
	MOVL  BX, AX
	ANDL  $const_distMask, AX
	MOVL  (R13)(AX*4), AX
	REFILL
	TESTL $const_flagOther, AX
	JNZ   otherDistance

distance:
	MOVQ BX, CX
	CONSUME
	VALUE(CX, DX, CX)
	LOOKUP

	// R14 is the length, CX the distance.
	MOVQ   DI, DX
	SUBQ   CX, DX
	CMPQ   DX, R10
	JCS    corrupt
	ADDQ   DI, R14
	CMPQ   CX, $16
	JCS    overlap
	MOVOU  (DX), X0
	MOVOU  X0, (DI)
	MOVOU  16(DX), X1
	MOVOU  X1, 16(DI)
	ADDQ   $32, DI
	CMPQ   DI, R14
	JCS    long
	MOVQ   R14, DI
	JMP    top

long:
	ADDQ  $32, DX
	MOVOU (DX), X0
	MOVOU X0, (DI)
	MOVOU 16(DX), X1
	MOVOU X1, 16(DI)
	ADDQ  $32, DI
	CMPQ  DI, R14
	JCS   long
	MOVQ  R14, DI
	JMP   top

	// The match overlaps itself within 16 bytes: its first CX bytes are
	// repeated over a register, and that is written again and again, each time
	// by as many bytes further as are whole repetitions.
overlap:
	MOVOU   (DX), X0
	SHLQ    $5, CX
	ADDQ    repeats+8(FP), CX
	MOVOU   repeatPattern_shuffle(CX), X1
	MOVQ    repeatPattern_stride(CX), DX
	PSHUFB  X1, X0

repeat:
	MOVOU X0, (DI)
	ADDQ  DX, DI
	CMPQ  DI, R14
	JCS   repeat
	MOVQ  R14, DI
	JMP   top

other:
	TESTL $const_flagLink, AX
	JZ    noLink
	SECOND(R12, const_litSize-1)
	MOVQ  BX, R14
	CONSUME
	TESTL AX, AX
	JS    literal
	TESTL $const_flagOther, AX
	JZ    length

noLink:
	TESTL $const_flagEnd, AX
	JZ    corrupt
	MOVQ  $const_endOfBlock, AX
	JMP   done

otherDistance:
	TESTL $const_flagLink, AX
	JZ    corrupt
	CONSUME
	SECOND(R13, const_distSize-1)
	TESTL $const_flagOther, AX
	JZ    distance

corrupt:
	MOVQ $const_corrupt, AX
	JMP  done

needMore:
	MOVQ $const_needMore, AX

done:
	MOVQ AX, ret+16(FP)
	MOVQ d+0(FP), DX
	SUBQ Decoder_in+0(DX), SI
	MOVQ SI, Decoder_pos(DX)
	SUBQ Decoder_out+0(DX), DI
	MOVQ DI, Decoder_op(DX)
	MOVQ BX, Decoder_hold(DX)
	ANDQ $63, R11
	MOVQ R11, Decoder_n(DX)
	RET
