/* SPDX-License-Identifier: ISC */
/* monitor.h: the choke point. Every access of a guest to what is not its own memory or registers
 * tells the monitor (history) and asks it (policy). With no interest in a class the cost is one
 * test of a bit. */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include "base/def.h"

enum mon_class {
	MON_LIFECYCLE,
	MON_CPU,
	MON_PORT,
	MON_MMIO,
	MON_MSR,
	MON_CPUID,
	MON_IRQ,
	MON_DISK,
	MON_NET,
	MON_CONSOLE,
	MON_TIME,
	MON_ENTROPY,
	MON_OPERATOR,
	MON_MEMORY,
	MON_DEVICE,
	MON_CLASSES,
};

enum mon_verdict { MON_PROVIDE, MON_REDIRECT, MON_DENY };

/* mon_event.flags; a rule sets them */
#define MON_F_FULL   BIT(0) /* record each one, whatever the class's tier is */
#define MON_F_NOTIFY BIT(1) /* say it in the log too */

/* Ops of MON_CPU are those of enum cpu_told (x86/cpu.h): control registers by number, 20H on descriptor
 * tables, 30H on instructions, 40H on exceptions by vector. CR3 is counted by page-table root. */
#define CPU_SPACE 3
#define CPU_USER  5    /* a root's time in user mode */
#define CPU_SHARE 6    /* a rule's: of each CPU */
#define CPU_HOT   0x30 /* counted from here on */
/* Ops of MON_IRQ */
enum mon_irq_op { IRQ_MSI = 1, IRQ_IPI, IRQ_LINE };
/* Ops of MON_NET. Frames are seen by flow tables, the others are what they find. */
enum mon_net_op {
	NET_RECEIVE,
	NET_SEND,
	NET_FLOW_OPEN,
	NET_FLOW_CLOSE,
	NET_DNS,
	NET_DHCP,
	NET_ARP
};
enum mon_life_op {
	LIFE_START,
	LIFE_END,
	LIFE_PAUSE,
	LIFE_RESUME,
	LIFE_RESET,
	LIFE_CRASH,
	LIFE_NOTE,
	LIFE_FIRMWARE, /* what it says of itself */
	LIFE_MODE,     /* addr: enum mon_mode */
	LIFE_RULES     /* in force from now on; value: the first one's line */
};
enum mon_mode { MODE_REAL, MODE_PROTECTED, MODE_PAGED, MODE_LONG };
/* What an operator may ask for; rules of the class operator are about these (value of the event). */
#define MON_REQUESTS(R) \
	R(policy)       \
	R(record)       \
	R(stop)         \
	R(kill)         \
	R(pause)        \
	R(resume)       \
	R(save)         \
	R(move)         \
	R(type)         \
	R(key)          \
	R(mouse)        \
	R(console)      \
	R(status) R(stats) R(rules) R(screenshot) R(typing) R(insert) R(eject) R(snapshot) R(wake)
enum mon_request {
#define R(name) REQUEST_##name,
	MON_REQUESTS(R)
#undef R
		REQUESTS
};
enum mon_operator_op { OPERATOR_REQUEST, OPERATOR_SIGNAL, OPERATOR_KEY, OPERATOR_DEBUG };
/* Ops of MON_CONSOLE */
enum mon_console_op { CONSOLE_IN, CONSOLE_OUT, CONSOLE_SCREEN };
/* Ops of MON_DISK are those of enum block_op. */

/* One event or request:
 *
 *	class	op		addr		value		size		data
 *	port	0 read 1 write	port		value		bytes
 *	mmio	0 read 1 write	address		value		bytes
 *	msr	0 read 1 write	index		value
 *	cpuid	register 0-3	sub << 32 | leaf value
 *	cpu	enum cpu_told	root: ns kernel	value
 *	irq	enum mon_irq_op	MSI address	MSI data
 *				destination	ICR, low half
 *				line
 *	disk	enum block_op	offset, bytes	length, bytes	device
 *	net	enum mon_net_op	destination MAC	type<<48|source length		frame's start (frame_event()); unit: the card
 *	console	enum mon_console_op -		bytes (screen: its width << 32 | height)
 *	entropy	-		-		bytes
 *	lifecycle enum mon_life_op -	-				text
 *	time cpu memory device: a rule's verdict on the VM as a whole; text
 *	operator enum mon_request uid	(asked only; what came of it is a note)
 */
enum mon_target_kind {
	TARGET_VALUE,   /* the event's value */
	TARGET_ADDR,    /* net: another address, port or both */
	TARGET_ANSWER,  /* net: what a file holds */
	TARGET_PROGRAM, /* net: a program on the host, one for each flow */
	TARGET_SCRATCH, /* disk: writes go to an overlay that ends with the VM */
	TARGET_IMAGE,   /* disk: another image, at the same place */
};

/* Where a redirected request goes. */
struct mon_target {
	uint8_t kind;  /* enum mon_target_kind */
	uint8_t slot;  /* of the answer, program or image among those that are open */
	uint16_t port; /* 0: the same */
	bool has_addr;
	bool by_name; /* the rule is about a name: its questions are answered with addr */
	bool is_v6;
	uint8_t v4[4], v6[16];
};

struct mon_event {
	uint8_t cls; /* enum mon_class */
	uint8_t op;
	uint16_t size;
	int32_t vcpu; /* -1: none */
	uint64_t addr;
	uint64_t value;
	uint64_t lasted;  /* ns; 0: not known */
	const void *data; /* valid during the call */
	uint32_t len;     /* of data */
	int8_t result;    /* 0 or an ERR_* */
	/* what mon_ask() has decided, for mon_tell() */
	uint8_t verdict; /* enum mon_verdict */
	uint8_t flags;
	uint8_t unit;                    /* disk, net: which of them */
	uint32_t rule;                   /* line of the rule; 0: none */
	const struct mon_target *target; /* of MON_REDIRECT; valid during the request */
	const struct frame_info *frame;  /* net: what data says (frame.h); NULL: not a frame */
};

struct monitor {
	_Atomic uint32_t tell_mask; /* BIT(class): somebody listens */
	_Atomic uint32_t ask_mask;  /* BIT(class): rules exist */
	_Atomic uint32_t full_mask; /* BIT(class): each event is recorded, with all its data */
	void (*tell)(struct monitor *mon, const struct mon_event *ev);      /* never blocks */
	enum mon_verdict (*ask)(struct monitor *mon, struct mon_event *ev); /* may alter value */
	void *priv;
	/* Who is told and asked has changed: for those who do not come by here otherwise. Main thread; NULL: nobody. */
	void (*changed)(void *arg);
	void *changed_arg;
};

static inline bool mon_listens(struct monitor *mon, enum mon_class cls)
{
	return atomic_load_explicit(&mon->tell_mask, memory_order_relaxed) & BIT(cls);
}

static inline bool mon_rules(struct monitor *mon, enum mon_class cls)
{
	return atomic_load_explicit(&mon->ask_mask, memory_order_relaxed) & BIT(cls);
}

static inline void mon_tell(struct monitor *mon, const struct mon_event *ev)
{
	uint32_t mask = atomic_load_explicit(&mon->tell_mask, memory_order_relaxed);

	if (unlikely(mask & BIT(ev->cls)))
		mon->tell(mon, ev);
}

static inline enum mon_verdict mon_ask(struct monitor *mon, struct mon_event *ev)
{
	uint32_t mask = atomic_load_explicit(&mon->ask_mask, memory_order_relaxed);

	if (likely(!(mask & BIT(ev->cls))))
		return MON_PROVIDE;
	return mon->ask(mon, ev);
}

#endif
