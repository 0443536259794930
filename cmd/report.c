/* SPDX-License-Identifier: ISC */
/* report.c: the HTML report. The page's script makes its charts and tables from one JSON object and writes
 * texts as texts: what a guest has said can be anything, markup too. */
#include "cmd/report.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "history/tally.h"
#include "monitor/core.h"

#define BUCKETS     120
#define PICTURES    40        /* the last so many */
#define PICTURE_MAX (1 << 20) /* bytes of one */

static const struct {
	const char *key, *title, *sql;
} tables[] = {
	{"runs", "Runs",
	 "SELECT id, datetime(started/1e9,'unixepoch') AS started, name, engine, cpus, memory/1048576 AS "
	 "MiB FROM run ORDER BY id DESC LIMIT 50"},
	{"life", "Lifecycle",
	 "SELECT time, op, text FROM events WHERE class='lifecycle' ORDER BY seq DESC LIMIT 100"},
	{"operator", "Operator",
	 "SELECT time, op, text, result FROM operator ORDER BY seq DESC LIMIT 100"},
	{"verdicts", "Verdicts of the policy",
	 "SELECT class.name AS class, coalesce(op.name,b) AS op, CASE c WHEN 1 THEN 'redirect' WHEN 2 THEN "
	 "'deny' ELSE 'provide' END AS verdict, d AS line, n AS times FROM tally JOIN class ON class.id=a LEFT "
	 "JOIN op ON op.cls=a AND op.op=b WHERE what='verdict' ORDER BY n DESC LIMIT 100"},
	{"spaces", "Guest processes by time (page-table roots)",
	 "SELECT a AS run, printf('0x%x',b) AS root, round(sum/1e9,3) AS seconds, round(part/1e9,3) AS user, n AS "
	 "switches FROM tally WHERE what='space' ORDER BY sum DESC LIMIT 25"},
	{"exceptions", "Exceptions",
	 "SELECT coalesce(op.name,b) AS op, sum(n) AS times FROM tally LEFT JOIN op ON op.cls=1 AND op.op=b "
	 "WHERE what='exception' GROUP BY b ORDER BY 2 DESC"},
	{"devices", "Devices most used",
	 "SELECT class.name AS class, coalesce(op.name,b) AS op, CASE c WHEN -1 THEN 'others' ELSE "
	 "printf('0x%x',c) END AS address, n AS times FROM tally JOIN class ON class.id=a LEFT JOIN op ON "
	 "op.cls=a AND op.op=b WHERE what='device' ORDER BY n DESC LIMIT 40"},
	{"disk", "Disks",
	 "SELECT a AS run, 'disk' || b AS disk, coalesce(op.name,c) AS op, n AS requests, sum AS bytes, "
	 "round(most/1e3) AS slowest_us FROM tally LEFT JOIN op ON op.cls=7 AND op.op=c WHERE what='disk' ORDER BY "
	 "a, b, c"},
	{"flows", "Network flows most used",
	 "SELECT time, text, packets, bytes_out, bytes_in FROM net_flows ORDER BY bytes_out+bytes_in DESC "
	 "LIMIT 100"},
	{"dns", "Names asked",
	 "SELECT text, count(*) AS times FROM dns GROUP BY text ORDER BY times DESC LIMIT 100"},
	{"console", "Console (the end of it)",
	 "SELECT time, text FROM (SELECT seq, time, text FROM console ORDER BY seq DESC LIMIT 300) ORDER BY "
	 "seq"},
};

static const char page_head[] =
	"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>vigia</title>\n<style>\n"
	"body{font:14px/1.4 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em;color:#222;"
	"background:#fff}\nh1{font-size:1.5em}h2{font-size:1.1em;margin:1.6em 0 .4em}\n"
	"table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.15em .6em .15em 0;"
	"border-bottom:1px solid #ddd;vertical-align:top}\ntd.n,th.n{text-align:right;"
	"font-variant-numeric:tabular-nums}td.t{white-space:pre-wrap;word-break:break-word;"
	"font-family:monospace}\n.row{display:flex;align-items:center;margin:2px 0}.row b{width:8em;"
	"font-weight:normal}.row i{width:8em;text-align:right;font-style:normal;padding-right:1em}\n"
	"svg{flex:1;height:28px;background:#f4f4f4}rect{fill:#36c}rect:hover{fill:#c33}\n"
	".album{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0}figcaption{font-size:.85em}\n"
	".deny{color:#b00}.redirect{color:#a60}\n@media(prefers-color-scheme:dark){body{background:#181818;"
	"color:#ddd}th,td{border-color:#444}svg{background:#252525}rect{fill:#69f}}\n"
	"</style></head><body>\n<script type=\"application/json\" id=\"data\">";
