/* SPDX-License-Identifier: ISC */
/* smbios.c: SMBIOS tables and their entry point (DMTF DSP0134, version 2.8). A structure is a header,
 * fields at offsets that the specification gives, and then its strings, which fields number from 1.
 * Creation time and resets only. */
#include "board/smbios.h"

#include "base/str.h"

enum {
	T_BIOS = 0,
	T_SYSTEM = 1,
	T_CHASSIS = 3,
	T_CPU = 4,
	T_MEM_ARRAY = 16,
	T_MEM_DEVICE = 17,
	T_MEM_RANGE = 19,
	T_BOOT = 32,
	T_END = 127
};
#define HANDLE(type) ((uint16_t)((type) << 8))

#define MAKER       "Vigia"
#define STRUCT_MAX  0x40
#define STRINGS_MAX 256

struct tables {
	uint8_t *at;
	uint32_t len;
	uint16_t n, largest;
	bool full;
	/* the structure that is being made */
	uint8_t cur[STRUCT_MAX];
	char strings[STRINGS_MAX];
	uint32_t strings_len;
	uint8_t n_strings;
};

static void put(struct tables *t, unsigned offset, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		t->cur[offset + i] = (uint8_t)(value >> (8 * i));
}

static void begin(struct tables *t, uint8_t type, uint8_t len, uint16_t handle)
{
	memset(t->cur, 0, sizeof(t->cur));
	t->strings_len = t->n_strings = 0;
	put(t, 0, type, 1);
	put(t, 1, len, 1);
	put(t, 2, handle, 2);
}

/* An empty string stays number 0: not given. */
static void put_string(struct tables *t, unsigned offset, const char *s)
{
	uint32_t n = (uint32_t)str_len(s) + 1;

	if (n == 1)
		return;
	if (n > STRINGS_MAX - t->strings_len) {
		t->full = true;
		return;
	}
	memcpy(t->strings + t->strings_len, s, n);
	t->strings_len += n;
	t->cur[offset] = ++t->n_strings;
}

static void end(struct tables *t)
{
	/* A second zero ends the strings; where there are none, both are written. */
	uint32_t fields = t->cur[1], zeros = t->strings_len ? 1 : 2;
	uint32_t total = fields + t->strings_len + zeros;

	if (total > SMBIOS_TABLES_SIZE - t->len) {
		t->full = true;
		return;
	}
	memcpy(t->at + t->len, t->cur, fields);
	memcpy(t->at + t->len + fields, t->strings, t->strings_len);
	memset(t->at + t->len + total - zeros, 0, zeros);
	t->len += total;
	t->largest = (uint16_t)MAX((uint32_t)t->largest, total);
	t->n++;
}

static void add_bios(struct tables *t)
{
	begin(t, T_BIOS, 0x18, HANDLE(T_BIOS));
	put_string(t, 0x04, MAKER);
	put_string(t, 0x05, "1");
	put(t, 0x06, 0xe800, 2); /* segment */
	put_string(t, 0x08, "01/01/2024");
	put(t, 0x0a, 1 << 3, 8);     /* characteristics are not given */
	put(t, 0x13, 1 << 4, 1);     /* a virtual machine */
	put(t, 0x14, 0xffff0001, 4); /* release 1.0; no embedded controller */
	end(t);
}

static void add_system(struct tables *t, const struct smbios_identity *id)
{
	/* The first three fields of a UUID are little-endian here (7.2.1). */
	static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

	begin(t, T_SYSTEM, 0x1b, HANDLE(T_SYSTEM));
	put_string(t, 0x04, MAKER);
	put_string(t, 0x05, "Vigia virtual machine");
	put_string(t, 0x07, id->serial);
	for (unsigned i = 0; i < 16; i++)
		put(t, 0x08 + i, id->uuid[order[i]], 1);
	put(t, 0x18, 6, 1); /* woken by the power switch */
	end(t);
}

static void add_chassis(struct tables *t, const struct smbios_identity *id)
{
	begin(t, T_CHASSIS, 0x16, HANDLE(T_CHASSIS));
	put_string(t, 0x04, MAKER);
	put(t, 0x05, 1, 1); /* other */
	put_string(t, 0x07, id->serial);
	put(t, 0x09, 0x02030303, 4); /* boot-up, supply, temperature: safe; security unknown */
	end(t);
}

