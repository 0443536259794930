/* SPDX-License-Identifier: ISC */
/* file.c: the host's files and disks. Submitted by any thread; done() comes on the aio's thread, or
 * at once, in the submitter's: what the page cache can give without waiting is read by the caller,
 * because waking another core costs more than the copy. Small writes go to the page cache in the
 * same way, until one takes long (the host throttles writers); then they are handed over for a
 * while, so that a vCPU does not stand still. */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "block/aio.h"
#include "block/file.h"
#include "plat/plat.h"

#define INLINE_WRITE 65536     /* bytes */
#define SLOW_WRITE   3000000   /* ns: longer than this is too long */
#define SLOW_PAUSE   100000000 /* ns: no writes by the caller for so long */
#define ZERO_PIECE   65536

struct file {
	struct bfile f;
	int fd;
	struct aio *aio;
	bool unsafe, in_memory; /* tmpfs: nothing ever waits */
	_Atomic bool no_nowait, no_punch, no_zero_range;
	_Atomic uint64_t slow_until; /* plat_now() */
	struct file_id id;
};

/* A request that has been handed over. */
struct fop {
	struct aio_op op;
	struct file *file;
	struct block_req *req;
	uint64_t pos;    /* bytes done */
	bool by_writing; /* zeroes, as data */
	struct iovec iov[];
};

static uint8_t zeros[ZERO_PIECE]; /* not const: those would take room in the program */

_Static_assert(sizeof(struct iovec) == sizeof(struct block_vec) &&
		       offsetof(struct iovec, iov_base) == offsetof(struct block_vec, base) &&
		       offsetof(struct iovec, iov_len) == offsetof(struct block_vec, len),
	       "vectors are passed as they are");

int file_error(int e)
{
	switch (e) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return ERR_NOSPC;
	case EACCES:
	case EPERM:
		return ERR_ACCES;
	case EROFS:
		return ERR_ROFS;
	case ENOENT:
		return ERR_NOENT;
	case EEXIST:
		return ERR_EXIST;
	case ENOMEM:
		return ERR_NOMEM;
	default:
		return ERR_IO;
	}
}

static const struct iovec *req_iov(const struct block_req *req)
{
	return (const struct iovec *)(const void *)req->vec;
}

/* What is left of a vector after its first pos bytes. */
static int rest_of(const struct block_req *req, uint64_t pos, struct iovec *out)
{
	unsigned i;
	int n = 0;

	for (i = 0; i < req->n_vec && n < IOV_MAX; i++) {
		uint64_t len = req->vec[i].len;

		if (pos >= len) {
			pos -= len;
			continue;
		}
		out[n].iov_base = (uint8_t *)req->vec[i].base + pos;
		out[n++].iov_len = (size_t)(len - pos);
		pos = 0;
	}
	return n;
}

/* Behind the end of the file all is zeros. */
static void clear_rest(const struct block_req *req, uint64_t pos)
{
	unsigned i;

	for (i = 0; i < req->n_vec; i++) {
		uint64_t len = req->vec[i].len;

		if (pos < len)
			memset((uint8_t *)req->vec[i].base + pos, 0, (size_t)(len - pos));
		pos = pos < len ? 0 : pos - len;
	}
}

/* ---- handed over ----------------------------------------------------------------------------------- */

static void fop_end(struct aio_op *op, long res);

static void start_rw(struct fop *p)
{
	struct block_req *req = p->req;
	int i;

	p->op.off = (off_t)(req->offset + p->pos);
	p->op.iov = p->iov;
	if (p->by_writing) {
		uint64_t left = req->len - p->pos;

		for (i = 0; i < 16 && left; i++) {
			p->iov[i].iov_base = (void *)(uintptr_t)zeros;
			p->iov[i].iov_len = (size_t)MIN(left, (uint64_t)ZERO_PIECE);
			left -= p->iov[i].iov_len;
		}
		p->op.n_iov = i;
	} else {
		p->op.n_iov = rest_of(req, p->pos, p->iov);
	}
	aio_submit(p->file->aio, &p->op);
}

