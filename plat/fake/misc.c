/* SPDX-License-Identifier: ISC */
/* misc.c: memory, random numbers, CPUID and messages of the fake platform. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/str.h"
#include "plat/fake/sched.h"

#define MAX_CPUID 64

struct fake_cpuid {
	uint32_t leaf, sub;
	struct plat_cpuid value;
};

static unsigned alloc_n, alloc_fail_at, alloc_live;
static uint64_t seed = 1;
static char last[1024];
static unsigned log_counts[LOG_DEBUG + 1];
static jmp_buf *bug_env;
static struct fake_cpuid cpuids[MAX_CPUID];
static unsigned n_cpuids;

/* ---- memory ------------------------------------------------------------------------------ */

bool alloc_fails(void)
{
	return ++alloc_n == alloc_fail_at;
}

void fake_fail_alloc(unsigned n)
{
	alloc_n = 0;
	alloc_fail_at = n;
}

unsigned fake_alloc_count(void)
{
	return alloc_n;
}

unsigned fake_alloc_live(void)
{
	return alloc_live;
}

static void *get(size_t size, size_t align)
{
	void *p;

	if (alloc_fails())
		return NULL;
	size = ALIGN_UP(MAX(size, 1), align);
	p = aligned_alloc(align, size);
	if (!p)
		return NULL;
	memset(p, 0, size);
	alloc_live++;
	return p;
}

void *plat_alloc(size_t size)
{
	return get(size, 64);
}

void plat_free(void *p)
{
	alloc_live -= p != NULL;
	free(p);
}

void *plat_pages_alloc(size_t size)
{
	return get(size, PAGE_SIZE);
}

void plat_pages_free(void *p, size_t size)
{
	(void)size;
	plat_free(p);
}

bool plat_takes_back(void)
{
	return false;
}

void plat_shared_discard(void *p, size_t size)
{
	memset(p, 0, size);
}

void plat_pages_discard(void *p, size_t size)
{
	memset(p, 0, size);
}

int plat_ram_alloc(size_t size, enum plat_ram_kind kind, struct plat_ram *out)
{
	hva_t p = get(size, PAGE_SIZE);

	if (!p)
		return err_here(ERR_NOMEM);
	*out = (struct plat_ram){.hva = p, .size = size, .fd = -1, .kind = kind};
	return 0;
}

void plat_ram_free(struct plat_ram *ram)
{
	plat_free(ram->hva);
	ram->hva = NULL;
}

int plat_code_alloc(size_t size, struct plat_code *out)
{
	int fd = alloc_fails() ? -1 : memfd_create("fake-code", MFD_CLOEXEC);

	if (fd < 0)
		return err_here(ERR_NOMEM);
	if (ftruncate(fd, (off_t)size))
		abort();
	out->rw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	out->rx = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	out->size = size;
	close(fd);
	if (out->rw == MAP_FAILED || out->rx == MAP_FAILED)
		abort();
	alloc_live++;
	return 0;
}

void plat_code_free(struct plat_code *code)
{
	if (!code->rw)
		return;
	munmap(code->rw, code->size);
	munmap(code->rx, code->size);
	alloc_live--;
	*code = (struct plat_code){0};
}

/* ---- CPU, random ------------------------------------------------------------------------- */

void fake_set_cpuid(uint32_t leaf, uint32_t sub, const struct plat_cpuid *value)
{
	BUG_ON(n_cpuids == MAX_CPUID);
	cpuids[n_cpuids++] = (struct fake_cpuid){leaf, sub, *value};
}

void plat_cpuid(uint32_t leaf, uint32_t sub, struct plat_cpuid *out)
{
	*out = (struct plat_cpuid){0};
	for (unsigned i = 0; i < n_cpuids; i++) {
		if (cpuids[i].leaf == leaf && cpuids[i].sub == sub)
			*out = cpuids[i].value;
	}
}

void fake_seed(uint64_t s)
{
	seed = s;
}

void plat_random(void *buf, size_t len)
{
	uint8_t *p = buf;

	for (size_t i = 0; i < len; i++) {
		seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		p[i] = (uint8_t)(seed >> 56);
	}
}

/* ---- messages ---------------------------------------------------------------------------- */

void plat_log(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	str_vformat(last, sizeof(last), fmt, ap);
	va_end(ap);
	log_counts[level]++;
	if (getenv("FAKE_LOG"))
		fprintf(stderr, "log %d: %s\n", level, last);
}

const char *fake_log_last(void)
{
	return last;
}

unsigned fake_log_count(enum log_level level)
{
	return log_counts[level];
}

void fake_catch_bug(jmp_buf *env)
{
	bug_env = env;
}

void plat_bug(const char *file, int line, const char *what)
{
	jmp_buf *env = bug_env;

	str_format(last, sizeof(last), "%s", what);
	bug_env = NULL;
	if (env)
		longjmp(*env, 1);
	fprintf(stderr, "%s:%d: BUG: %s\n", file, line, what);
	abort();
}

void misc_reset(void)
{
	alloc_n = 0;
	alloc_fail_at = 0;
	alloc_live = 0;
	seed = 1;
	last[0] = 0;
	memset(log_counts, 0, sizeof(log_counts));
	bug_env = NULL;
	n_cpuids = 0;
}

void fake_reset(void)
{
	sched_reset();
	mutex_reset();
	loop_reset();
	misc_reset();
}

/* ---- hardware virtualization ------------------------------------------------------------------ */

/* Physical addresses are the process's own, so that tables in memory can be walked. */
uint64_t plat_phys(const void *p)
{
	return (uint64_t)p;
}

void *plat_virt(uint64_t pa)
{
	return (void *)pa;
}
