/* SPDX-License-Identifier: ISC */
/* image.c: vigia image: disk images without a VM. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "block/block.h"
#include "cmd/cmd.h"
#include "cmd/opts.h"
#include "ctl/runner.h"

#define CHECK_CORRUPT 2
#define CHECK_LEAKS   3

struct image_job {
	const struct image_opts *o;
	const char *file, *arg; /* arg: NULL where there is none */
};

static int block_err(struct msg *msg, int e, const char *text)
{
	return msg_fail(msg, e, "%s", text);
}

static enum block_format format_of(const char *name)
{
	return name ? block_format_of(name) : BLOCK_AUTO;
}

/* What to make: as said, or as the name says. */
static enum block_format format_to_make(const struct image_opts *o, const char *path)
{
	static const char *const raw[] = {".raw", ".img", ".bin"};
	size_t n = strlen(path);

	if (o->format)
		return format_of(o->format);
	for (unsigned i = 0; i < ARRAY_SIZE(raw); i++)
		if (n > 4 && !strcasecmp(path + n - 4, raw[i]))
			return BLOCK_RAW;
	return BLOCK_QCOW2;
}

/* 1536 MiB; 4.50 KiB */
static const char *human(uint64_t v, char *out, size_t size)
{
	static const char *const unit[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
	unsigned u = 0;

	while (u < 5 && v >> (10 * (u + 1)))
		u++;
	if (v & (BIT64(10 * u) - 1))
		snprintf(out, size, "%.2f %s", (double)v / (double)BIT64(10 * u), unit[u]);
	else
		snprintf(out, size, "%" PRIu64 " %s", v >> (10 * u), unit[u]);
	return out;
}

/* ---- info ------------------------------------------------------------------------------------- */

static void info_json(const char *path, const struct block_info *i)
{
	json_t *j =
		json_pack("{s:s,s:s,s:I,s:I,s:I}", "file", path, "format",
			  block_format_name(i->format), "size", (json_int_t)i->size, "file_size",
			  (json_int_t)i->file_size, "allocated", (json_int_t)i->allocated);

	if (i->format == BLOCK_QCOW2)
		json_object_update_new(
			j, json_pack("{s:i,s:I,s:i,s:i,s:s,s:b,s:b,s:b}", "version",
				     (int)i->version, "cluster_size",
				     (json_int_t)BIT64(i->cluster_bits), "refcount_bits",
				     (int)i->refcount_bits, "snapshots", (int)i->n_snapshots,
				     "compression", i->zstd ? "zstd" : "zlib", "dirty", i->dirty,
				     "corrupt", i->corrupt, "lazy_refcounts", i->lazy_refcounts));
	if (i->backing[0])
		json_object_set_new(j, "backing", json_string(i->backing));
	if (i->backing_format[0])
		json_object_set_new(j, "backing_format", json_string(i->backing_format));
	json_dumpf(j, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(j);
}

static void info_text(const char *path, const struct block_info *i)
{
	char a[40];

	printf("file           %s\n", path);
	printf("format         %s", block_format_name(i->format));
	if (i->format == BLOCK_QCOW2)
		printf(" version %u", i->version);
	printf("%s\n", i->format > BLOCK_QCOW2 ? " (read only)" : "");
	printf("disk           %s (%" PRIu64 " bytes)\n", human(i->size, a, sizeof(a)), i->size);
	printf("file length    %s\n", human(i->file_size, a, sizeof(a)));
	printf("takes          %s\n", human(i->allocated, a, sizeof(a)));
	if (i->backing[0])
		printf("backing file   %s%s%s%s\n", i->backing, i->backing_format[0] ? " (" : "",
		       i->backing_format, i->backing_format[0] ? ")" : "");
	if (i->format != BLOCK_QCOW2)
		return;
	printf("clusters       %s, counted with %u bits, compressed ones by %s\n",
	       human(BIT64(i->cluster_bits), a, sizeof(a)), i->refcount_bits,
	       i->zstd ? "zstd" : "zlib");
	if (i->n_snapshots)
		printf("snapshots      %u\n", i->n_snapshots);
	if (i->corrupt)
		printf("damaged        vigia image check --repair may help\n");
	if (i->dirty)
		printf("not closed     its counts are put right when it is next opened\n");
}

static int image_info(const struct image_job *j, struct msg *msg)
{
	struct block_info i;
	char err[500];
	int e = block_info(j->file, format_of(j->o->from), &i, err, sizeof(err));

	if (e)
		return block_err(msg, e, err);
	if (j->o->json)
		info_json(j->file, &i);
	else
		info_text(j->file, &i);
	return EXIT_OK;
}

/* ---- create, resize --------------------------------------------------------------------------- */

static int image_create(const struct image_job *j, struct msg *msg)
{
	struct block_create_opts o = {.backing = j->o->backing, .overwrite = j->o->force};
	enum block_format format = format_to_make(j->o, j->file);
	char err[500];
	int e = 0;

	if (!j->arg && !o.backing)
		return msg_fail(msg, ERR_INVAL, "give a size, such as 20G, or --backing FILE");
	if (o.backing && format != BLOCK_QCOW2)
		return msg_fail(msg, ERR_INVAL, "only a qcow2 image has a backing file");
	if (j->arg)
		e = opt_size(j->arg, "the size", &o.size, msg);
	if (e)
		return e;
	if (format == BLOCK_RAW)
		e = block_create_raw(j->file, o.size, o.overwrite, err, sizeof(err));
	else
		e = block_create_qcow2(j->file, &o, err, sizeof(err));
	if (e == ERR_EXIST)
		return msg_fail(msg, e, "%s (--force replaces it)", err);
	return e ? block_err(msg, e, err) : EXIT_OK;
}

static int image_resize(const struct image_job *j, struct msg *msg)
{
	const char *arg = j->arg ? j->arg : "";
	bool more = arg[0] == '+';
	struct block_info i;
	uint64_t size;
	char err[500];
	int e = opt_size(arg + more, "the size", &size, msg);

	if (e)
		return e;
	e = block_info(j->file, format_of(j->o->from), &i, err, sizeof(err));
	if (e)
		return block_err(msg, e, err);
	if (more && size > INT64_MAX - i.size)
		return msg_fail(msg, ERR_INVAL, "%s is too much", arg);
	if (more)
		size += i.size;
	if (size < i.size && !j->o->shrink)
		return msg_fail(msg, ERR_INVAL,
				"%s has %" PRIu64
				" bytes, more than that: what is at the end would "
				"be lost (--shrink does it, to a raw image)",
				j->file, i.size);
	e = block_resize(j->file, i.format, size, err, sizeof(err));
	return e ? block_err(msg, e, err) : EXIT_OK;
}

/* ---- convert ----------------------------------------------------------------------------------- */

static volatile sig_atomic_t stopped;

static void on_stop(int sig)
{
	stopped = sig;
}

static bool show_progress(void *ctx, uint64_t done, uint64_t total)
{
	unsigned *shown = ctx, percent = done == total ? 100 : (unsigned)(done / (total / 100 + 1));
	static const char bar[] = "########################################";

	if (isatty(STDERR_FILENO) && (percent != *shown || done == total)) {
		fprintf(stderr, "\r[%-40.*s] %3u%%%s", (int)(percent * 40 / 100), bar, percent,
			done == total ? "\n" : "");
		*shown = percent;
	}
	return stopped;
}

static int image_convert(const struct image_job *j, struct msg *msg)
{
	const struct sigaction stop = {.sa_handler = on_stop, .sa_flags = (int)SA_RESETHAND};
	unsigned shown = UINT32_MAX;
	struct block_convert_opts o = {
		.from = format_of(j->o->from),
		.overwrite = j->o->force,
		.progress = show_progress,
		.ctx = &shown,
	};
	char err[500];
	int e;

	if (!j->arg)
		return msg_fail(msg, ERR_INVAL, "give the file to make too");
	o.to = format_to_make(j->o, j->arg);
	if (j->o->compress)
		o.zip = strcmp(j->o->compress, "zstd") ? BLOCK_ZIP_ZLIB : BLOCK_ZIP_ZSTD;
	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
	e = block_convert(j->file, j->arg, &o, err, sizeof(err));
	if (e && shown != UINT32_MAX && shown < 100)
		fputc('\n', stderr); /* the bar's line */
	return e ? block_err(msg, e, err) : EXIT_OK;
}

/* ---- check ------------------------------------------------------------------------------------- */

static void print_check(const struct image_job *j, const struct block_check *c, uint64_t bad)
{
	json_t *json;

	if (!j->o->json) {
		printf("%s: %" PRIu64 " errors, %" PRIu64 " clusters leaked, %" PRIu64 " fixed; "
		       "%" PRIu64 " data clusters in use%s\n",
		       j->file, c->corruptions, c->leaks, c->fixed, c->clusters,
		       bad && !j->o->repair ? " (--repair puts right what can be)" : "");
		return;
	}
	json = json_pack("{s:s,s:I,s:I,s:I,s:I,s:I}", "file", j->file, "errors",
			 (json_int_t)c->corruptions, "leaks", (json_int_t)c->leaks, "fixed",
			 (json_int_t)c->fixed, "clusters", (json_int_t)c->clusters, "end",
			 (json_int_t)c->end);
	json_dumpf(json, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(json);
}

static int image_check(const struct image_job *j, struct msg *msg)
{
	struct block_check c;
	char err[500];
	int e = block_check(j->file, j->o->repair, &c, err, sizeof(err));

	if (e)
		return block_err(msg, e, err);
	print_check(j, &c, c.corruptions + c.leaks);
	if (j->o->repair)
		e = block_check(j->file, false, &c, err, sizeof(err));
	if (e)
		return block_err(msg, e, err);
	return c.corruptions ? CHECK_CORRUPT : c.leaks ? CHECK_LEAKS : EXIT_OK;
}

/* ---- the command ------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	int (*run)(const struct image_job *j, struct msg *msg); /* exit status, or ERR_* */
} verbs[] = {
	{"info", image_info},   {"create", image_create}, {"convert", image_convert},
	{"check", image_check}, {"resize", image_resize},
};

int image_main(int argc, char **argv)
{
	struct image_opts o = {NULL};
	struct opt_args args;
	struct msg msg = {""};
	struct image_job j = {&o, NULL, NULL};
	unsigned i;
	int status;

	if (opt_parse(&cmd_image, argc, argv, &o, &args, &msg))
		return cmd_fail(&cmd_image, &msg);
	if (args.help) {
		opt_print_help(&cmd_image);
		return EXIT_OK;
	}
	j.file = args.arg[1];
	j.arg = args.n > 2 ? args.arg[2] : NULL;
	for (i = 0; i < ARRAY_SIZE(verbs) && strcmp(args.arg[0], verbs[i].name); i++)
		;
	if (i == ARRAY_SIZE(verbs))
		status = msg_fail(&msg, ERR_INVAL,
				  "%s: expected info, create, convert, check or resize",
				  args.arg[0]);
	else
		status = verbs[i].run(&j, &msg);
	return status < 0 ? cmd_fail(&cmd_image, &msg) : status;
}
