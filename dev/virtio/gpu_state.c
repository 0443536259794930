/* SPDX-License-Identifier: ISC */
/* gpu_state.c: the graphics device's saved state: resources and screen in its own section, pixels and the guest's
 * pieces of memory behind resources in further ones, as a section has a limit; what is unused is left out. */
#include "base/str.h"
#include "dev/virtio/gpu_impl.h"
#include "vm/stream.h"
#include "vm/vm.h"

#define G struct gpu
static const struct st_field gpu_fields[] = {
	ST_U(G, shown),           ST_U(G, scanout.x),    ST_U(G, scanout.y), ST_U(G, scanout.w),
	ST_U(G, scanout.h),       ST_U(G, cursor.x),     ST_U(G, cursor.y),  ST_U(G, cursor.hot_x),
	ST_U(G, cursor.resource), ST_U(G, cursor.hot_y),
};
#undef G

#define R struct gpu_resource
static const struct st_field resource_fields[] = {
	ST_U(R, id),
	ST_U(R, format),
	ST_U(R, w),
	ST_U(R, h),
	ST_U(R, block),
	ST_U(R, blocks),
	ST_UMAX(R, entries, GPU_ENTRIES),
};
#undef R

/* What a file says must be what commands could have made: a picture within the memory, and apart from others. */
static bool resource_sane(struct gpu *g, const struct gpu_resource *r)
{
	uint64_t bytes = gpu_bytes(r->w, r->h);

	if (!r->id)
		return !r->entries;
	if (!gpu_format_known(r->format) || !bytes || gpu_find(g, r->id) != r ||
	    r->blocks != (bytes + GPU_BLOCK - 1) / GPU_BLOCK || r->block + r->blocks > GPU_BLOCKS)
		return false;
	for (const struct gpu_resource *o = g->resource; o < r; o++)
		if (o->id && o->block < r->block + r->blocks && r->block < o->block + o->blocks)
			return false;
	return true;
}

static bool sane(struct gpu *g)
{
	const struct gpu_resource *r = gpu_find(g, g->shown);
	const struct gpu_rect *s = &g->scanout;

	for (unsigned i = 0; i < GPU_RESOURCES; i++)
		if (!resource_sane(g, &g->resource[i]))
			return false;
	if (g->cursor.resource && !gpu_find(g, g->cursor.resource))
		return false;
	if (!g->shown)
		return true;
	return r && s->w && s->h && s->w <= DISPLAY_MAX_W && s->h <= DISPLAY_MAX_H &&
	       gpu_inside(s, r->w, r->h);
}

void gpu_state(struct virtio_dev *vd, struct state_stream *st)
{
	struct gpu *g = container_of(vd, struct gpu, vd);

	ST_SYNC(st, "gpu", 0, gpu_fields, g);
	for (unsigned i = 0; i < GPU_RESOURCES && !st->err; i++)
		ST_SYNC(st, "resource", i, resource_fields, &g->resource[i]);
	if (!st->loading)
		return;
	if (st->err || !sane(g)) {
		memset(g->resource, 0, sizeof(g->resource));
		g->shown = g->cursor.resource = 0;
		if (!st->err)
			state_fail(st, err_here(ERR_FORMAT),
				   "virtio-gpu: a picture that cannot be");
	}
	gpu_dirty_all(g);
}

/* ---- the other sections --------------------------------------------------------------------------------------- */

static int chunk_state(struct dev *dev, struct state_stream *st)
{
	struct gpu_part *p = container_of(dev, struct gpu_part, dev);
	uint8_t *at = p->gpu->memory + (size_t)p->n * GPU_CHUNK;
	uint32_t len = GPU_CHUNK;

	if (!st->loading) {
		if (mem_is_zero(at, GPU_CHUNK))
			len = 0;
		return st_put_bytes(st, "pixels", at, len);
	}
	if (st_get_bytes(st, "pixels", at, &len))
		return st->err;
	if (!len)
		plat_pages_discard(at, GPU_CHUNK);
	else if (len != GPU_CHUNK)
		return state_fail(st, ERR_FORMAT, "virtio-gpu: pixels of another size");
	return 0;
}

static int backing_state(struct dev *dev, struct state_stream *st)
{
	struct gpu_part *p = container_of(dev, struct gpu_part, dev);
	struct gpu_resource *r = &p->gpu->resource[p->n];
	uint32_t want = r->entries * (uint32_t)sizeof(struct gpu_entry);
	uint32_t len = GPU_ENTRIES * (uint32_t)sizeof(struct gpu_entry);

	if (!st->loading)
		return st_put_bytes(st, "entries", gpu_entries(p->gpu, r), want);
	if (st_get_bytes(st, "entries", gpu_entries(p->gpu, r), &len))
		return st->err;
	if (len != want)
		return state_fail(st, ERR_FORMAT, "virtio-gpu: entries of another number");
	return 0;
}

static void part_reset(struct dev *dev)
{
}

static void part_destroy(struct dev *dev)
{
}

static const struct dev_class chunk_class = {
	.name = "virtio-gpu-memory",
	.reset = part_reset,
	.state = chunk_state,
	.destroy = part_destroy,
};

static const struct dev_class backing_class = {
	.name = "virtio-gpu-backing",
	.reset = part_reset,
	.state = backing_state,
	.destroy = part_destroy,
};

void gpu_parts_add(struct gpu *g)
{
	struct vm *vm = g->vd.dev.vm;

	for (unsigned i = 0; i < GPU_CHUNKS; i++) {
		g->chunk[i].gpu = g;
		g->chunk[i].n = i;
		vm_add_dev(vm, &g->chunk[i].dev, &chunk_class);
	}
	for (unsigned i = 0; i < GPU_RESOURCES; i++) {
		g->backing[i].gpu = g;
		g->backing[i].n = i;
		vm_add_dev(vm, &g->backing[i].dev, &backing_class);
	}
}
