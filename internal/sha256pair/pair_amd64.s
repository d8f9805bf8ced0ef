#include "go_asm.h"
#include "textflag.h"

// Two streams, each with its own registers:
//
//	          state     16 words of the message
//	first     X1, X2    X3 X4 X5 X6
//	second    X7, X8    X9 X10 X11 X12
//
// X0 is the operand that SHA256RNDS2 takes unnamed, X13 is for a moment, X14
// turns bytes around. The processor overlaps the two by itself: neither waits
// for the other's results. Together they could keep the unit for rounds busy all
// the time, if nothing else wanted it; AVX's three operands save the copies.

// ROUNDS does four rounds with the words W and the constants at K.
#define ROUNDS(K, W, S0, S1) \
	VPADDD      K(R8), W, X0 \
	SHA256RNDS2 X0, S0, S1 \
	VPSHUFD     $0x0e, X0, X0 \
	SHA256RNDS2 X0, S1, S0

// NEXT replaces the words W by those 16 further on.
#define NEXT(W, W1, W2, W3) \
	VPALIGNR   $4, W2, W3, X13 \
	SHA256MSG1 W1, W        \
	VPADDD     X13, W, W    \
	SHA256MSG2 W3, W

#define ROUNDS2(K, A, B) \
	ROUNDS(K, A, X1, X2) \
	ROUNDS(K, B, X7, X8)

#define BOTH(K, A, A1, A2, A3, B, B1, B2, B3) \
	ROUNDS2(K, A, B)       \
	NEXT(A, A1, A2, A3)    \
	NEXT(B, B1, B2, B3)

#define LOAD(FROM, W, AT) \
	VMOVDQU AT(FROM), W \
	VPSHUFB X14, W, W

// ADD adds the state before the block, at TO, and stores the sum there.
#define ADD(S, TO, AT) \
	VPADDD  AT(TO), S, S \
	VMOVDQU S, AT(TO)

// func blocks2(a, b *state, p, q *byte, blocks int, c *constants)
TEXT ·blocks2(SB), NOSPLIT, $0-48
	MOVQ  a+0(FP), AX
	MOVQ  b+8(FP), BX
	MOVQ  p+16(FP), SI
	MOVQ  q+24(FP), DI
	MOVQ  blocks+32(FP), CX
	MOVQ  c+40(FP), R8
	VMOVDQU constants_flip(R8), X14
	VMOVDQU (AX), X1
	VMOVDQU 16(AX), X2
	VMOVDQU (BX), X7
	VMOVDQU 16(BX), X8
	TESTQ CX, CX
	JZ    done

	PCALIGN $32

block:
	LOAD(SI, X3, 0)
	LOAD(SI, X4, 16)
	LOAD(SI, X5, 32)
	LOAD(SI, X6, 48)
	LOAD(DI, X9, 0)
	LOAD(DI, X10, 16)
	LOAD(DI, X11, 32)
	LOAD(DI, X12, 48)
	BOTH(0, X3, X4, X5, X6, X9, X10, X11, X12)
	BOTH(16, X4, X5, X6, X3, X10, X11, X12, X9)
	BOTH(32, X5, X6, X3, X4, X11, X12, X9, X10)
	BOTH(48, X6, X3, X4, X5, X12, X9, X10, X11)
	BOTH(64, X3, X4, X5, X6, X9, X10, X11, X12)
	BOTH(80, X4, X5, X6, X3, X10, X11, X12, X9)
	BOTH(96, X5, X6, X3, X4, X11, X12, X9, X10)
	BOTH(112, X6, X3, X4, X5, X12, X9, X10, X11)
	BOTH(128, X3, X4, X5, X6, X9, X10, X11, X12)
	BOTH(144, X4, X5, X6, X3, X10, X11, X12, X9)
	BOTH(160, X5, X6, X3, X4, X11, X12, X9, X10)
	BOTH(176, X6, X3, X4, X5, X12, X9, X10, X11)
	ROUNDS2(192, X3, X9)
	ROUNDS2(208, X4, X10)
	ROUNDS2(224, X5, X11)
	ROUNDS2(240, X6, X12)
	ADD(X1, AX, 0)
	ADD(X2, AX, 16)
	ADD(X7, BX, 0)
	ADD(X8, BX, 16)
	ADDQ $64, SI
	ADDQ $64, DI
	DECQ CX
	JNZ  block

done:
	RET

// func cpuid7() (ebx uint32)
TEXT ·cpuid7(SB), NOSPLIT, $0-4
	XORL AX, AX
	CPUID
	CMPL AX, $7
	JCS  none
	MOVL $7, AX
	XORL CX, CX
	CPUID
	MOVL BX, ebx+0(FP)
	RET

none:
	MOVL $0, ebx+0(FP)
	RET
