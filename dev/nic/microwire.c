/* SPDX-License-Identifier: ISC */
/* microwire.c: see microwire.h. Under the lock of the card. */
#include "dev/nic/microwire.h"

/* A command is a start bit, two of code and six of address. */
#define COMMAND_BITS 9
#define CODE_READ    6

void microwire_reset(struct microwire *m)
{
	*m = (struct microwire){.dout = true};
}

static void load(struct microwire *m, const uint16_t *words)
{
	m->out = words[m->in % MICROWIRE_WORDS];
	m->left = 16;
}

/* Reading goes on into the next word. */
void microwire_clock(struct microwire *m, const uint16_t words[MICROWIRE_WORDS], bool in)
{
	if (m->bits < COMMAND_BITS) {
		if (!m->bits && !in)
			return; /* before the start bit */
		m->in = (uint16_t)(m->in << 1 | in);
		if (++m->bits == COMMAND_BITS && m->in >> 6 == CODE_READ) {
			load(m, words);
			m->dout = false; /* a zero precedes the word */
		}
		return;
	}
	if (!m->left) {
		m->in = (uint16_t)((m->in & ~63u) | ((m->in + 1u) & 63));
		load(m, words);
	}
	m->dout = m->out >> 15;
	m->out = (uint16_t)(m->out << 1);
	m->left--;
}
