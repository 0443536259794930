/* SPDX-License-Identifier: ISC */
/* volume.c: vigia volume: disk images as extents of one disk, for bare machines (block/volume.h). A change becomes the older
 * copy of the directory, after the data that it speaks of is on the disk. */
#include "block/volume.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "block/journal.h"
#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "ctl/runner.h"

#define STEP  (1u << 20)
#define ALIGN 8u /* sectors: where extents start */

struct volume {
	const char *file;
	struct block *b;
	uint64_t generation;
	struct volume_image image[VOLUME_IMAGES + 1]; /* the last is for one that is too many */
	unsigned n;
	struct volume_extent used[VOLUME_ALL];
	uint8_t dir[VOLUME_DIR], buf[STEP];
	struct msg *msg;
};

/* ---- the directory ---- */

static int read_copies(struct volume *v)
{
	uint8_t *dir = v->dir;
	bool any = false;
	int err = 0;

	for (unsigned i = 0; i < VOLUME_COPIES && !err && v->b->size >= VOLUME_DATA * 512; i++) {
		uint64_t generation;

		err = block_rw_sync(v->b, BLOCK_READ, i * VOLUME_DIR, dir, VOLUME_DIR);
		if (err || volume_check(dir, v->b->size / 512, &generation) ||
		    (any && generation <= v->generation))
			continue;
		any = true;
		v->generation = generation;
		for (v->n = 0; volume_image(dir, v->n, &v->image[v->n]);)
			v->n++;
	}
	if (err)
		return msg_fail(v->msg, err, "%s cannot be read", v->file);
	return any ? 0
		   : msg_fail(v->msg, ERR_FORMAT, "%s is no volume: vigia volume format makes one",
			      v->file);
}

static int write_copy(struct volume *v)
{
	uint8_t *dir = v->dir;
	bool ok = true;
	int err;

	v->generation++;
	volume_begin(dir, v->b->size / 512, v->generation);
	for (unsigned i = 0; i < v->n; i++)
		ok &= volume_put(dir, &v->image[i]);
	volume_seal(dir);
	err = ok ? block_flush_sync(v->b) : ERR_NOSPC;
	if (!err)
		err = block_rw_sync(v->b, BLOCK_WRITE, v->generation % VOLUME_COPIES * VOLUME_DIR,
				    dir, VOLUME_DIR);
	if (!err)
		err = block_flush_sync(v->b);
	return err ? msg_fail(v->msg, err, "the directory of %s cannot be written: %s", v->file,
			      err_str(err))
		   : 0;
}

static struct volume_image *find(struct volume *v, const char *name)
{
	for (unsigned i = 0; i < v->n; i++)
		if (!strcmp(v->image[i].name, name))
			return &v->image[i];
	return NULL;
}

/* ---- room ---- */

static int by_sector(const void *a, const void *b)
{
	uint64_t x = ((const struct volume_extent *)a)->sector;
	uint64_t y = ((const struct volume_extent *)b)->sector;

	return x < y ? -1 : x > y;
}

/* Takes what it can of a gap. */
static void take_gap(struct volume_image *m, uint64_t from, uint64_t to, uint64_t *left)
{
	from = (from + ALIGN - 1) / ALIGN * ALIGN;
	if (from >= to || !*left || m->n == VOLUME_EXTENTS)
		return;
	m->extent[m->n] = (struct volume_extent){from, MIN(to - from, *left)};
	*left -= m->extent[m->n++].sectors;
}

static int find_room(struct volume *v, struct volume_image *m)
{
	struct volume_extent *used = v->used;
	uint64_t at = VOLUME_DATA, left = m->sectors;
	unsigned n = 0;

	for (unsigned i = 0; i < v->n; i++)
		for (unsigned k = 0; k < v->image[i].n; k++)
			used[n++] = v->image[i].extent[k];
	qsort(used, n, sizeof(*used), by_sector);
	for (unsigned i = 0; i < n; i++) {
		take_gap(m, at, used[i].sector, &left);
		at = MAX(at, used[i].sector + used[i].sectors);
	}
	take_gap(m, at, v->b->size / 512, &left);
	return left ? msg_fail(v->msg, ERR_NOSPC,
			       "%s has not so much room: %" PRIu64 " KiB are missing", v->file,
			       left / 2 + 1)
		    : 0;
}

