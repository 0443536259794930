/* SPDX-License-Identifier: ISC */
/* drive.c: removable drives by their names. */
#include "ctl/drive.h"

#include <stdlib.h>
#include <string.h>

int drive_find(const struct vm_def *def, const char *name, struct drive *out, struct msg *msg)
{
	unsigned n = 0, want = (unsigned)(name[0] && name[1] ? name[2] - '0' : 0);
	bool one = strlen(name) == 3;

	out->floppy = !strncmp(name, "fd", 2);
	if (one && out->floppy && want < def->n_floppies) {
		out->index = want;
		return 0;
	}
	if (one && !strncmp(name, "cd", 2))
		for (unsigned i = 0; i < def->n_disks; i++)
			if (def->disk[i].cdrom && n++ == want) {
				out->index = i;
				return 0;
			}
	return msg_fail(msg, ERR_NOENT,
			"there is no drive %s: cd0 is the first --cdrom, fd0 the first --floppy",
			name);
}

int drive_define(struct vm_def *def, const char *value, struct msg *msg)
{
	const char *file = strchr(value, '=');
	char name[4] = "", **place;
	struct drive d;
	int err;

	if (!file || file - value != 3)
		return msg_fail(msg, ERR_INVAL, "--medium %s: give DRIVE=FILE, such as cd0=x.iso",
				value);
	memcpy(name, value, 3);
	err = drive_find(def, name, &d, msg);
	if (err)
		return err;
	file++;
	place = d.floppy ? &def->floppy[d.index] : &def->disk[d.index].path;
	free(*place);
	*place = !d.floppy && !strcmp(file, "none") ? NULL : strdup(file);
	return *place || !strcmp(file, "none") ? 0 : msg_fail(msg, ERR_NOMEM, "out of memory");
}
