/* SPDX-License-Identifier: ISC */
/* mem.c: host memory: small blocks, page tables and other large tables, guest RAM, code memory. For
 * creation time; any thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/memfd.h>

#include "plat/plat.h"

#define LARGE_PAGE (2 * MIB)

void *plat_alloc(size_t size)
{
	void *p;

	if (size > SIZE_MAX - 64)
		return NULL;
	size = ALIGN_UP(MAX(size, 1), (size_t)64);
	p = aligned_alloc(64, size);
	if (p)
		memset(p, 0, size);
	return p;
}

void plat_free(void *p)
{
	free(p);
}

void *plat_pages_alloc(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	/* These tables are sparse: a huge page for one entry would cost 2 MiB. */
	madvise(p, size, MADV_NOHUGEPAGE);
	return p;
}

void plat_pages_free(void *p, size_t size)
{
	if (p)
		munmap(p, size);
}

void plat_pages_discard(void *p, size_t size)
{
	/* The first works on shared memory. On private memory the pages are replaced: it may lie over
	 * a file (a restored VM's RAM), whose contents would come back after MADV_DONTNEED. */
	int private = madvise(p, size, MADV_REMOVE);

	/* MADV_FREE: all of it is anonymous. Thousands of small mappings in the place of a guest's balloon
	 * would be more than the host allows. */
	if (private && !madvise(p, size, MADV_FREE) && !madvise(p, size, MADV_DONTNEED))
		return;
	if (private &&
	    mmap(p, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
		memset(p, 0, size);
	madvise(p, size, MADV_NOHUGEPAGE); /* as in plat_pages_alloc() */
}

bool plat_takes_back(void)
{
	return true;
}

void plat_shared_discard(void *p, size_t size)
{
	if (madvise(p, size, MADV_REMOVE))
		memset(p, 0, size);
}

static int memfd(const char *name, size_t size, unsigned flags)
{
	int fd = memfd_create(name, MFD_CLOEXEC | flags);

	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)size)) {
		int saved = errno;

		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

/* Arrays of the memory behind fd, at that offset of it, each its beginning again and again. */
static int fold(const struct plat_windows *w, uint8_t *at, int fd, size_t off, size_t end)
{
	for (; off < end; off += w->array)
		for (size_t i = w->folded; i < w->array; i += w->folded)
			if (mmap(at + off + i, w->folded, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_FIXED, fd, (off_t)off) == MAP_FAILED)
				return -1;
	return 0;
}

/* The anonymous part reserves the whole window; the shared one goes over it, and what is folded. */
static uint8_t *window_map(const struct plat_windows *w, int fd)
{
	uint8_t *p = plat_pages_alloc(w->shared + w->own);
	int own = -1, bad = !p || mmap(p, w->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
				       fd, 0) == MAP_FAILED;

	if (!bad && w->folded) {
		own = memfd("vigia-tables", w->own_to, 0);
		bad = own < 0 || fold(w, p, fd, w->from, w->to) ||
		      mmap(p + w->shared, w->own_to, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			   own, 0) == MAP_FAILED ||
		      fold(w, p + w->shared, own, 0, w->own_to);
	}
	if (own >= 0)
		close(own);
	if (!bad)
		return p;
	plat_pages_free(p, w->shared + w->own);
	return NULL;
}

int plat_windows_alloc(const struct plat_windows *w, uint8_t **window)
{
	int fd = memfd("vigia-tables", w->shared, 0);
	struct plat_windows made = *w;

	if (fd < 0)
		return err_here(ERR_NOMEM);
	for (made.n = 0; made.n < w->n; made.n++) {
		window[made.n] = window_map(w, fd);
		if (!window[made.n])
			break;
	}
	close(fd);
	if (made.n == w->n)
		return 0;
	plat_windows_free(&made, window);
	return err_here(ERR_NOMEM);
}

void plat_windows_free(const struct plat_windows *w, uint8_t **window)
{
	for (unsigned i = 0; i < w->n; i++)
		plat_pages_free(window[i], w->shared + w->own);
}

/* Private and anonymous: the host gives such memory large pages where it is aligned for them. Not the first one: of
 * a PC's lowest memory little is used, and by the start, which would wait until 2 MiB of it are zeroed. */
static void *map_large(size_t size)
{
	uint8_t *p = mmap(NULL, size + LARGE_PAGE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
		*at;

	if (p == MAP_FAILED)
		return p;
	at = (uint8_t *)ALIGN_UP((uintptr_t)p, (uintptr_t)LARGE_PAGE);
	if (at > p)
		munmap(p, (size_t)(at - p));
	munmap(at + size, (size_t)(p + LARGE_PAGE - at));
	if (mprotect(at, size, PROT_READ | PROT_WRITE)) {
		munmap(at, size);
		return MAP_FAILED;
	}
	madvise(at, MIN(size, (size_t)LARGE_PAGE), MADV_NOHUGEPAGE);
	if (size > LARGE_PAGE)
		madvise(at + LARGE_PAGE, size - LARGE_PAGE, MADV_HUGEPAGE);
	return at;
}

/* Without MAP_NORESERVE for reserved pages: a guest is not to find out that there are too few. */
static void *map_memfd(size_t size, bool reserved, int *fd)
{
	*fd = memfd("vigia-ram", size, reserved ? MFD_HUGETLB | MFD_HUGE_2MB : 0);
	if (*fd < 0 && reserved)
		return MAP_FAILED;
	if (*fd < 0)
		plat_log(LOG_WARN, "no memfd for the guest's memory (%s): using anonymous memory",
			 strerror(errno));
	return mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | (reserved ? 0 : MAP_NORESERVE) | (*fd < 0 ? MAP_ANONYMOUS : 0),
		    *fd, 0);
}

int plat_ram_alloc(size_t size, enum plat_ram_kind kind, struct plat_ram *out)
{
	int fd = -1;
	void *p = kind == RAM_LARGE ? map_large(size) : map_memfd(size, kind == RAM_RESERVED, &fd);

	if (p == MAP_FAILED) {
		plat_log(
			LOG_ERROR,
			kind == RAM_RESERVED
				? "the host has not %zu MiB of reserved huge pages for the guest's memory (%s)"
				: "the host gives no %zu MiB of address space for the guest's memory (%s): "
				  "try a smaller --memory, or a higher `ulimit -v`",
			size >> 20, strerror(errno));
		if (fd >= 0)
			close(fd);
		return err_here(ERR_NOMEM);
	}
	/* A dump of the guest's memory helps nobody, fills the disk and tells its secrets. */
	madvise(p, size, MADV_DONTDUMP);
	*out = (struct plat_ram){.hva = p, .size = size, .fd = fd, .kind = kind};
	return 0;
}

void plat_ram_free(struct plat_ram *ram)
{
	if (ram->hva)
		munmap(ram->hva, ram->size);
	if (ram->hva && ram->fd >= 0)
		close(ram->fd);
	*ram = (struct plat_ram){.fd = -1};
}

hva_t plat_mirrors_alloc(const struct plat_ram *ram, size_t size)
{
	void *p;

	/* a restored VM's is private, and only shared pages can be mapped twice */
	if (ram->fd < 0 || ram->kind != RAM_SHARED)
		return NULL;
	p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

int plat_mirror_page(hva_t at, hva_t page)
{
	/* An old size of 0 leaves the page where it is too. */
	return mremap(page, 0, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, at) == at
		       ? 0
		       : err_here(ERR_NOSYS);
}

int plat_fixed_alloc(const struct plat_ram *ram, uint64_t at, uint64_t size)
{
	void *want = (void *)at, *p;

	if (ram->fd < 0 || ram->kind != RAM_SHARED)
		return err_here(ERR_NOSYS);
	p = mmap(want, size, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (p == want)
		return 0;
	if (p != MAP_FAILED) /* an old kernel took the address for a wish */
		munmap(p, size);
	return err_here(ERR_NOSYS);
}

void plat_fixed_free(uint64_t at, uint64_t size)
{
	munmap((void *)at, size);
}

int plat_fixed_map(const struct plat_ram *ram, uint64_t at, uint64_t off, uint64_t size, bool write)
{
	void *p = mmap((void *)at, size, PROT_READ | (write ? PROT_WRITE : 0),
		       MAP_SHARED | MAP_FIXED | MAP_POPULATE, ram->fd, (off_t)off);

	if (p == MAP_FAILED)
		return err_here(ERR_NOMEM);
	madvise(p, size, MADV_DONTDUMP);
	return 0;
}

int plat_fixed_unmap(uint64_t at, uint64_t size)
{
	void *p = mmap((void *)at, size, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);

	return p == MAP_FAILED ? err_here(ERR_NOMEM) : 0;
}

int plat_code_alloc(size_t size, struct plat_code *out)
{
	int fd = memfd("vigia-code", size, 0);
	void *rw, *rx;
	int saved;

	if (fd < 0) {
		plat_log(LOG_ERROR, "no memfd for translated code: %s", strerror(errno));
		return err_here(ERR_NOMEM);
	}
	rw = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	rx = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	saved = errno;
	close(fd); /* the mappings keep it */
	if (rw != MAP_FAILED && rx != MAP_FAILED) {
		madvise(rw, size, MADV_DONTDUMP);
		madvise(rx, size, MADV_DONTDUMP);
		*out = (struct plat_code){.rw = rw, .rx = rx, .size = size};
		return 0;
	}
	if (rw != MAP_FAILED)
		munmap(rw, size);
	if (rx != MAP_FAILED)
		munmap(rx, size);
	if (saved == EACCES || saved == EPERM) {
		plat_log(LOG_ERROR,
			 "the host forbids executable memory (vm.memfd_noexec, SELinux execmem "
			 "or a similar rule): allow it for this program");
		return err_here(ERR_ACCES);
	}
	plat_log(LOG_ERROR, "no memory for translated code: %s", strerror(saved));
	return err_here(ERR_NOMEM);
}

void plat_code_free(struct plat_code *code)
{
	if (code->rw)
		munmap(code->rw, code->size);
	if (code->rx)
		munmap(code->rx, code->size);
	*code = (struct plat_code){0};
}
