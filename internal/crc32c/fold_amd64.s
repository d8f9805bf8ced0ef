#include "textflag.h"

// x^(8·256+32) and x^(8·256-32) modulo the polynomial, their bits reversed as
// in the data, and shifted by one, as the product of two reversed numbers wants
// it: they carry the low and the high half of 16 bytes over 256 bytes.
DATA byWhat<>+0(SB)/8, $0xdcb17aa4
DATA byWhat<>+8(SB)/8, $0xb9e02b86
GLOBL byWhat<>(SB), RODATA|NOPTR, $16

// FOLD carries the 64 bytes in Z over the block and adds those at AT(SI).
#define FOLD(Z, T, AT) \
	VPCLMULQDQ $0x00, Z4, Z, T \
	VPCLMULQDQ $0x11, Z4, Z, Z \
	VPTERNLOGQ $0x96, AT(SI), T, Z

// func fold(rest *[blockSize]byte, p *byte, blocks int, crc uint32)
TEXT ·fold(SB), NOSPLIT, $0-28
	MOVQ rest+0(FP), DI
	MOVQ p+8(FP), SI
	MOVQ blocks+16(FP), CX
	MOVL crc+24(FP), AX
	VMOVD AX, X5
	VBROADCASTI32X4 byWhat<>(SB), Z4
	VMOVDQU64 (SI), Z0
	VMOVDQU64 64(SI), Z1
	VMOVDQU64 128(SI), Z2
	VMOVDQU64 192(SI), Z3
	VPXORQ    Z5, Z0, Z0
	DECQ CX
	JZ   done

	PCALIGN $32

block:
	ADDQ $256, SI
	FOLD(Z0, Z5, 0)
	FOLD(Z1, Z6, 64)
	FOLD(Z2, Z7, 128)
	FOLD(Z3, Z8, 192)
	DECQ CX
	JNZ  block

done:
	VMOVDQU64 Z0, (DI)
	VMOVDQU64 Z1, 64(DI)
	VMOVDQU64 Z2, 128(DI)
	VMOVDQU64 Z3, 192(DI)
	VZEROUPPER
	RET