static const char page_tail[] =
	"</script>\n<script>\n"
	"const data=JSON.parse(document.getElementById('data').textContent);\n"
	"const add=(to,tag,text,cls)=>{const e=document.createElement(tag);if(text!==undefined)"
	"e.textContent=text===null?'':text;if(cls)e.className=cls;to.appendChild(e);return e};\n"
	"const when=ns=>new Date(ns/1e6).toISOString().replace('T',' ').slice(0,19);\n"
	"const body=document.body;document.title='vigia: '+data.name;\n"
	"add(body,'h1','The history of '+data.name);\n"
	"add(body,'p',when(data.from)+' to '+when(data.to)+' UTC, '+data.records.toLocaleString()+"
	"' records, '+data.lost.toLocaleString()+' lost');\n"
	"add(body,'h2','What happened when');\n"
	"const NS='http://www.w3.org/2000/svg';\n"
	"for(const c of data.classes){const r=add(body,'div',undefined,'row');add(r,'b',c.name);"
	"add(r,'i',c.events.toLocaleString());const s=document.createElementNS(NS,'svg');"
	"s.setAttribute('viewBox','0 0 '+c.over.length+' 28');s.setAttribute('preserveAspectRatio','none');"
	"const most=Math.max(1,...c.over);c.over.forEach((n,i)=>{if(!n)return;"
	"const b=document.createElementNS(NS,'rect'),h=Math.max(1,28*n/most);b.setAttribute('x',i);"
	"b.setAttribute('y',28-h);b.setAttribute('width',.9);b.setAttribute('height',h);"
	"const t=document.createElementNS(NS,'title');t.textContent="
	"when(data.from+(data.to-data.from)*i/c.over.length)+': '+n.toLocaleString();b.appendChild(t);"
	"s.appendChild(b)});r.appendChild(s)}\n"
	"if(data.pictures.length){add(body,'h2','Screen');const a=add(body,'div',undefined,'album');"
	"for(const p of data.pictures){const f=add(a,'figure'),i=add(f,'img');i.src='data:image/png;base64,'+"
	"p.png;add(f,'figcaption',p.time+', '+p.size)}}\n"
	"for(const t of data.tables){if(!t.rows.length)continue;add(body,'h2',t.title);"
	"const e=add(body,'table'),h=add(e,'tr');t.columns.forEach((c,i)=>add(h,'th',c,"
	"typeof t.rows[0][i]==='number'?'n':''));for(const r of t.rows){const l=add(e,'tr');"
	"r.forEach((v,i)=>{const n=typeof v==='number';add(l,'td',n?v.toLocaleString():v,n?'n':"
	"t.columns[i]==='text'?'t':v==='deny'||v==='redirect'?v:'')})}}\n"
	"</script></body></html>\n";

/* ---- data ---------------------------------------------------------------------------------------- */

static json_t *base64(const uint8_t *p, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *text = malloc((len + 2) / 3 * 4 + 1), *to = text;
	json_t *out = NULL;

	for (size_t i = 0; text && i < len; i += 3) {
		size_t left = len - i;
		uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
			     (left > 2 ? p[i + 2] : 0);

		for (unsigned k = 0; k < 4; k++)
			*to++ = k > left ? '=' : digits[v >> (18 - 6 * k) & 63];
	}
	if (text)
		out = json_stringn(text, (size_t)(to - text));
	free(text);
	return out ? out : json_null();
}

json_t *report_text(const char *s, size_t n)
{
	char *text = malloc(n + 1);
	uint32_t code;
	json_t *j;

	if (text)
		memcpy(text, s, n);
	for (size_t i = 0, len; text && i < n; i += len) {
		len = str_utf8(text + i, n - i, &code);
		if (!len)
			text[i] = '?';
		len = len ? len : 1;
	}
	j = text ? json_stringn(text, n) : NULL;
	free(text);
	return j ? j : json_null();
}

json_t *report_cell(sqlite3_stmt *st, int i)
{
	size_t n;
	json_t *j;

	switch (sqlite3_column_type(st, i)) {
	case SQLITE_INTEGER:
		return json_integer(sqlite3_column_int64(st, i));
	case SQLITE_FLOAT: /* but infinity, which JSON has not */
		j = json_real(sqlite3_column_double(st, i));
		return j ? j : json_null();
	case SQLITE_NULL:
		return json_null();
	case SQLITE_BLOB:
		n = (size_t)sqlite3_column_bytes(st, i);
		return base64(sqlite3_column_blob(st, i), n);
	default:
		n = (size_t)sqlite3_column_bytes(st, i);
		return report_text((const char *)sqlite3_column_text(st, i), n);
	}
}

