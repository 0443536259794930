/* SPDX-License-Identifier: ISC */
/* zydis.c: our decoder and encoder against libzydis.
 *
 * Random strings, shaped so that every map, prefix and ModRM form comes up, in 16-, 32- and 64-bit
 * mode, then the code of system programs: validity, length, operation, operands (register, size,
 * use, memory operand, immediates), flags and implicit registers. Then each instruction that can be
 * copied is encoded again with random registers and memory, and libzydis must see just that.
 * Differences that are meant are listed in expected(), each with its reason. Options: count a mode,
 * seed. */
#include <Zydis/Zydis.h>
#include <elf.h>
#undef PF_W /* ours are page-fault bits */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/diff/zydis.h"

static uint64_t rng_state;

uint64_t rnd(void)
{
	uint64_t z = (rng_state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

unsigned below(unsigned n)
{
	return (unsigned)(rnd() % n);
}

/* ---- reporting ---- */

struct zydis_counts counts;
static bool verbose;

static struct {
	ZydisDecoder dec;
	ZydisFormatter fmt;
} zy[9];

static void print_one(const struct one *o, const char *what)
{
	char text[128] = "-", ztext[128] = "-";

	if (o->res == DECODE_OK)
		insn_format(&o->in, 0, text, sizeof(text));
	if (o->z_ok)
		ZydisFormatterFormatInstruction(&zy[o->mode].fmt, &o->z, o->zo,
						o->z.operand_count_visible, ztext, sizeof(ztext), 0,
						NULL);
	printf("mode %2u ", o->mode * 8);
	for (unsigned i = 0; i < 15; i++)
		printf("%02x%s", o->bytes[i], i + 1 == o->in.len ? "'" : "");
	printf(" %s: ours %d/%u '%s', zydis %d/%u '%s' %s\n", what, (int)o->res, o->in.len, text,
	       o->z_ok, o->z_ok ? o->z.length : 0, ztext,
	       o->z_ok ? ZydisISASetGetString(o->z.meta.isa_set) : "");
}

void bad(const struct one *o, const char *what)
{
	if (counts.bad++ < 40 || verbose)
		print_one(o, what);
}

/* ---- what differs on purpose ---- */

/* Instruction sets that we don't have: never announced, so #UD is right */
static bool set_unknown(ZydisISASet set)
{
	/* In the order of their names */
	if (set >= ZYDIS_ISA_SET_AVX512ER_512 && set <= ZYDIS_ISA_SET_AVX512ER_SCALAR)
		return true;
	if (set >= ZYDIS_ISA_SET_AVX512PF_512 && set <= ZYDIS_ISA_SET_AVX512_BF16_512)
		return true;
	if (set >= ZYDIS_ISA_SET_AVX512_FP16_128 && set <= ZYDIS_ISA_SET_AVX512_FP16_SCALAR)
		return true;
	if (set >= ZYDIS_ISA_SET_AVX512_VP2INTERSECT_128 &&
	    set <= ZYDIS_ISA_SET_AVX512_VP2INTERSECT_512)
		return true;
	switch (set) {
	case ZYDIS_ISA_SET_AMD3DNOW:
	case ZYDIS_ISA_SET_AMD_INVLPGB:
	case ZYDIS_ISA_SET_AMX_BF16:
	case ZYDIS_ISA_SET_AMX_INT8:
	case ZYDIS_ISA_SET_AMX_TILE:
	case ZYDIS_ISA_SET_AVX_VNNI:
	case ZYDIS_ISA_SET_CET:
	case ZYDIS_ISA_SET_CLZERO:
	case ZYDIS_ISA_SET_ENQCMD:
	case ZYDIS_ISA_SET_FMA4:
	case ZYDIS_ISA_SET_HRESET:
	case ZYDIS_ISA_SET_KEYLOCKER:
	case ZYDIS_ISA_SET_KEYLOCKER_WIDE:
	case ZYDIS_ISA_SET_LWP:
	case ZYDIS_ISA_SET_MCOMMIT:
	case ZYDIS_ISA_SET_MONITORX:
	case ZYDIS_ISA_SET_MOVDIR:
	case ZYDIS_ISA_SET_PADLOCK_ACE:
	case ZYDIS_ISA_SET_PADLOCK_PHE:
	case ZYDIS_ISA_SET_PADLOCK_PMM:
	case ZYDIS_ISA_SET_PADLOCK_RNG:
	case ZYDIS_ISA_SET_PCONFIG:
	case ZYDIS_ISA_SET_PT:
	case ZYDIS_ISA_SET_RDPRU:
	case ZYDIS_ISA_SET_RTM:
	case ZYDIS_ISA_SET_SERIALIZE:
	case ZYDIS_ISA_SET_SGX:
	case ZYDIS_ISA_SET_SGX_ENCLV:
	case ZYDIS_ISA_SET_SMX:
	case ZYDIS_ISA_SET_SNP:
	case ZYDIS_ISA_SET_SSE4A:
	case ZYDIS_ISA_SET_TBM:
	case ZYDIS_ISA_SET_TDX:
	case ZYDIS_ISA_SET_TSX_LDTRK:
	case ZYDIS_ISA_SET_UINTR:
	case ZYDIS_ISA_SET_KNCJKBR:
	case ZYDIS_ISA_SET_KNCE:
	case ZYDIS_ISA_SET_KNCV:
	case ZYDIS_ISA_SET_KNC_MISC:
	case ZYDIS_ISA_SET_KNCSTREAM:
	case ZYDIS_ISA_SET_KNC_PF_HINT:
	case ZYDIS_ISA_SET_WAITPKG:
	case ZYDIS_ISA_SET_XOP:
	case ZYDIS_ISA_SET_AMD:
		return true;
	default:
		return false;
	}
}

static bool expected(const struct one *o)
{
	if (o->z_ok && o->res == DECODE_UD) {
		if (set_unknown(o->z.meta.isa_set))
			return true;
		/* Xeon Phi's */
		if (o->z.encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX ||
		    o->z.meta.isa_ext == ZYDIS_ISA_EXT_KNC)
			return true;
	}
	/* EVEX.b with a 32-bit integer: of VCVTSI2SD with W clear they know that hosts ignore it */
	return !o->z_ok && o->res == DECODE_OK && o->mode != 8 &&
	       (o->in.mnem == I_VCVTUSI2SD || o->in.mnem == I_VCVTSI2SD);
}

/* ---- comparing ---- */

void check_one(struct one *o)
{
	counts.checked++;
	o->res = insn_decode(o->bytes, 15, o->mode, &o->in);
	o->z_ok =
		ZYAN_SUCCESS(ZydisDecoderDecodeFull(&zy[o->mode].dec, o->bytes, 15, &o->z, o->zo));
	if (o->z_ok != (o->res == DECODE_OK)) {
		if (expected(o))
			counts.expected++;
		else
			bad(o, "validity");
		return;
	}
	if (!o->z_ok)
		return;
	counts.valid++;
	if (o->in.len != o->z.length)
		bad(o, "length");
	if (o->in.mnem == I_XCHG && o->z.mnemonic == ZYDIS_MNEMONIC_PAUSE) {
		counts.expected++; /* F3 49 90: the processor exchanges (tried) */
		return;
	}
	check_match(o);
}

/* ---- random strings ---- */

static void random_bytes(uint8_t *b, unsigned mode)
{
	static const uint8_t prefixes[] = {0x66, 0xf2, 0xf3, 0x67, 0x66, 0xf0, 0x2e,
					   0x36, 0x3e, 0x26, 0x64, 0x65, 0xf3, 0xf2};
	unsigned n = 0, k;

	for (unsigned i = 0; i < 16; i += 8) {
		uint64_t v = rnd();

		memcpy(b + i, &v, 8);
	}
	k = below(26);
	if (k == 0)
		return;
	if (k >= 20) {
		b[0] = 0x62;
		b[1] = (uint8_t)((b[1] & 0xf0) | (below(20) ? 1 + below(3) : below(16)));
		b[2] = (uint8_t)(below(20) ? b[2] | 4 : b[2]);
		if (below(2))
			b[2] |= 0x78;
		if (below(2))
			b[3] |= 8;
		if (below(2))
			b[3] &= 0x6f;
		if (mode != 8)
			b[1] |= 0xc0;
		return;
	}
	while (n < 5 && below(3) == 0)
		b[n++] = prefixes[below(sizeof(prefixes))];
	if (mode == 8 && below(2))
		b[n++] = (uint8_t)(0x40 | below(16));
	if (k < 7) {
		n++;
	} else if (k < 13) {
		b[n++] = 0x0f;
	} else if (k < 14) {
		b[n++] = 0x0f;
		b[n++] = 0x38;
	} else if (k < 15) {
		b[n++] = 0x0f;
		b[n++] = 0x3a;
	} else {
		n = below(8) ? 0 : n;
		b[n++] = k < 17 ? 0xc5 : 0xc4;
		if (k >= 17)
			b[n++] =
				(uint8_t)((below(8) << 5) | (below(20) ? 1 + below(3) : below(32)));
		b[n] = below(2) ? b[n] | 0x78 : b[n];
		if (mode != 8)
			b[k < 17 ? n : n - 1] |= 0xc0;
	}
}

/* Both directions */
static void check_both(struct one *o)
{
	check_one(o);
	if (o->res == DECODE_OK && o->z_ok &&
	    (o->in.row->cls == CLS_COPY || o->in.row->cls == CLS_NOP))
		check_encoding(&o->in);
}

static void random_run(unsigned mode, unsigned long count)
{
	uint8_t b[16];
	struct one o = {.bytes = b, .mode = mode};

	for (unsigned long i = 0; i < count; i++) {
		random_bytes(b, mode);
		check_both(&o);
	}
}

/* ---- the code of programs ---- */

/* Linear sweep over .text of a 64-bit ELF file; after a byte that is no instruction, the next one */
static void sweep(const uint8_t *text, size_t size)
{
	uint8_t tail[16];
	struct one o = {.mode = 8};

	for (size_t at = 0; at < size;) {
		if (size - at < sizeof(tail)) {
			memset(tail, 0x90, sizeof(tail));
			memcpy(tail, text + at, size - at);
			o.bytes = tail;
		} else {
			o.bytes = text + at;
		}
		check_both(&o);
		at += o.res == DECODE_OK ? o.in.len : 1;
	}
}

static void sweep_file(const char *name, size_t most)
{
	FILE *f = fopen(name, "rb");
	Elf64_Ehdr eh;

	if (!f)
		return; /* not on this system */
	if (fread(&eh, sizeof(eh), 1, f) == 1 && !memcmp(eh.e_ident, ELFMAG, SELFMAG) &&
	    eh.e_ident[EI_CLASS] == ELFCLASS64 && eh.e_machine == EM_X86_64)
		for (unsigned i = 0; i < eh.e_phnum; i++) {
			Elf64_Phdr ph;
			uint8_t *text;
			size_t n;

			if (fseek(f, (long)(eh.e_phoff + i * sizeof(ph)), SEEK_SET) ||
			    fread(&ph, sizeof(ph), 1, f) != 1)
				break;
			if (ph.p_type != PT_LOAD || !(ph.p_flags & PF_X))
				continue;
			n = ph.p_filesz < most ? ph.p_filesz : most;
			text = malloc(n);
			if (text && !fseek(f, (long)ph.p_offset, SEEK_SET) &&
			    fread(text, n, 1, f) == 1) {
				sweep(text, n);
				printf("%s: %zu KiB\n", name, n >> 10);
			}
			free(text);
		}
	fclose(f);
}

int main(int argc, char **argv)
{
	unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 0) : 2000000;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	static const struct {
		unsigned mode;
		ZydisMachineMode zm;
		ZydisStackWidth zs;
	} modes[] = {
		{8, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
		{4, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32},
		{2, ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16},
	};

	/* With hand-written SIMD of all kinds, FP, kernels' opposite */
	static const char *const files[] = {
		"/lib/x86_64-linux-gnu/libc.so.6",      "/lib/x86_64-linux-gnu/libm.so.6",
		"/lib/x86_64-linux-gnu/libcrypto.so.3", "/lib/x86_64-linux-gnu/libpixman-1.so.0",
		"/usr/bin/qemu-system-x86_64",          "/bin/busybox",
	};
	/* Without these features their encodings are NOPs, as with us */
	static const ZydisDecoderMode off[] = {
		ZYDIS_DECODER_MODE_MPX,
		ZYDIS_DECODER_MODE_CET,
		ZYDIS_DECODER_MODE_CLDEMOTE,
		ZYDIS_DECODER_MODE_KNC,
	};

	verbose = getenv("VERBOSE");
	for (unsigned i = 0; i < 3; i++) {
		ZydisDecoderInit(&zy[modes[i].mode].dec, modes[i].zm, modes[i].zs);
		for (unsigned j = 0; j < sizeof(off) / sizeof(off[0]); j++)
			ZydisDecoderEnableMode(&zy[modes[i].mode].dec, off[j], ZYAN_FALSE);
		ZydisFormatterInit(&zy[modes[i].mode].fmt, ZYDIS_FORMATTER_STYLE_INTEL);
		rng_state = seed + i;
		random_run(modes[i].mode, count);
	}
	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		sweep_file(files[i], 2 << 20);
	printf("seed %" PRIu64 ": %lu decoded, %lu valid; %lu encoded, %lu refused, %lu high-byte; "
	       "%lu expected differences, %lu unexpected\n",
	       seed, counts.checked, counts.valid, counts.encoded, counts.no, counts.high8,
	       counts.expected, counts.bad);
	return counts.bad != 0;
}
