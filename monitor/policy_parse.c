/* SPDX-License-Identifier: ISC */
/* policy_parse.c: compiles policy texts (doc/policy.md). A line becomes an array of words, variables
 * replaced; a list multiplies its rule: what comes behind is parsed once for each of its items.
 *
 *	let web = {80, 443}
 *	provide net out tcp 10.0.0.0/8 port $web      becomes two rules
 *	deny port 0x60-0x64
 *	redirect cpuid 0x40000000 ebx -> 0x4b4d564b
 *
 * Any text may come in: everything is bounded. One thread. */
#include "monitor/policy_parse.h"

#include "base/str.h"

#define INCLUDES_MAX 8

bool word_is(const struct word *w, const char *s)
{
	return w->s && str_len(s) == w->len && !memcmp(w->s, s, w->len);
}

int parse_fail(struct parser *ps, unsigned at, const char *fmt, ...)
{
	va_list ap;

	str_copy(ps->err->file, sizeof(ps->err->file), ps->file);
	ps->err->line = ps->line;
	ps->err->column = ps->word[MIN(at, ps->n)].column;
	va_start(ap, fmt);
	str_vformat(ps->err->text, sizeof(ps->err->text), fmt, ap);
	va_end(ap);
	return ERR_FORMAT;
}

/* ---- words ----------------------------------------------------------------------------------------- */

static const struct var *var_find(const struct parser *ps, const char *s, uint32_t len)
{
	for (unsigned i = 0; i < ps->n_vars; i++)
		if (ps->var[i].name.len == len && !memcmp(ps->var[i].name.s, s, len))
			return &ps->var[i];
	return NULL;
}

static int word_add(struct parser *ps, const char *s, size_t len, unsigned column)
{
	const struct word w = {s, (uint32_t)len, column};
	const struct var *v;

	if (ps->n >= WORDS_MAX) {
		ps->word[ps->n].column = column;
		return parse_fail(ps, ps->n, "the line has too many words: at most %u", WORDS_MAX);
	}
	ps->word[ps->n] = w;
	if (*s != '$') {
		ps->n++;
		return 0;
	}
	v = var_find(ps, s + 1, (uint32_t)len - 1);
	if (!v) {
		ps->n++;
		return parse_fail(ps, ps->n - 1,
				  "there is no variable of that name: let NAME = ...");
	}
	if (ps->n + v->n > WORDS_MAX)
		return parse_fail(ps, ps->n, "the line has too many words: at most %u", WORDS_MAX);
	for (uint32_t i = 0; i < v->n; i++) {
		ps->word[ps->n] = ps->pool[v->first + i];
		ps->word[ps->n++].column = column;
	}
	return 0;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == ',';
}

static int split(struct parser *ps, const char *s, size_t len)
{
	size_t i = 0;
	int err;

	ps->n = 0;
	while (i < len && s[i] != '#') {
		size_t start = i;

		if (is_space(s[i])) {
			i++;
			continue;
		}
		if (s[i] == '{' || s[i] == '}')
			i++;
		else
			while (i < len && !is_space(s[i]) && s[i] != '{' && s[i] != '}' &&
			       s[i] != '#')
				i++;
		err = word_add(ps, s + start, i - start, (unsigned)start + 1);
		if (err)
			return err;
	}
	ps->word[ps->n] = (struct word){NULL, 0, (unsigned)i + 1};
	return 0;
}

/* ---- lines ------------------------------------------------------------------------------------------- */

static int parse_let(struct parser *ps)
{
	struct var *v = &ps->var[ps->n_vars];

	if (ps->n < 2 || ps->word[1].s[0] == '{' || word_is(&ps->word[1], "="))
		return parse_fail(ps, 1, "expected a name");
	if (!word_is(&ps->word[2], "="))
		return parse_fail(ps, 2, "expected =");
	if (ps->n < 4)
		return parse_fail(ps, 3, "expected what the variable stands for");
	if (var_find(ps, ps->word[1].s, ps->word[1].len))
		return parse_fail(ps, 1, "this variable has a value already");
	if (ps->n_vars == VARS_MAX || ps->n_pool + ps->n - 3 > VAR_WORDS)
		return parse_fail(ps, 0, "too many variables");
	v->name = ps->word[1];
	v->first = ps->n_pool;
	v->n = ps->n - 3;
	for (unsigned i = 3; i < ps->n; i++)
		ps->pool[ps->n_pool++] = ps->word[i];
	ps->n_vars++;
	return 0;
}

static int parse_text(struct parser *ps, const char *name, const char *text, size_t len);

static int parse_include(struct parser *ps)
{
	const char *file = ps->file, *text;
	unsigned line = ps->line;
	char name[128];
	size_t len;
	int err;

	if (ps->n != 2)
		return parse_fail(ps, ps->n > 2 ? 2 : 1, "expected one file name");
	if (ps->word[1].len >= sizeof(name))
		return parse_fail(ps, 1, "the file name is too long");
	memcpy(name, ps->word[1].s, ps->word[1].len);
	name[ps->word[1].len] = 0;
	if (ps->depth == INCLUDES_MAX)
		return parse_fail(ps, 1, "includes are nested deeper than %u", INCLUDES_MAX);
	if (!ps->src->include || ps->src->include(ps->src->arg, ps->file, name, &text, &len))
		return parse_fail(ps, 1, "cannot read %s", name);
	ps->depth++;
	err = parse_text(ps, name, text, len);
	ps->depth--;
	ps->file = file;
	ps->line = line;
	return err;
}

static void flat_line(struct parser *ps, const char *text, size_t n)
{
	ps->flat++;
	if (ps->src->line)
		ps->src->line(ps->src->arg, text, n);
}

static int parse_text(struct parser *ps, const char *name, const char *text, size_t len)
{
	int err = 0;

	ps->file = name;
	for (unsigned line = 1; len && !err; line++) {
		size_t n = 0;

		while (n < len && text[n] != '\n')
			n++;
		ps->line = line;
		err = split(ps, text, n);
		if (err || !ps->n || !word_is(&ps->word[0], "include"))
			flat_line(ps, text, n);
		if (!err && ps->n)
			err = word_is(&ps->word[0], "let")       ? parse_let(ps)
			      : word_is(&ps->word[0], "include") ? parse_include(ps)
								 : parse_rule(ps);
		n += n < len;
		text += n;
		len -= n;
	}
	return err;
}

/* ---- all ------------------------------------------------------------------------------------------------ */

int policy_compile(const struct policy_source *src, struct policy **out, struct policy_error *err)
{
	struct parser *ps = plat_alloc(sizeof(*ps));
	struct policy *p = plat_alloc(sizeof(*p));
	int e = ERR_NOMEM;

	*err = (struct policy_error){.line = 0};
	if (ps && p) {
		plat_mutex_init(&p->lock, RANK_LEAF);
		ps->p = p;
		ps->err = err;
		ps->src = src;
		e = parse_text(ps, src->name, src->text, src->len);
		if (!e)
			e = policy_finish(p);
	}
	plat_free(ps);
	if (e) {
		policy_free(p);
		return err_here(e);
	}
	*out = p;
	return 0;
}
