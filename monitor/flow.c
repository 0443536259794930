/* SPDX-License-Identifier: ISC */
/* flow.c: a table of 5-tuples, found by hash with open addressing over a short run. A full
 * run gives up its oldest flow, which then counts as ended: nothing that a guest sends grows memory.
 *
 * Entered by vCPU threads and back ends' threads with any lock below RANK_LEAF held. */
#include "monitor/flow.h"

#include "base/str.h"

#define RUN        8
#define DNS_PORT   53
#define DHCP_SERVE 67

int flows_init(struct flows *fs)
{
	*fs = (struct flows){.next_id = 1};
	plat_mutex_init(&fs->lock, RANK_LEAF);
	fs->table = plat_pages_alloc(ALIGN_UP(sizeof(*fs->table) * FLOW_TABLE, PAGE_SIZE));
	return fs->table ? 0 : err_here(ERR_NOMEM);
}

void flows_fini(struct flows *fs)
{
	if (fs->table)
		plat_pages_free(fs->table, ALIGN_UP(sizeof(*fs->table) * FLOW_TABLE, PAGE_SIZE));
	fs->table = NULL;
}

void flow_format(const struct flow *f, char text[FLOW_TEXT])
{
	char g[FRAME_ADDR_TEXT], r[FRAME_ADDR_TEXT];
	const char *a = f->outward ? g : r, *b = f->outward ? r : g;

	frame_addr_format(&f->g, g);
	frame_addr_format(&f->r, r);
	if (f->gport || f->rport)
		str_format(text, FLOW_TEXT, "%s %s:%u > %s:%u", frame_proto_name(f->proto), a,
			   f->outward ? f->gport : f->rport, b, f->outward ? f->rport : f->gport);
	else
		str_format(text, FLOW_TEXT, "%s %s > %s", frame_proto_name(f->proto), a, b);
}

static void tell_flow(const struct flow_sink *sink, uint8_t op, const struct flow *f,
		      uint8_t verdict)
{
	char text[FLOW_TEXT];

	flow_format(f, text);
	sink->tell(sink->arg, op, f, verdict, text);
}

