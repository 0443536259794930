/* SPDX-License-Identifier: ISC */
/* idle.c: a vCPU that waited for 49 parts in 50 of half a second or more is idle. Its engine hears of it once
 * after each work, and not too often: what it gives up has to be made again. */
#include "vm/idle.h"

#include "plat/plat.h"

#define LOOK_NS  (NS_PER_SEC / 2)
#define AGAIN_NS (60 * NS_PER_SEC)

static void look(struct idle *i, uint64_t now)
{
	uint64_t span = now - i->looked;
	bool idle = i->waited >= span / 50 * 49;

	if (span < LOOK_NS)
		return;
	atomic_store(&i->idle, idle);
	i->looked = now;
	i->waited = 0;
	if (!idle)
		i->told = false;
}

static bool due(const struct idle *i, uint64_t now)
{
	return atomic_load(&i->idle) && !i->told && now >= i->tell;
}

void idle_skip(struct idle *i)
{
	i->looked = 0;
}

uint64_t idle_wait(struct idle *i, uint64_t now, uint64_t deadline)
{
	if (!i->looked) {
		i->looked = now;
		i->waited = 0;
	}
	look(i, now);
	if (!atomic_load(&i->idle))
		return MIN(deadline, i->looked + LOOK_NS);
	return i->told ? deadline : MIN(deadline, MAX(now, i->tell));
}

bool idle_waited(struct idle *i, uint64_t begun, uint64_t now)
{
	i->waited += now - begun;
	look(i, now);
	return due(i, now);
}

void idle_told(struct idle *i, uint64_t now)
{
	i->told = true;
	i->tell = now + AGAIN_NS;
}
