/* SPDX-License-Identifier: ISC */
/* release.c: what only the start of a VM has needed leaves the process's memory. */
#include "ctl/release.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>

#include "base/def.h"
#include "plat/plat.h"

/* Code and constants are the files' pages: they come back when they are used again, from the page cache. */
static int release(struct dl_phdr_info *info, size_t size, void *arg)
{
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t at = ALIGN_DOWN(info->dlpi_addr + p->p_vaddr, (uintptr_t)PAGE_SIZE);

		if (p->p_type == PT_LOAD && !(p->p_flags & PF_W))
			(void)madvise((void *)at, info->dlpi_addr + p->p_vaddr + p->p_memsz - at,
				      MADV_DONTNEED);
	}
	return 0;
}

void release_start(void)
{
	malloc_trim(0);
	dl_iterate_phdr(release, NULL);
}
