/* SPDX-License-Identifier: ISC */
/* ipfrag.c: reassembly of IPv4 datagrams (RFC 791, section 3.2; overlaps are refused as RFC 5722 has it
 * for IPv6). Every field comes from the guest. The caller serialises. */
#include "base/str.h"
#include "net/ipfrag.h"
#include "plat/plat.h"

#define ETH        14
#define HEADERS    (ETH + 60) /* at most, in front of the payload */
#define PAYLOAD    65515      /* at most, behind a header of 20 */
#define UNITS      8192       /* of 8 bytes, in which fragments are counted */
#define SLOTS      4
#define TIMEOUT_NS (30 * NS_PER_SEC)

#define FLAG_MF     0x2000
#define OFFSET_MASK 0x1fff

struct datagram {
	bool used, have_header;
	uint8_t key[11]; /* source, destination, identification, protocol */
	uint64_t since;
	uint32_t got;      /* payload bytes */
	uint32_t total;    /* payload bytes, 0: not known yet */
	uint32_t end;      /* of the farthest fragment */
	uint32_t head_len; /* Ethernet and IP */
	uint64_t have[UNITS / 64];
	uint8_t data[HEADERS + PAYLOAD + 8]; /* headers end at HEADERS, payload begins */
};

struct ipfrag {
	struct datagram slot[SLOTS];
};

/* A fragment with its fields checked. */
struct fragment {
	uint32_t ip_len, head; /* bytes: whole datagram, IP header */
	uint32_t off, len;     /* of the payload */
	bool more;
	uint8_t key[11];
};

static unsigned be16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static unsigned checksum(const uint8_t *p, uint32_t len)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < len; i += 2)
		sum += be16(p + i);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

bool ipfrag_is(const uint8_t *frame, size_t len)
{
	return len >= ETH + 20 && be16(frame + 12) == 0x0800 &&
	       (be16(frame + ETH + 6) & (FLAG_MF | OFFSET_MASK));
}

static bool parse(const uint8_t *ip, size_t len, struct fragment *fr)
{
	fr->head = (ip[0] & 15u) * 4;
	fr->ip_len = be16(ip + 2);
	if (ip[0] >> 4 != 4 || fr->head < 20 || fr->ip_len <= fr->head || fr->ip_len > len ||
	    checksum(ip, fr->head))
		return false;
	fr->off = (be16(ip + 6) & OFFSET_MASK) * 8;
	fr->len = fr->ip_len - fr->head;
	fr->more = be16(ip + 6) & FLAG_MF;
	memcpy(fr->key, ip + 12, 8);
	memcpy(fr->key + 8, ip + 4, 2);
	fr->key[10] = ip[9];
	return fr->off + fr->len <= PAYLOAD && !(fr->more && fr->len % 8);
}

static struct datagram *find(struct ipfrag *f, const uint8_t *key, uint64_t now)
{
	struct datagram *oldest = &f->slot[0];

	for (unsigned i = 0; i < SLOTS; i++) {
		struct datagram *d = &f->slot[i];

		if (d->used && now - d->since > TIMEOUT_NS)
			d->used = false;
		if (d->used && !memcmp(d->key, key, sizeof(d->key)))
			return d;
		if (!d->used || (oldest->used && d->since < oldest->since))
			oldest = d;
	}
	memset(oldest, 0, offsetof(struct datagram, data));
	oldest->used = true;
	oldest->since = now;
	memcpy(oldest->key, key, sizeof(oldest->key));
	return oldest;
}

/* False: it overlaps what is there, or contradicts it. */
static bool place(struct datagram *d, const struct fragment *fr, const uint8_t *frame)
{
	uint32_t end = fr->off + fr->len;

	if (!fr->more) {
		if (d->total || d->end > end)
			return false;
		d->total = end;
	} else if (d->total && end > d->total) {
		return false;
	}
	for (uint32_t u = fr->off / 8; u < (end + 7) / 8; u++) {
		if (d->have[u / 64] & BIT64(u % 64))
			return false;
		d->have[u / 64] |= BIT64(u % 64);
	}
	d->end = MAX(d->end, end);
	d->got += fr->len;
	memcpy(d->data + HEADERS + fr->off, frame + ETH + fr->head, fr->len);
	if (!fr->off) {
		d->have_header = true;
		d->head_len = ETH + fr->head;
		memcpy(d->data + HEADERS - d->head_len, frame, d->head_len);
	}
	return true;
}

const uint8_t *ipfrag_add(struct ipfrag *f, const uint8_t *frame, size_t len, uint64_t now,
			  size_t *out_len)
{
	struct datagram *d;
	struct fragment fr;
	uint32_t ip_len;
	uint8_t *ip;
	unsigned sum;

	if (!ipfrag_is(frame, len) || !parse(frame + ETH, len - ETH, &fr))
		return NULL;
	d = find(f, fr.key, now);
	if (!place(d, &fr, frame)) {
		d->used = false;
		return NULL;
	}
	if (!d->total || d->got != d->total || !d->have_header)
		return NULL;
	d->used = false;
	ip_len = d->head_len - ETH + d->total;
	if (ip_len > 65535)
		return NULL;
	ip = d->data + HEADERS - d->head_len + ETH;
	ip[2] = (uint8_t)(ip_len >> 8);
	ip[3] = (uint8_t)ip_len;
	memset(ip + 6, 0, 2);
	memset(ip + 10, 0, 2);
	sum = checksum(ip, d->head_len - ETH);
	ip[10] = (uint8_t)(sum >> 8);
	ip[11] = (uint8_t)sum;
	*out_len = ETH + ip_len;
	return ip - ETH;
}

struct ipfrag *ipfrag_create(void)
{
	return plat_pages_alloc(ALIGN_UP(sizeof(struct ipfrag), PAGE_SIZE));
}

void ipfrag_destroy(struct ipfrag *f)
{
	plat_pages_free(f, ALIGN_UP(sizeof(struct ipfrag), PAGE_SIZE));
}