/* What the image has to begin with: zeros, or from's contents. What others have left there is not to be seen. */
static int fill(struct volume *v, const struct volume_image *m, struct block *from)
{
	uint64_t at = 0;
	int err = 0;

	for (unsigned i = 0; i < m->n && !err; i++) {
		uint64_t to = m->extent[i].sector * 512, end = to + m->extent[i].sectors * 512;

		for (size_t n; to < end && !err; to += n, at += n) {
			n = (size_t)MIN(end - to, (uint64_t)STEP);
			if (!from)
				err = block_rw_sync(v->b, BLOCK_ZERO, to, NULL, n);
			else if (!(err = block_rw_sync(from, BLOCK_READ, at, v->buf, n)))
				err = block_rw_sync(v->b, BLOCK_WRITE, to, v->buf, n);
		}
	}
	return err ? msg_fail(v->msg, err, "%s cannot be filled: %s", m->name, err_str(err)) : 0;
}

/* ---- verbs ---- */

struct volume_job {
	const struct volume_opts *o;
	const char *name, *arg; /* NULL: not given */
};

static int do_format(struct volume *v, const struct volume_job *j)
{
	if (v->b->size < (VOLUME_DATA + ALIGN) * 512)
		return msg_fail(v->msg, ERR_RANGE, "%s is too small", v->file);
	if (!read_copies(v) && !j->o->force)
		return msg_fail(v->msg, ERR_EXIST, "%s is a volume: --force makes it an empty one",
				v->file);
	v->n = 0;
	return write_copy(v);
}

static int do_list(struct volume *v, const struct volume_job *j)
{
	int err = read_copies(v);

	if (err)
		return err;
	for (unsigned i = 0; i < v->n; i++) {
		const struct volume_image *m = &v->image[i];

		if (!j->name || !strcmp(m->name, j->name))
			printf("%10" PRIu64 " KiB  %s", m->sectors / 2, m->name);
		else
			continue;
		for (unsigned k = 0; k < m->n; k++)
			printf("%s%" PRIu64 "+%" PRIu64, k ? "," : "  ", m->extent[k].sector,
			       m->extent[k].sectors);
		putchar('\n');
	}
	return 0;
}

static int open_from(struct volume *v, const char *path, struct block **out)
{
	const struct block_open_opts o = {.path = path, .read_only = true};
	char err[500];
	int e = path ? block_open(NULL, &o, out, err, sizeof(err)) : 0;

	return e ? msg_fail(v->msg, e, "%s", err) : 0;
}

static int add(struct volume *v, const struct volume_job *j, uint64_t size, struct block *from)
{
	struct volume_image *m = &v->image[v->n];
	int err;

	memset(m, 0, sizeof(*m));
	memcpy(m->name, j->name, strlen(j->name));
	m->sectors = size / 512;
	err = find_room(v, m);
	if (!err)
		err = fill(v, m, from);
	v->n++;
	return err ? err : write_copy(v);
}

static int do_add(struct volume *v, const struct volume_job *j)
{
	struct block *from = NULL;
	uint64_t size = 0;
	int err = read_copies(v);

	if (err)
		return err;
	if (!j->name || (!j->arg && !j->o->from))
		return msg_fail(v->msg, ERR_INVAL,
				"give a name, and a size, such as 20G, or --from IMAGE");
	if (!*j->name || strlen(j->name) >= VOLUME_NAME || strpbrk(j->name, "/,\n"))
		return msg_fail(v->msg, ERR_INVAL,
				"%s: a name has 1 to 39 characters, no slash and no comma",
				j->name);
	if (find(v, j->name))
		return msg_fail(v->msg, ERR_EXIST, "%s has an image %s", v->file, j->name);
	if (v->n == VOLUME_IMAGES)
		return msg_fail(v->msg, ERR_NOSPC, "%s has %u images: no more", v->file, v->n);
	if (j->arg)
		err = opt_size(j->arg, "the size", &size, v->msg);
	if (!err)
		err = open_from(v, j->o->from, &from);
	if (!err && from && size && size != from->size)
		err = msg_fail(v->msg, ERR_INVAL, "%s has another size: leave it out", j->o->from);
	if (!err && from)
		size = from->size;
	if (!err && (!size || size % 512))
		err = msg_fail(v->msg, ERR_INVAL, "a size must be whole sectors of 512 bytes");
	if (!err)
		err = add(v, j, size, from);
	block_close(from);
	return err;
}