static json_t *table(sqlite3 *db, unsigned i)
{
	json_t *columns = json_array(), *rows = json_array();
	sqlite3_stmt *st = NULL;

	/* a history of an earlier version has fewer views */
	if (sqlite3_prepare_v2(db, tables[i].sql, -1, &st, NULL) == SQLITE_OK) {
		for (int k = 0; k < sqlite3_column_count(st); k++)
			json_array_append_new(columns, json_string(sqlite3_column_name(st, k)));
		while (sqlite3_step(st) == SQLITE_ROW) {
			json_t *row = json_array();

			for (int k = 0; k < sqlite3_column_count(st); k++)
				json_array_append_new(row, report_cell(st, k));
			json_array_append_new(rows, row);
		}
	}
	sqlite3_finalize(st);
	return json_pack("{s:s,s:s,s:o,s:o}", "key", tables[i].key, "title", tables[i].title,
			 "columns", columns, "rows", rows);
}

static json_t *pictures(sqlite3 *db)
{
	json_t *out = json_array();
	sqlite3_stmt *st = NULL;

	if (sqlite3_prepare_v2(
		    db,
		    "SELECT * FROM (SELECT seq, time, width || ' x ' || height, png FROM "
		    "screens ORDER BY seq DESC LIMIT ?) ORDER BY seq",
		    -1, &st, NULL) == SQLITE_OK) {
		sqlite3_bind_int(st, 1, PICTURES);
		while (sqlite3_step(st) == SQLITE_ROW) {
			const uint8_t *png = sqlite3_column_blob(st, 3);
			size_t len = (size_t)sqlite3_column_bytes(st, 3);

			if (png && len <= PICTURE_MAX)
				json_array_append_new(out, json_pack("{s:o,s:o,s:o}", "time",
								     report_cell(st, 1), "size",
								     report_cell(st, 2), "png",
								     base64(png, len)));
		}
	}
	sqlite3_finalize(st);
	return out;
}

/* Events of each class over the time of the history. */
static json_t *classes(sqlite3 *db)
{
	int64_t over[MON_CLASSES][BUCKETS] = {{0}};
	json_t *out = json_array();
	sqlite3_stmt *st = NULL;

	if (sqlite3_prepare_v2(db, "SELECT a, b, n FROM tally WHERE what='class'", -1, &st, NULL) ==
	    SQLITE_OK)
		while (sqlite3_step(st) == SQLITE_ROW)
			over[sqlite3_column_int64(st, 0) % MON_CLASSES]
			    [sqlite3_column_int64(st, 1) % BUCKETS] = sqlite3_column_int64(st, 2);
	sqlite3_finalize(st);
	for (unsigned c = 0; c < MON_CLASSES; c++) {
		json_t *list = json_array();
		json_int_t all = 0;

		for (unsigned b = 0; b < BUCKETS; b++) {
			json_array_append_new(list, json_integer(over[c][b]));
			all = (json_int_t)((uint64_t)all + (uint64_t)over[c][b]);
		}
		if (all)
			json_array_append_new(out, json_pack("{s:s,s:I,s:o}", "name",
							     mon_class_name((uint8_t)c), "events",
							     all, "over", list));
		else
			json_decref(list);
	}
	return out;
}

static int64_t number(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *st = NULL;
	int64_t v = 0;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		v = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return v;
}

/* "</script>" in a text of the guest would end the data. */
static int put_json(const char *buf, size_t len, void *arg)
{
	FILE *f = arg;

	for (size_t i = 0; i < len; i++)
		if (buf[i] == '<' ? fputs("\\u003c", f) < 0 : putc(buf[i], f) == EOF)
			return -1;
	return 0;
}

int report_html(sqlite3 *db, const char *name, const char *path, struct msg *msg)
{
	char text[300];
	int64_t from, to;
	int err = history_tally(db, BUCKETS, text, sizeof(text));
	json_t *list = json_array(), *data, *title = report_text(name, strlen(name));
	FILE *f = fopen(path, "we");
	bool bad;

	if (!f || err) {
		json_decref(list);
		json_decref(title);
		if (f)
			fclose(f);
		return f ? msg_fail(msg, err, "%s", text)
			 : msg_fail(msg, ERR_ACCES, "--html %s: %s", path, strerror(errno));
	}
	history_span(db, &from, &to);
	for (unsigned i = 0; i < ARRAY_SIZE(tables); i++)
		json_array_append_new(list, table(db, i));
	data = json_pack("{s:o,s:I,s:I,s:I,s:I,s:o,s:o,s:o}", "name", title, "from",
			 (json_int_t)from, "to", (json_int_t)to, "records",
			 (json_int_t)number(db, "SELECT count(*) FROM event"), "lost",
			 (json_int_t)number(db, "SELECT coalesce(sum(dropped),0) FROM batch"),
			 "classes", classes(db), "tables", list, "pictures", pictures(db));
	fputs(page_head, f);
	bad = !data || json_dump_callback(data, put_json, f, JSON_COMPACT);
	fputs(page_tail, f);
	json_decref(data);
	bad |= ferror(f) != 0;
	if (fclose(f) || bad)
		return msg_fail(msg, ERR_IO, "--html %s: cannot be written", path);
	return 0;
}
