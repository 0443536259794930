/* SPDX-License-Identifier: ISC */
/* initrd.c: --initrd. */
#include "ctl/initrd.h"

#include <stdlib.h>
#include <string.h>

#include "ctl/opt.h"

void initrd_fini(struct vm_def *def)
{
	for (unsigned i = 0; i < def->n_initrds; i++) {
		free(def->initrd[i].path);
		free(def->initrd[i].text);
		def->initrd[i] = (struct initrd_def){0};
	}
	def->n_initrds = 0;
}

static int set_text(struct vm_def *def, const char *text, struct msg *msg)
{
	struct initrd_def *last = def->n_initrds ? &def->initrd[def->n_initrds - 1] : NULL;

	if (!last || last->text)
		return msg_fail(msg, ERR_INVAL,
				"--initrd: text=%s: give it behind a file name, once for each",
				text);
	last->text = strdup(text);
	return last->text ? 0 : msg_fail(msg, ERR_NOMEM, "out of memory");
}

/* Takes the field over, where it is a file. */
static int add(struct vm_def *def, char **field, struct msg *msg)
{
	if (!strncmp(*field, "text=", 5))
		return set_text(def, *field + 5, msg);
	if (!**field)
		return msg_fail(msg, ERR_INVAL, "--initrd: a file name is empty");
	if (def->n_initrds == DEF_MAX_INITRDS)
		return msg_fail(msg, ERR_INVAL, "--initrd %s: at most %u files", *field,
				DEF_MAX_INITRDS);
	def->initrd[def->n_initrds++].path = *field;
	*field = NULL;
	return 0;
}

int initrd_define(struct vm_def *def, const char *value, struct msg *msg)
{
	char *field;
	int err = *value ? 0 : msg_fail(msg, ERR_INVAL, "--initrd: the file name is empty");

	initrd_fini(def);
	while (!err && (field = opt_field(&value))) {
		err = add(def, &field, msg);
		free(field);
	}
	return err;
}
