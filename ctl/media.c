/* SPDX-License-Identifier: ISC */
/* media.c: disks and discs that are changed while the VM runs. On the main thread. */
#include "ctl/media.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/watch.h"
#include "ctl/backends.h"
#include "ctl/drive.h"
#include "ctl/watch.h"
#include "dev/pc/i82078.h"
#include "vm/vm.h"

#define OPTION "--medium"

static int open_medium(struct backends *be, const struct drive *d, const struct media_change *m,
		       struct block **out, struct msg *msg)
{
	char text[300] = "";
	int err;

	if (!m->file)
		return 0;
	err = block_open_fd(be->loop, m->fd, m->file, m->read_only, out, text, sizeof(text));
	if (err)
		return msg_fail(msg, err, "%s", text);
	if (d->floppy && i82078_size_ok((*out)->size))
		return 0;
	if (!d->floppy && (*out)->size > 0)
		/* It may open no file: it has no scratch overlay. */
		return block_watch_open(*out, be->mon, d->index, &be->watch->redirects.disk,
					block_scratch_file(), out);
	block_close(*out);
	return msg_fail(msg, ERR_FORMAT, "%s is no image of a %s", m->file,
			d->floppy ? "floppy disk: its size is none of 160 to 2880 KiB" : "CD");
}

static int refused(const char *drive, int err, struct msg *msg)
{
	if (err == ERR_BUSY)
		return msg_fail(
			msg, err,
			"the guest has locked the door of %s; it has been asked to open it: "
			"try again soon, or use --force",
			drive);
	if (err == ERR_TIMEOUT)
		return msg_fail(msg, err, "the guest is amidst of a transfer from %s: try again",
				drive);
	return msg_fail(msg, err, "%s cannot be changed: %s", drive, err_str(err));
}

int media_change(struct vm *vm, struct backends *be, const struct vm_def *def,
		 const struct media_change *m, struct msg *msg)
{
	struct block *b = NULL, **place;
	struct drive d;
	int err = drive_find(def, m->drive, &d, msg);

	if (!err && !vm->change_medium)
		err = msg_fail(msg, ERR_NOSYS, "this machine has no drives for that");
	if (!err)
		err = open_medium(be, &d, m, &b, msg);
	if (err)
		return err;
	err = vm->change_medium(vm, d.floppy, d.index, b, m->force);
	if (err) {
		block_close(b);
		return refused(m->drive, err, msg);
	}
	place = d.floppy ? &be->floppy[d.index] : &be->disk[d.index];
	block_close(*place);
	*place = b;
	return 0;
}

/* ---- for a later restore ------------------------------------------------------------------------ */

/* The argument that says what is in this drive, or where it is to go. */
static int place_of(const struct state_origin *o, const char *drive)
{
	size_t n = strlen(drive);

	for (int i = 1; i + 1 < o->argc; i++)
		if (!strcmp(o->argv[i], OPTION) && !strncmp(o->argv[i + 1], drive, n) &&
		    o->argv[i + 1][n] == '=')
			return i + 1;
	return -1;
}

void media_forget(struct state_origin *o, bool owned)
{
	for (int i = 0; owned && i < o->argc; i++)
		free(o->argv[i]);
	if (owned)
		free(o->argv);
}

static int own(struct state_origin *o, bool *owned)
{
	char **argv = calloc((size_t)o->argc + 1, sizeof(*argv));
	int i = 0;

	while (argv && i < o->argc && (argv[i] = strdup(o->argv[i])))
		i++;
	if (!argv || i < o->argc) {
		while (argv && i--)
			free(argv[i]);
		free(argv);
		return err_here(ERR_NOMEM);
	}
	o->argv = argv;
	*owned = true;
	return 0;
}

int media_remember(struct state_origin *o, bool *owned, const struct media_change *m,
		   struct msg *msg)
{
	char *text = NULL, **argv;
	int at = place_of(o, m->drive);

	if (!*owned && own(o, owned))
		return msg_fail(msg, ERR_NOMEM, "out of memory");
	if (asprintf(&text, "%s=%s", m->drive, m->file ? m->file : "none") < 0)
		return msg_fail(msg, ERR_NOMEM, "out of memory");
	if (at >= 0) {
		free(o->argv[at]);
		o->argv[at] = text;
		return 0;
	}
	argv = realloc(o->argv, ((size_t)o->argc + 3) * sizeof(*argv));
	if (argv)
		o->argv = argv;
	if (!argv || !(argv[o->argc] = strdup(OPTION))) {
		free(text);
		return msg_fail(msg, ERR_NOMEM, "out of memory");
	}
	argv[o->argc + 1] = text;
	argv[o->argc + 2] = NULL;
	o->argc += 2;
	return 0;
}