static uint32_t flow_hash(const struct flow *f)
{
	uint64_t a, b, h;

	memcpy(&a, f->r.b + 8, 8);
	memcpy(&b, f->g.b + 8, 8);
	h = (a ^ ((uint64_t)f->gport << 48 | (uint64_t)f->rport << 32 | (uint64_t)f->unit << 8 |
		  f->proto)) *
	    UINT64_C(0x9e3779b97f4a7c15);
	h = (h ^ b ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	return (uint32_t)(h >> 32);
}

static bool same(const struct flow *a, const struct flow *b)
{
	return a->used && a->gport == b->gport && a->rport == b->rport && a->proto == b->proto &&
	       a->unit == b->unit && !memcmp(a->r.b, b->r.b, 16) && !memcmp(a->g.b, b->g.b, 16);
}

static void flow_end(struct flows *fs, struct flow *f, const struct flow_sink *sink)
{
	tell_flow(sink, NET_FLOW_CLOSE, f, MON_PROVIDE);
	f->used = false;
	fs->n--;
}

/* Finds or makes; the new one's place may have been another's. */
static struct flow *flow_get(struct flows *fs, const struct flow *want, bool *fresh,
			     const struct flow_sink *sink)
{
	uint32_t h = flow_hash(want);
	struct flow *best = NULL;

	*fresh = false;
	for (unsigned i = 0; i < RUN; i++) {
		struct flow *f = &fs->table[(h + i) & (FLOW_TABLE - 1)];

		if (same(f, want))
			return f;
		if (!best || (best->used && (!f->used || f->last < best->last)))
			best = f;
	}
	if (best->used)
		flow_end(fs, best, sink);
	*best = *want;
	best->used = true;
	best->id = fs->next_id++;
	fs->n++;
	*fresh = true;
	return best;
}

static const char *dhcp_kind(const uint8_t *p, size_t len)
{
	static const char *const kinds[] = {"?",   "discover", "offer",   "request", "decline",
					    "ack", "nak",      "release", "inform"};

	for (size_t i = 240; i + 2 < len && p[i] != 255;) {
		if (!p[i]) {
			i++;
			continue;
		}
		if (p[i] == 53)
			return kinds[p[i + 2] < ARRAY_SIZE(kinds) ? p[i + 2] : 0];
		i += 2u + p[i + 1];
	}
	return kinds[0];
}

static void look_dns(const struct frame_info *fi, const struct flow *f, uint8_t verdict,
		     const struct flow_sink *sink)
{
	char name[FRAME_NAME_MAX], text[384];
	struct frame_addr addr[4];
	uint16_t type;
	bool answer;
	uint8_t rcode;
	int n = frame_dns(fi->payload, fi->payload_len, name, &type, &answer, &rcode, addr, 4);
	size_t len;

	if (n < 0)
		return;
	str_format(text, sizeof(text), "%s %s %s", answer ? "answer" : "ask",
		   type == 1    ? "A"
		   : type == 28 ? "AAAA"
		   : type == 12 ? "PTR"
				: "other",
		   name);
	if (answer && rcode) {
		len = str_len(text);
		str_format(text + len, sizeof(text) - len, " = error %u", rcode);
	}
	for (int i = 0; i < n; i++) {
		char a[FRAME_ADDR_TEXT];

		len = str_len(text);
		frame_addr_format(&addr[i], a);
		str_format(text + len, sizeof(text) - len, "%s%s", i ? " " : " = ", a);
	}
	sink->tell(sink->arg, NET_DNS, f, verdict, text);
}

static void look_dhcp(const struct frame_info *fi, const struct flow *f, uint8_t verdict,
		      const struct flow_sink *sink)
{
	const uint8_t *p = fi->payload;
	char text[96];

	if (fi->payload_len < 244)
		return;
	str_format(text, sizeof(text), "dhcp %s client %u.%u.%u.%u yours %u.%u.%u.%u",
		   dhcp_kind(p, fi->payload_len), p[12], p[13], p[14], p[15], p[16], p[17], p[18],
		   p[19]);
	sink->tell(sink->arg, NET_DHCP, f, verdict, text);
}

/* An address whose owner changes is what spoofing looks like. */
static void look_arp(struct flows *fs, const uint8_t *data, size_t len, uint8_t unit,
		     const struct flow_sink *sink)
{
	static const uint8_t head[6] = {0, 1, 8, 0, 6, 4};
	const uint8_t *p = data + 14, *mac = p + 8, *ip = p + 14;
	char text[112];
	unsigned i;
	bool known;

	if (len < 42 || memcmp(p, head, sizeof(head)) || !(ip[0] | ip[1] | ip[2] | ip[3]))
		return;
	for (i = 0; i < fs->n_arp; i++) /* cards may lie in networks alike */
		if (fs->arp_unit[i] == unit && !memcmp(fs->arp_ip[i], ip, 4))
			break;
	if (i < fs->n_arp && !memcmp(fs->arp_mac[i], mac, 6))
		return;
	known = i < fs->n_arp;
	if (i == ARRAY_SIZE(fs->arp_ip))
		i = fs->hand++ % ARRAY_SIZE(fs->arp_ip);
	str_format(text, sizeof(text), "%s %u.%u.%u.%u is at %02x:%02x:%02x:%02x:%02x:%02x",
		   known ? "arp anomaly:" : "arp", ip[0], ip[1], ip[2], ip[3], mac[0], mac[1],
		   mac[2], mac[3], mac[4], mac[5]);
	fs->arp_unit[i] = unit;
	memcpy(fs->arp_ip[i], ip, 4);
	memcpy(fs->arp_mac[i], mac, 6);
	if (i == fs->n_arp)
		fs->n_arp++;
	sink->tell(sink->arg, NET_ARP, NULL, MON_PROVIDE, text);
}

static void look_inside(const struct frame_info *fi, const struct flow *f, uint8_t verdict,
			const struct flow_sink *sink)
{
	if (fi->proto != 17 || !fi->payload)
		return;
	if (fi->sport == DNS_PORT || fi->dport == DNS_PORT)
		look_dns(fi, f, verdict, sink);
	else if (fi->sport == DHCP_SERVE || fi->dport == DHCP_SERVE)
		look_dhcp(fi, f, verdict, sink);
}

void flows_frame(struct flows *fs, const struct mon_event *ev, const struct flow_sink *sink)
{
	const struct frame_info *fi = ev->frame;
	bool out = ev->op == NET_SEND, fresh;
	struct flow want = {.proto = fi->proto, .unit = ev->unit, .outward = out}, *f;

	plat_mutex_lock(&fs->lock);
	if (fi->type == 0x0806)
		look_arp(fs, ev->data, ev->len, ev->unit, sink);
	if (!fi->ip) {
		plat_mutex_unlock(&fs->lock);
		return;
	}
	want.g = out ? fi->src : fi->dst;
	want.r = out ? fi->dst : fi->src;
	want.gport = out ? fi->sport : fi->dport;
	want.rport = out ? fi->dport : fi->sport;
	f = flow_get(fs, &want, &fresh, sink);
	f->last = fs->frames++;
	f->heard = true;
	f->packets++;
	*(out ? &f->bytes_out : &f->bytes_in) += ev->size;
	if (fi->tcp_flags & (FRAME_TCP_FIN | FRAME_TCP_RST))
		f->closing = true;
	if (fresh)
		tell_flow(sink, NET_FLOW_OPEN, f, ev->verdict);
	look_inside(fi, f, ev->verdict, sink);
	plat_mutex_unlock(&fs->lock);
}

void flows_sweep(struct flows *fs, bool all, const struct flow_sink *sink)
{
	uint64_t now = plat_now();

	plat_mutex_lock(&fs->lock);
	for (uint32_t i = 0, left = fs->n; i < FLOW_TABLE && left; i++) {
		struct flow *f = &fs->table[i];
		uint64_t idle;

		if (!f->used)
			continue;
		left--;
		f->since = f->heard ? now : f->since;
		f->heard = false;
		idle = f->closing ? 2 * NS_PER_SEC : FLOW_IDLE_S * NS_PER_SEC;
		if (all || now - f->since > idle)
			flow_end(fs, f, sink);
	}
	plat_mutex_unlock(&fs->lock);
}
