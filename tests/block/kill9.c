/* SPDX-License-Identifier: ISC */
/* kill9.c: a process that writes to an image is killed at random moments. The image must then pass
 * qemu-img check and our own (leaks are allowed), and each sector must hold what a flush had
 * promised, or something that was written later.
 *
 *	kill9 DIRECTORY SEED ROUNDS
 *
 * Parent and child share memory in which the child notes, before it submits and after what it
 * learns, so nothing is lost with it. Values are numbered requests: larger is later. */

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/block.h"
#include "plat/plat.h"

#define DISK      (24u << 20)
#define N_SECTORS (DISK / 512)
#define N_FLIGHT  16
#define MAX_LEN   (512u << 10)

struct note {                       /* of each sector */
	_Atomic uint32_t started;   /* last write submitted */
	_Atomic uint32_t zeroed;    /* last zeroing submitted */
	_Atomic uint32_t discarded; /* last discard submitted */
	_Atomic uint32_t promised;  /* by a flush: this or later */
};

static struct shared {
	struct note note[N_SECTORS];
	_Atomic uint32_t next;
	_Atomic uint32_t flushes;
} * sh;

static uint64_t rng;

static uint64_t rnd(uint64_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (rng >> 11) % n;
}

static void die(const char *what)
{
	fprintf(stderr, "FAILED: %s\n", what);
	exit(1);
}

/* ---- the child ----------------------------------------------------------------------------------- */

struct slot {
	struct block_req req;
	struct block_vec vec;
	uint8_t *buf;
	uint32_t value;
	_Atomic bool busy;
};

static struct slot slots[N_FLIGHT];
static uint32_t ended[N_SECTORS], at_flush[N_SECTORS]; /* under lock */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void done(struct block_req *req, int err)
{
	struct slot *s = container_of(req, struct slot, req);
	uint32_t i;

	if (err)
		die(err_str(err));
	pthread_mutex_lock(&lock);
	if (req->op == BLOCK_FLUSH) {
		for (i = 0; i < N_SECTORS; i++)
			atomic_store(&sh->note[i].promised, at_flush[i]);
		atomic_fetch_add(&sh->flushes, 1);
	} else {
		for (i = 0; i < req->len / 512; i++)
			ended[req->offset / 512 + i] = s->value;
	}
	pthread_mutex_unlock(&lock);
	atomic_store(&s->busy, false);
}

static bool meets(const struct slot *s, uint64_t off, uint64_t len)
{
	return s->busy && s->req.offset < off + len && off < s->req.offset + s->req.len;
}

static void fill(uint8_t *p, uint32_t value, uint32_t sector)
{
	uint32_t i, words[2] = {value, sector};

	for (i = 0; i < 512; i += 8)
		memcpy(p + i, words, 8);
}

static void begin(struct block *b, struct slot *s)
{
	uint64_t len = 512 * (1 + rnd(rnd(8) ? 40 : MAX_LEN / 512)), i;
	uint64_t off = 512 * rnd(rnd(2) ? N_SECTORS : 2048);
	enum block_op op = rnd(10) < 7 ? BLOCK_WRITE : rnd(2) ? BLOCK_ZERO : BLOCK_DISCARD;

	len = MIN(len, DISK - off);
	for (i = 0; i < N_FLIGHT; i++)
		if (meets(&slots[i], off, len))
			return;
	s->value = atomic_fetch_add(&sh->next, 1);
	s->vec = (struct block_vec){s->buf, len};
	s->req = (struct block_req){.op = op,
				    .unmap = rnd(2),
				    .offset = off,
				    .len = len,
				    .vec = &s->vec,
				    .n_vec = 1,
				    .done = done};
	for (i = 0; i < len / 512; i++) {
		struct note *n = &sh->note[off / 512 + i];

		fill(s->buf + i * 512, s->value, (uint32_t)(off / 512 + i));
		atomic_store(op == BLOCK_WRITE  ? &n->started
			     : op == BLOCK_ZERO ? &n->zeroed
						: &n->discarded,
			     s->value);
	}
	s->busy = true;
	block_submit(b, &s->req);
}

static void child(const char *path)
{
	const struct block_open_opts o = {.path = path, .no_uring = rnd(4) == 0};
	struct plat_loop *loop;
	struct block *b;
	char err[400];
	unsigned i;

	if (plat_loop_create(&loop) || block_open(loop, &o, &b, err, sizeof(err)))
		die("open in the child");
	for (i = 0; i < N_SECTORS; i++)
		ended[i] = sh->note[i].promised;
	for (i = 1; i < N_FLIGHT; i++)
		slots[i].buf = malloc(MAX_LEN);
	for (;;) {
		struct slot *s = &slots[1 + rnd(N_FLIGHT - 1)];

		if (!s->busy)
			begin(b, s);
		if (rnd(25) || slots[0].busy)
			continue;
		/* slot 0 is for flushes, which promise what had ended before. A discard may
		 * have changed nothing: what was there before stays allowed. */
		pthread_mutex_lock(&lock);
		memcpy(at_flush, ended, sizeof(ended));
		pthread_mutex_unlock(&lock);
		slots[0].req = (struct block_req){.op = BLOCK_FLUSH, .done = done};
		slots[0].busy = true;
		block_submit(b, &slots[0].req);
	}
}

