/* SPDX-License-Identifier: ISC */
/* yaml.c: definition files. The schema is made from the options that have OPT_DEF, so that a key is
 * an option's name and its value what the option takes; those with OPT_MULTI are lists. Called by
 * the main thread. */
#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/def.h"

#define MAX_KEYS 40

/* What a file gives for one key. */
struct value {
	union {
		char *one;
		char **list;
	};
	unsigned n; /* of the list */
};

struct document {
	struct value value[MAX_KEYS];
};

/* cyaml's own messages, the last of them kept: "…(line 3, column 5)". */
static void take_log(cyaml_log_t level, void *ctx, const char *fmt, va_list ap)
{
	char *last = ctx, line[200];

	if (level < CYAML_LOG_ERROR)
		return;
	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = 0;
	/* The first says what is wrong, the next lines where: keep both, shortly. */
	if (!last[0])
		snprintf(last, 200, "%s", !strncmp(line, "Load: ", 6) ? line + 6 : line);
	else if (strstr(line, "line:") && !strstr(last, "line:") && strlen(last) < 100)
		snprintf(last + strlen(last), 200 - strlen(last), " %s",
			 line + strspn(line, "Load: -"));
}

static const cyaml_schema_value_t list_entry = {
	.type = CYAML_STRING,
	.flags = CYAML_FLAG_POINTER,
	.data_size = sizeof(char),
	.string = {.min = 0, .max = CYAML_UNLIMITED},
};

static unsigned make_schema(const struct command *cmd, cyaml_schema_field_t *fields,
			    const struct opt **opts)
{
	unsigned n = 0;

	for (unsigned i = 0; i < cmd->n_opts && n < MAX_KEYS; i++) {
		const struct opt *o = &cmd->opts[i];
		size_t at = offsetof(struct document, value) + n * sizeof(struct value);

		if (!(o->flags & OPT_DEF))
			continue;
		opts[n] = o;
		fields[n] = (cyaml_schema_field_t){.key = o->name, .data_offset = (uint32_t)at};
		fields[n].value.flags = CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL;
		if (o->flags & OPT_MULTI) {
			fields[n].value.type = CYAML_SEQUENCE;
			fields[n].value.data_size = sizeof(char *);
			fields[n].value.sequence.entry = &list_entry;
			fields[n].value.sequence.max = 64;
			fields[n].count_offset = (uint32_t)(at + offsetof(struct value, n));
			fields[n].count_size = sizeof(unsigned);
		} else {
			fields[n].value.type = CYAML_STRING;
			fields[n].value.data_size = sizeof(char);
			fields[n].value.string.max = CYAML_UNLIMITED;
		}
		n++;
	}
	return n;
}

static int apply(struct vm_def *def, const struct document *doc, const struct opt **opts,
		 unsigned n, const char *path, struct msg *msg)
{
	int err = 0;

	for (unsigned i = 0; i < n && !err; i++) {
		const struct value *v = &doc->value[i];

		if (opts[i]->flags & OPT_MULTI) {
			for (unsigned k = 0; k < v->n && !err; k++)
				err = opt_set(opts[i], v->list[k], def, msg);
		} else if (v->one) {
			err = opt_set(opts[i], v->one, def, msg);
		}
	}
	if (err)
		msg_prefix(msg, path);
	return err;
}

int vm_def_load(struct vm_def *def, const char *path, struct msg *msg)
{
	cyaml_schema_field_t fields[MAX_KEYS + 1] = {{.key = NULL}};
	const struct opt *opts[MAX_KEYS];
	unsigned n = make_schema(&cmd_run, fields, opts);
	char last[200] = "";
	const cyaml_schema_value_t top = {
		.type = CYAML_MAPPING,
		.flags = CYAML_FLAG_POINTER,
		.data_size = sizeof(struct document),
		.mapping = {.fields = fields},
	};
	const cyaml_config_t config = {
		.log_fn = take_log,
		.log_ctx = last,
		.log_level = CYAML_LOG_ERROR,
		.mem_fn = cyaml_mem,
		.flags = CYAML_CFG_DEFAULT,
	};
	struct document *doc = NULL;
	cyaml_err_t cerr;
	int err;

	if (access(path, R_OK))
		return msg_fail(msg, ERR_NOENT, "cannot read %s: %s", path, strerror(errno));
	cerr = cyaml_load_file(path, &config, &top, (cyaml_data_t **)&doc, NULL);
	if (cerr != CYAML_OK)
		return msg_fail(msg, ERR_FORMAT,
				"%s: %s%s%s; keys are the options of vigia run --help", path,
				cyaml_strerror(cerr), last[0] ? ": " : "", last);
	err = doc ? apply(def, doc, opts, n, path, msg) : 0;
	cyaml_free(&config, &top, doc, 0);
	return err;
}