static void start_zero(struct fop *p)
{
	struct block_req *req = p->req;
	struct file *f = p->file;
	bool punch = (req->unmap || req->op == BLOCK_DISCARD) && !f->no_punch;

	if (!punch && f->no_zero_range) {
		p->by_writing = true;
		p->op.kind = AIO_WRITEV;
		start_rw(p);
		return;
	}
	p->op.kind = AIO_FALLOCATE;
	p->op.mode = FALLOC_FL_KEEP_SIZE | (punch ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
	p->op.off = (off_t)req->offset;
	p->op.len = (off_t)req->len;
	aio_submit(f->aio, &p->op);
}

static void fop_start(struct fop *p)
{
	switch (p->req->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		p->op.kind = p->req->op == BLOCK_READ ? AIO_READV : AIO_WRITEV;
		start_rw(p);
		break;
	case BLOCK_FLUSH:
		p->op.kind = AIO_DATASYNC;
		aio_submit(p->file->aio, &p->op);
		break;
	default:
		start_zero(p);
		break;
	}
}

/* The file system does not do it this way: is there another? */
static bool other_way(struct fop *p, long res)
{
	if (p->op.kind != AIO_FALLOCATE || (res != -EOPNOTSUPP && res != -EINVAL && res != -ENOSYS))
		return false;
	if (p->op.mode & FALLOC_FL_PUNCH_HOLE)
		p->file->no_punch = true;
	else
		p->file->no_zero_range = true;
	return p->req->op == BLOCK_ZERO;
}

static void fop_end(struct aio_op *op, long res)
{
	struct fop *p = container_of(op, struct fop, op);
	struct block_req *req = p->req;
	struct file *f = p->file;
	int err = 0;

	if (other_way(p, res)) {
		start_zero(p);
		return;
	}
	if (res < 0) {
		err = req->op == BLOCK_DISCARD ? 0 : file_error((int)-res);
	} else if (op->kind == AIO_READV && !res) {
		clear_rest(req, p->pos);
	} else if (op->kind == AIO_READV || op->kind == AIO_WRITEV) {
		p->pos += (uint64_t)res;
		if (op->kind == AIO_WRITEV)
			bfile_grew(&f->f, req->offset + p->pos);
		if (!res) {
			err = err_here(ERR_IO);
		} else if (p->pos < req->len) {
			start_rw(p);
			return;
		}
	}
	free(p);
	req->done(req, err);
}

static void hand_over(struct file *f, struct block_req *req, uint64_t pos)
{
	unsigned n = MAX(MIN(req->n_vec, (unsigned)IOV_MAX), 16u);
	struct fop *p = malloc(sizeof(*p) + n * sizeof(p->iov[0]));

	if (!p) {
		req->done(req, err_here(ERR_NOMEM));
		return;
	}
	*p = (struct fop){.file = f, .req = req, .pos = pos};
	p->op.fd = f->fd;
	p->op.end = fop_end;
	fop_start(p);
}

/* ---- at once ---------------------------------------------------------------------------------------- */

static void submit_read(struct file *f, struct block_req *req)
{
	unsigned n = MIN(req->n_vec, (unsigned)IOV_MAX);
	ssize_t got;

	if (f->no_nowait) {
		hand_over(f, req, 0);
		return;
	}
	got = preadv2(f->fd, req_iov(req), (int)n, (off_t)req->offset,
		      f->in_memory ? 0 : RWF_NOWAIT);
	if (got < 0 && errno == EOPNOTSUPP)
		f->no_nowait = true;
	if (got < 0) {
		hand_over(f, req, 0);
		return;
	}
	if ((uint64_t)got < req->len && req->offset + (uint64_t)got >= bfile_size(&f->f)) {
		clear_rest(req, (uint64_t)got);
		got = (ssize_t)req->len;
	}
	if ((uint64_t)got == req->len)
		req->done(req, 0);
	else
		hand_over(f, req, (uint64_t)got);
}

static void submit_write(struct file *f, struct block_req *req)
{
	uint64_t start = plat_now();
	ssize_t put;

	if (req->len > INLINE_WRITE || req->n_vec > IOV_MAX || start < f->slow_until) {
		hand_over(f, req, 0);
		return;
	}
	put = pwritev(f->fd, req_iov(req), (int)req->n_vec, (off_t)req->offset);
	if (plat_now() - start > SLOW_WRITE && !f->in_memory)
		f->slow_until = start + SLOW_PAUSE;
	if (put > 0)
		bfile_grew(&f->f, req->offset + (uint64_t)put);
	if (put >= 0 && (uint64_t)put == req->len)
		req->done(req, 0);
	else
		hand_over(f, req, put > 0 ? (uint64_t)put : 0); /* which tells the error */
}

static void file_submit(struct bfile *b, struct block_req *req)
{
	struct file *f = container_of(b, struct file, f);

	switch (req->op) {
	case BLOCK_READ:
		submit_read(f, req);
		break;
	case BLOCK_WRITE:
		submit_write(f, req);
		break;
	case BLOCK_FLUSH:
		if (f->unsafe)
			req->done(req, 0);
		else
			hand_over(f, req, 0);
		break;
	case BLOCK_DISCARD:
		if (f->no_punch)
			req->done(req, 0);
		else
			hand_over(f, req, 0);
		break;
	case BLOCK_ZERO:
		hand_over(f, req, 0);
		break;
	}
}

/* ---- synchronous ------------------------------------------------------------------------------------- */

static int file_pread(struct bfile *b, uint64_t off, void *buf, size_t len)
{
	struct file *f = container_of(b, struct file, f);
	uint8_t *p = buf;

	while (len) {
		ssize_t n = pread(f->fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_here(file_error(errno));
		if (!n) {
			memset(p, 0, len);
			return 0;
		}
		p += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int file_pwrite(struct bfile *b, uint64_t off, const void *buf, size_t len)
{
	struct file *f = container_of(b, struct file, f);
	const uint8_t *p = buf;

	while (len) {
		ssize_t n = pwrite(f->fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_here(n ? file_error(errno) : ERR_IO);
		p += n;
		off += (uint64_t)n;
		len -= (size_t)n;
		bfile_grew(b, off);
	}
	return 0;
}

static int file_zero(struct bfile *b, uint64_t off, uint64_t len)
{
	struct file *f = container_of(b, struct file, f);
	uint64_t size = bfile_size(b);
	int err = 0;

	if (b->virgin_tail && off >= size && len) /* growing is enough; ftruncate() might shrink */
		return file_pwrite(b, off + len - 1, zeros, 1);
	if (!f->no_zero_range && !fallocate(f->fd, FALLOC_FL_ZERO_RANGE, (off_t)off, (off_t)len)) {
		bfile_grew(b, off + len);
		return 0;
	}
	while (!err && len) {
		size_t n = (size_t)MIN(len, (uint64_t)ZERO_PIECE);

		err = file_pwrite(b, off, zeros, n);
		off += n;
		len -= n;
	}
	return err;
}

static int file_sync(struct bfile *b)
{
	struct file *f = container_of(b, struct file, f);

	if (!f->unsafe && fdatasync(f->fd))
		return err_here(file_error(errno));
	return 0;
}

static int file_truncate(struct bfile *b, uint64_t size)
{
	struct file *f = container_of(b, struct file, f);

	if (ftruncate(f->fd, (off_t)size))
		return err_here(file_error(errno));
	atomic_store(&b->size, size);
	return 0;
}

static void file_poll(struct bfile *b)
{
	struct file *f = container_of(b, struct file, f);

	if (f->aio && f->aio->ops->poll)
		f->aio->ops->poll(f->aio);
}

static void file_close(struct bfile *b)
{
	struct file *f = container_of(b, struct file, f);

	close(f->fd); /* and the locks go */
	aio_put(f->aio);
	free(f);
}

static const struct bfile_ops file_ops = {
	.submit = file_submit,
	.pread = file_pread,
	.pwrite = file_pwrite,
	.zero = file_zero,
	.sync = file_sync,
	.truncate = file_truncate,
	.poll = file_poll,
	.close = file_close,
};

/* ---- opening ----------------------------------------------------------------------------------------- */

static int set_kind(struct file *f, char *err, size_t err_size)
{
	struct stat st;
	struct statfs fs;
	uint64_t size;

	if (fstat(f->fd, &st)) {
		snprintf(err, err_size, "%s", strerror(errno));
		return err_here(file_error(errno));
	}
	size = (uint64_t)st.st_size;
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(f->fd, BLKGETSIZE64, &size)) {
			snprintf(err, err_size, "its size is unknown: %s", strerror(errno));
			return err_here(file_error(errno));
		}
	} else if (!S_ISREG(st.st_mode)) {
		snprintf(err, err_size, "is neither a file nor a disk");
		return err_here(ERR_INVAL);
	}
	atomic_store(&f->f.size, size);
	f->f.virgin_tail = S_ISREG(st.st_mode);
	f->in_memory = !fstatfs(f->fd, &fs) && fs.f_type == TMPFS_MAGIC;
	f->id = (struct file_id){st.st_dev, st.st_ino};
	return 0;
}

static int open_fd(const char *path, const struct file_opts *o, char *err, size_t err_size)
{
	int flags = O_CLOEXEC | O_NONBLOCK | (o->read_only ? O_RDONLY : O_RDWR), fd;

	if (o->create)
		flags |= O_CREAT | (o->overwrite ? 0 : O_EXCL);
	fd = open(path, flags, 0666);
	if (fd >= 0)
		return fd;
	if (errno == EEXIST)
		snprintf(err, err_size, "exists already");
	else if (errno == EACCES && !o->read_only)
		snprintf(err, err_size, "no permission to write (open it with ro, or snapshot)");
	else
		snprintf(err, err_size, "%s", strerror(errno));
	return err_here(file_error(errno));
}

static int finish_open(struct file *f, struct aio *aio, const struct file_opts *o, char *err,
		       size_t err_size)
{
	int e = set_kind(f, err, err_size);

	if (!e && !o->no_lock)
		e = file_lock(f->fd, !o->read_only, err, err_size);
	if (!e && o->create && o->overwrite && f->f.virgin_tail && bfile_size(&f->f)) {
		e = file_truncate(&f->f, 0);
		if (e)
			snprintf(err, err_size, "cannot be emptied: %s", err_str(e));
	}
	if (e)
		return e;
	f->f.ops = &file_ops;
	f->f.read_only = o->read_only;
	f->unsafe = o->unsafe;
	f->no_punch = o->no_discard;
	f->aio = aio ? aio_get(aio) : NULL;
	return 0;
}

/* fd: the file's from now on, or an error. */
static int open_taken(struct aio *aio, int fd, const char *path, const struct file_opts *o,
		      struct bfile **out, char *err, size_t err_size)
{
	const char *base = strrchr(path, '/');
	struct file *f = calloc(1, sizeof(*f));
	int e;

	if (!f) {
		snprintf(err, err_size, "out of memory");
		if (fd >= 0)
			close(fd);
		return err_here(ERR_NOMEM);
	}
	snprintf(f->f.name, sizeof(f->f.name), "%s", base ? base + 1 : path);
	f->fd = fd;
	e = fd < 0 ? fd : finish_open(f, aio, o, err, err_size);
	if (!e) {
		*out = &f->f;
		return 0;
	}
	if (f->fd >= 0)
		close(f->fd);
	free(f);
	return e;
}

int file_open(struct aio *aio, const char *path, const struct file_opts *o, struct bfile **out,
	      char *err, size_t err_size)
{
	return open_taken(aio, open_fd(path, o, err, err_size), path, o, out, err, err_size);
}

int file_open_fd(struct aio *aio, int fd, const char *path, const struct file_opts *o,
		 struct bfile **out, char *err, size_t err_size)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy >= 0)
		return open_taken(aio, copy, path, o, out, err, err_size);
	snprintf(err, err_size, "%s", strerror(errno));
	return err_here(file_error(errno));
}

int file_temp(struct aio *aio, struct bfile **out, char *err, size_t err_size)
{
	const struct file_opts o = {.no_lock = true, .unsafe = true};
	const char *dir = getenv("TMPDIR");
	struct file *f = calloc(1, sizeof(*f));
	char path[PATH_MAX];
	int e;

	if (!f) {
		snprintf(err, err_size, "out of memory");
		return err_here(ERR_NOMEM);
	}
	if (!dir || !dir[0])
		dir = "/var/tmp"; /* /tmp may be memory, and disks are large */
	snprintf(f->f.name, sizeof(f->f.name), "temporary overlay");
	f->fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (f->fd < 0) {
		snprintf(path, sizeof(path), "%s/vigia-XXXXXX", dir);
		f->fd = mkostemp(path, O_CLOEXEC);
		if (f->fd >= 0)
			unlink(path);
	}
	if (f->fd < 0) {
		e = err_here(file_error(errno));
		snprintf(err, err_size, "no temporary file in %s: %s (set TMPDIR)", dir,
			 strerror(errno));
	} else {
		e = finish_open(f, aio, &o, err, err_size);
	}
	if (!e) {
		*out = &f->f;
		return 0;
	}
	if (f->fd >= 0)
		close(f->fd);
	free(f);
	return e;
}

bool file_path_id(const char *path, struct file_id *id)
{
	struct stat st;

	if (stat(path, &st))
		return false;
	*id = (struct file_id){st.st_dev, st.st_ino};
	return true;
}

void file_get_id(struct bfile *f, struct file_id *id)
{
	*id = container_of(f, struct file, f)->id;
}

uint64_t file_allocated(struct bfile *f)
{
	struct stat st;

	if (fstat(container_of(f, struct file, f)->fd, &st))
		return 0;
	return (uint64_t)st.st_blocks * 512;
}