static int do_remove(struct volume *v, const struct volume_job *j)
{
	struct volume_image *m;
	int err = read_copies(v);

	if (err)
		return err;
	m = j->name ? find(v, j->name) : NULL;
	if (!m)
		return msg_fail(v->msg, ERR_NOENT,
				"give the name of an image: vigia volume list %s", v->file);
	memmove(m, m + 1, (size_t)(&v->image[--v->n] - m) * sizeof(*m));
	return write_copy(v);
}

/* The history's area: the image, or the whole of what was opened. */
struct area {
	struct volume *v;
	const struct volume_image *m; /* NULL: the whole */
	uint64_t sectors;
};

/* A valid sector of it; false: it is none. */
static bool read_sector(const struct area *a, uint64_t index, uint64_t *number, uint32_t *len,
			int *err)
{
	uint64_t at = index;
	unsigned i = 0;

	if (a->m) {
		while (at >= a->m->extent[i].sectors)
			at -= a->m->extent[i++].sectors;
		at += a->m->extent[i].sector;
	}
	*err = block_rw_sync(a->v->b, BLOCK_READ, at * JOURNAL_SECTOR, a->v->buf, JOURNAL_SECTOR);
	return !*err && journal_check(a->v->buf, index, a->sectors, number, len);
}

/* What guests have said stands there. */
static void print_text(const uint8_t *text, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		putchar(text[i] == '\n' || (text[i] >= ' ' && text[i] != 0x7f) ? text[i] : '?');
}

static int do_history(struct volume *v, const struct volume_job *j)
{
	struct area a = {.v = v, .sectors = v->b->size / JOURNAL_SECTOR};
	uint64_t last = 0, number;
	uint32_t len;
	int err = j->name ? read_copies(v) : 0;

	if (err)
		return err;
	a.m = j->name ? find(v, j->name) : NULL;
	if (j->name && !a.m)
		return msg_fail(v->msg, ERR_NOENT, "%s has no image %s", v->file, j->name);
	if (a.m)
		a.sectors = a.m->sectors;
	for (uint64_t i = 0; i < a.sectors && !err; i++)
		if (read_sector(&a, i, &number, &len, &err))
			last = MAX(last, number);
	if (!err && !last)
		return msg_fail(v->msg, ERR_NOENT, "there is no history in it");
	for (uint64_t n = last > a.sectors ? last - a.sectors + 1 : 1; n <= last && !err; n++)
		if (read_sector(&a, (n - 1) % a.sectors, &number, &len, &err) && number == n)
			print_text(v->buf + JOURNAL_HEAD, len);
	return err ? msg_fail(v->msg, err, "%s cannot be read", v->file) : 0;
}

static const struct {
	const char *name;
	int (*run)(struct volume *v, const struct volume_job *j);
	bool reads;
} verbs[] = {
	{"format", do_format}, {"list", do_list, true}, {"history", do_history, true},
	{"add", do_add},       {"remove", do_remove},
};

static int run(const char *verb, const char *file, const struct volume_job *j, struct msg *msg)
{
	static struct volume v;
	struct block_open_opts o = {.path = file, .format = BLOCK_RAW};
	char text[500];
	unsigned i = 0;
	int err;

	v.file = file;
	v.msg = msg;
	while (i < ARRAY_SIZE(verbs) && strcmp(verb, verbs[i].name))
		i++;
	if (i == ARRAY_SIZE(verbs))
		return msg_fail(msg, ERR_INVAL, "%s: expected format, list, history, add or remove",
				verb);
	o.read_only = verbs[i].reads;
	err = block_open(NULL, &o, &v.b, text, sizeof(text));
	if (err)
		return msg_fail(msg, err, "%s", text);
	err = verbs[i].run(&v, j);
	block_close(v.b);
	return err;
}

int volume_main(int argc, char **argv)
{
	struct volume_opts o = {NULL};
	struct volume_job j = {.o = &o};
	struct opt_args args;
	struct msg msg = {""};

	if (opt_parse(&cmd_volume, argc, argv, &o, &args, &msg))
		return cmd_fail(&cmd_volume, &msg);
	if (args.help) {
		opt_print_help(&cmd_volume);
		return EXIT_OK;
	}
	j.name = args.n > 2 ? args.arg[2] : NULL;
	j.arg = args.n > 3 ? args.arg[3] : NULL;
	return run(args.arg[0], args.arg[1], &j, &msg) ? cmd_fail(&cmd_volume, &msg) : EXIT_OK;
}