static void add_cpu(struct tables *t, unsigned n)
{
	char socket[16];

	str_format(socket, sizeof(socket), "CPU %u", n);
	begin(t, T_CPU, 0x2a, (uint16_t)(HANDLE(T_CPU) + n));
	put_string(t, 0x04, socket);
	put(t, 0x05, 3, 1); /* central processor */
	put(t, 0x06, 1, 1); /* family: other */
	put_string(t, 0x07, MAKER);
	put(t, 0x18, 0x41, 1);       /* populated, enabled */
	put(t, 0x19, 1, 1);          /* upgrade: other */
	put(t, 0x1a, 0xffffffff, 4); /* no cache handles */
	put(t, 0x1e, 0xffff, 2);
	put(t, 0x23, 0x010101, 3); /* cores, enabled, threads */
	put(t, 0x26, 1 << 2, 2);   /* 64 bits */
	put(t, 0x28, 1, 2);
	end(t);
}

static void add_range(struct tables *t, unsigned n, uint64_t first, uint64_t size)
{
	if (!size)
		return;
	begin(t, T_MEM_RANGE, 0x1f, (uint16_t)(HANDLE(T_MEM_RANGE) + n));
	put(t, 0x04, first / KIB, 4);
	put(t, 0x08, (first + size) / KIB - 1, 4);
	put(t, 0x0c, HANDLE(T_MEM_ARRAY), 2);
	put(t, 0x0e, 1, 1);
	end(t);
}

static void add_memory(struct tables *t, const struct smbios_config *cfg)
{
	const uint64_t mib = cfg->ram / MIB, kib = cfg->ram / KIB,
		       low = MIN(cfg->ram, cfg->low_end);
	const bool huge_array = kib >= 0x80000000, huge_device = mib >= 0x7fff;

	begin(t, T_MEM_ARRAY, 0x17, HANDLE(T_MEM_ARRAY));
	put(t, 0x04, 0x030301, 3); /* other place, system memory, no correction */
	put(t, 0x07, huge_array ? 0x80000000 : kib, 4);
	put(t, 0x0b, 0xfffe, 2); /* no error information, as below */
	put(t, 0x0d, 1, 2);
	put(t, 0x0f, huge_array ? cfg->ram : 0, 8);
	end(t);

	begin(t, T_MEM_DEVICE, 0x28, HANDLE(T_MEM_DEVICE));
	put(t, 0x04, HANDLE(T_MEM_ARRAY), 2);
	put(t, 0x06, 0xfffe, 2);
	put(t, 0x08, 0xffffffff, 4); /* widths are not known */
	put(t, 0x0c, huge_device ? 0x7fff : mib, 2);
	put(t, 0x0e, 9, 1); /* DIMM */
	put_string(t, 0x10, "DIMM 0");
	put(t, 0x12, 7, 1); /* RAM */
	put(t, 0x13, 1 << 1, 2);
	put_string(t, 0x17, MAKER);
	put(t, 0x1c, huge_device ? mib : 0, 4);
	end(t);

	add_range(t, 0, 0, low);
	add_range(t, 1, 4 * GIB, cfg->ram - low);
}

/* 5.2.1 */
static void make_anchor(struct tables *t, uint32_t tables_at, uint8_t *anchor)
{
	memset(t->cur, 0, sizeof(t->cur));
	memcpy(t->cur, "_SM_", 4);
	put(t, 0x05, SMBIOS_ANCHOR_SIZE, 1);
	put(t, 0x06, 0x0802, 2);
	put(t, 0x08, t->largest, 2);
	memcpy(t->cur + 0x10, "_DMI_", 5);
	put(t, 0x16, t->len, 2);
	put(t, 0x18, tables_at, 4);
	put(t, 0x1c, t->n, 2);
	put(t, 0x1e, 0x28, 1);
	t->cur[0x15] = (uint8_t)-sum_bytes(t->cur + 0x10, 15);
	t->cur[0x04] = (uint8_t)-sum_bytes(t->cur, SMBIOS_ANCHOR_SIZE);
	memcpy(anchor, t->cur, SMBIOS_ANCHOR_SIZE);
}

int smbios_build(const struct smbios_config *cfg, uint32_t tables_at,
		 uint8_t anchor[SMBIOS_ANCHOR_SIZE], uint8_t *tables, uint32_t *len)
{
	struct tables t = {.at = tables};

	add_bios(&t);
	add_system(&t, cfg->identity);
	add_chassis(&t, cfg->identity);
	for (unsigned i = 0; i < cfg->cpus; i++)
		add_cpu(&t, i);
	add_memory(&t, cfg);
	begin(&t, T_BOOT, 0x0b, HANDLE(T_BOOT)); /* no errors */
	end(&t);
	begin(&t, T_END, 0x04, HANDLE(T_END));
	end(&t);
	if (t.full)
		return err_here(ERR_NOMEM);
	make_anchor(&t, tables_at, anchor);
	*len = t.len;
	return 0;
}