/* ---- the parent ---------------------------------------------------------------------------------- */

static void check_image(const char *path)
{
	char cmd[600], err[400] = "";
	struct block_check found;
	int status;

	/* Ours first: it waits until the dead process has let go of the file. */
	if (block_check(path, false, &found, err, sizeof(err)))
		die(err);
	if (found.corruptions)
		die("our own check");
	snprintf(cmd, sizeof(cmd), "qemu-img check -q -f qcow2 '%s' > '%s.check' 2>&1", path, path);
	status = WEXITSTATUS(system(cmd));
	if (status != 0 && status != 3) {
		snprintf(cmd, sizeof(cmd), "head -5 '%s.check' >&2", path);
		if (system(cmd))
			die("head");
		die("qemu-img check");
	}
	if ((found.leaks != 0) != (status == 3))
		die("the two checks do not agree on leaks");
}

/* Which request wrote what is there; 0: none, or zeros. */
static uint32_t value_of(const uint8_t *p, uint32_t sector)
{
	uint32_t words[2], i;

	memcpy(words, p, 8);
	for (i = 8; i < 512; i += 8)
		if (memcmp(p, p + i, 8))
			die("torn sector");
	if (!words[0] && !words[1])
		return 0;
	if (words[1] != sector)
		die("content of another sector");
	return words[0];
}

/* May that sector hold v? After a discard it holds zeros or what was there before. */
static bool allowed(const struct note *n, uint32_t v)
{
	if (n->discarded && n->discarded >= n->promised)
		return v <= n->started;
	if (!v)
		return n->zeroed >= n->promised;
	return v <= n->started && v >= n->promised;
}

static void check_content(const char *path)
{
	const struct block_open_opts o = {.path = path, .read_only = true};
	static uint8_t buf[MAX_LEN];
	struct block *b;
	char err[400];
	uint32_t i, k;

	if (block_open(NULL, &o, &b, err, sizeof(err)))
		die(err);
	for (i = 0; i < N_SECTORS; i += MAX_LEN / 512) {
		if (block_rw_sync(b, BLOCK_READ, (uint64_t)i * 512, buf, MAX_LEN))
			die("read");
		for (k = 0; k < MAX_LEN / 512; k++) {
			struct note *n = &sh->note[i + k];
			uint32_t v = value_of(buf + k * 512, i + k);

			if (!allowed(n, v)) {
				fprintf(stderr,
					"sector %u holds %u; promised %u, started %u, "
					"zeroed %u\n",
					i + k, v, n->promised, n->started, n->zeroed);
				die("content");
			}
			if (!v)
				n->zeroed = MAX(n->promised, n->zeroed);
			else
				n->zeroed = 0;
			n->started = v;
			n->promised = v ? v : n->zeroed;
			n->discarded = 0;
		}
	}
	block_close(b);
}

static void make_image(const char *path, unsigned variant)
{
	static const unsigned bits[] = {16, 12, 9, 21}, counts[] = {16, 1, 64, 16};
	struct block_create_opts o = {.size = DISK, .overwrite = true};
	char err[400];

	o.cluster_bits = bits[variant % 4];
	o.refcount_bits = counts[variant % 4];
	memset(sh, 0, sizeof(*sh));
	sh->next = 1;
	if (block_create_qcow2(path, &o, err, sizeof(err)))
		die(err);
}

int main(int argc, char **argv)
{
	unsigned rounds, i, flushes = 0, requests = 0;
	char path[400];
	pid_t pid;

	if (argc < 4)
		return 1;
	snprintf(path, sizeof(path), "%s/kill9-%d.qcow2", argv[1], (int)getpid());
	rng = strtoull(argv[2], NULL, 0) * 2654435761u + 88172645463325252u;
	rounds = (unsigned)atoi(argv[3]);
	printf("seed %s\n", argv[2]);
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		die("mmap");
	for (i = 0; i < rounds; i++) {
		if (i % 8 == 0)
			make_image(path, i / 8);
		fflush(stdout);
		rnd(2);
		pid = fork();
		if (pid < 0)
			die("fork");
		if (!pid)
			child(path);
		usleep((useconds_t)(20000 + rnd(150000)));
		kill(pid, SIGKILL);
		int status;

		if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
			die("the child ended by itself");
		flushes += atomic_exchange(&sh->flushes, 0);
		check_image(path);
		check_content(path);
		requests = sh->next;
	}
	printf("%u rounds, %u flushes, %u requests to the last image\n", rounds, flushes, requests);
	unlink(path);
	snprintf(path + strlen(path), sizeof(path) - strlen(path), ".check");
	unlink(path);
	return 0;
}
