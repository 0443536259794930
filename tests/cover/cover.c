/* SPDX-License-Identifier: ISC */
/* cover.c: counts rows and faults in the file that VIGIA_COVER names, which all processes of a suite map,
 * so that nothing need be written at their ends. tests/cover/report.py reads it.
 *
 * Any thread; with the guest's FP registers live, hence no library but at the start. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/cover/cover.h"
#include "x86/insn.h"
#include "x86/optab.h"

#define ROWS  4096u
#define SITES 1024u
#define NAME  32u

struct site {
	_Atomic uint32_t state; /* 0: free, 1: being filled in, 2: in use */
	uint32_t line;
	uint16_t vector, kind;
	_Atomic uint32_t n;
	char file[NAME];
};

struct counts {
	_Atomic uint32_t row[COVER_WHATS][ROWS];
	struct site site[SITES];
};

static struct counts *counts;

__attribute__((constructor)) static void cover_open(void)
{
	const char *path = getenv("VIGIA_COVER");
	int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;
	void *p;

	if (fd < 0 || ftruncate(fd, sizeof(struct counts)))
		return;
	p = mmap(NULL, sizeof(struct counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p != MAP_FAILED)
		counts = p;
}

void cover_row(const struct insn *in, enum cover_what what)
{
	const struct optab_row *row = (const struct optab_row *)(const void *)in->row;

	if (counts && (size_t)(row - optab_rows) < ROWS)
		counts->row[what][row - optab_rows]++;
}

static bool same_name(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

void cover_fault(const char *file, unsigned line, unsigned vector, unsigned kind)
{
	const char *name = file;

	if (!counts)
		return;
	for (; *file; file++)
		if (*file == '/')
			name = file + 1;
	for (unsigned i = 0; i < SITES; i++) {
		struct site *s = &counts->site[(line * 7 + vector + kind * 31 + i) % SITES];
		uint32_t unused = 0;

		if (atomic_compare_exchange_strong(&s->state, &unused, 1)) {
			s->line = line;
			s->vector = (uint16_t)vector;
			s->kind = (uint16_t)kind;
			for (unsigned c = 0; c < NAME - 1 && name[c]; c++)
				s->file[c] = name[c];
			atomic_store(&s->state, 2);
		}
		while (atomic_load(&s->state) != 2)
			cpu_relax();
		if (s->line == line && s->vector == vector && s->kind == kind &&
		    same_name(s->file, name)) {
			s->n++;
			return;
		}
	}
}
