/* SPDX-License-Identifier: ISC */
/* i8254_counter.h: one counter of an 8254 as a function of time, without ports or host timers.
 *
 * Time is in pulses of the counter's clock. Nothing runs: the state is brought up to a pulse when
 * somebody looks. Not locked: the PIT's lock covers it. */
#ifndef DEV_PC_I8254_COUNTER_H
#define DEV_PC_I8254_COUNTER_H

#include "base/def.h"

#define CTR_NEVER UINT64_MAX

struct i8254_counter {
	/* programming */
	uint8_t mode;   /* 0…5 */
	uint8_t access; /* 1: low byte, 2: high byte, 3: low then high */
	bool bcd;
	bool gate;
	uint8_t write_low;   /* first byte of a pair */
	bool write_high;     /* the second byte is next */
	bool read_high;      /* likewise for reads */
	bool latched;        /* out_latch holds a count */
	bool status_latched; /* status holds a status byte */
	uint16_t out_latch;
	uint8_t status;
	uint8_t control; /* bits 0-5 of the control word, for the status byte */

	/* counting */
	uint32_t reload;  /* count register: 1…65536 (10000 in BCD); 0: none written yet */
	bool null_count;  /* the count register has not gone into the counting element yet */
	uint64_t load_at; /* pulse at which it will; CTR_NEVER: none is due */
	bool counting;
	uint64_t base;     /* pulse at which the counting element held count */
	uint32_t count;    /* 0…65536, in binary */
	uint32_t period;   /* modes 2 and 3: of the running period */
	bool low_half;     /* mode 3: OUT is low */
	bool armed;        /* modes 0, 1, 4, 5: terminal count not reached since the load */
	uint64_t terminal; /* modes 4 and 5: pulse of the terminal count; CTR_NEVER */
};

void ctr_reset(struct i8254_counter *c);
void ctr_control(struct i8254_counter *c, uint8_t word, uint64_t now);
void ctr_write(struct i8254_counter *c, uint8_t byte, uint64_t now);
uint8_t ctr_read(struct i8254_counter *c, uint64_t now);
void ctr_latch_count(struct i8254_counter *c, uint64_t now);
void ctr_latch_status(struct i8254_counter *c, uint64_t now);
void ctr_set_gate(struct i8254_counter *c, bool gate, uint64_t now);
/* Level of OUT at pulse now. */
bool ctr_out(struct i8254_counter *c, uint64_t now);
/* First pulse after now at which OUT rises, if nothing is written meanwhile; CTR_NEVER. */
uint64_t ctr_next_rise(struct i8254_counter *c, uint64_t now);
/* Pulses between two rises in modes 2 and 3; 0 in the others. */
uint32_t ctr_period(const struct i8254_counter *c);

#endif
