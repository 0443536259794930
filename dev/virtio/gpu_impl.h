/* SPDX-License-Identifier: ISC */
/* gpu_impl.h: between the files of the graphics device. All of it under vd.lock. */
#ifndef DEV_VIRTIO_GPU_IMPL_H
#define DEV_VIRTIO_GPU_IMPL_H

#include "dev/edid.h"
#include "dev/virtio/gpu.h"
#include "dev/virtio/virtio.h"
#include "ui/display.h"

#define GPU_RESOURCES   128
#define GPU_MEMORY      (64 * MIB) /* pixels of all resources */
#define GPU_BLOCK       (64 * KIB) /* what it is given out in */
#define GPU_BLOCKS      (GPU_MEMORY / GPU_BLOCK)
#define GPU_SIDE_MAX    16384u      /* dots */
#define GPU_ENTRIES     16384u      /* pieces of guest memory behind one resource */
#define GPU_CHUNK       (512 * KIB) /* of pixels in one section of a saved state */
#define GPU_CHUNKS      (GPU_MEMORY / GPU_CHUNK)
#define GPU_CURSOR_SIDE 64u

/* Responses (5.7.6.7) */
enum {
	GPU_OK = 0x1100,
	GPU_OK_DISPLAY_INFO,
	GPU_OK_EDID = 0x1104,
	GPU_ERR_UNSPEC = 0x1200,
	GPU_ERR_OUT_OF_MEMORY,
	GPU_ERR_SCANOUT,
	GPU_ERR_RESOURCE,
	GPU_ERR_CONTEXT,
	GPU_ERR_PARAMETER,
};

struct gpu_rect {
	uint32_t x, y, w, h;
};

struct gpu_entry {
	uint64_t gpa;
	uint32_t len, unused;
};

/* A picture of four bytes a dot, rows without gaps, in the host's memory. */
struct gpu_resource {
	uint32_t id; /* 0: free */
	uint32_t format, w, h;
	uint16_t block, blocks;
	uint32_t entries; /* of the guest's memory behind it; 0: none */
};

struct gpu_part { /* a section of a saved state */
	struct dev dev;
	struct gpu *gpu;
	unsigned n;
};

struct gpu {
	struct virtio_dev vd;
	struct display *display;
	struct virtq_chain control, cursor_chain; /* by who runs the queue */
	uint8_t edid[EDID_SIZE];
	uint8_t *memory;         /* GPU_MEMORY */
	struct gpu_entry *entry; /* GPU_ENTRIES for each resource */
	struct gpu_part chunk[GPU_CHUNKS], backing[GPU_RESOURCES];

	struct gpu_resource resource[GPU_RESOURCES];
	uint32_t shown; /* resource on the screen; 0: none */
	struct gpu_rect scanout;
	struct {
		uint32_t resource; /* 0: none */
		uint32_t x, y; /* of its upper left corner, which may be left of 0: modulo 2^32 */
		uint32_t hot_x, hot_y;
	} cursor;
	uint8_t row_dirty[DISPLAY_MAX_H]; /* of the screen, since the last look */

	uint32_t *pixels; /* the display's, under its lock too */
};

/* gpu_res.c. Those that a guest names are NULL where there is no such. Answers are responses. */
struct gpu_resource *gpu_find(struct gpu *g, uint32_t id);
bool gpu_format_known(uint32_t format);
/* Bytes of a picture; 0: too large. */
uint64_t gpu_bytes(uint32_t w, uint32_t h);
unsigned gpu_create(struct gpu *g, uint32_t id, uint32_t format, uint32_t w, uint32_t h);
void gpu_unref(struct gpu *g, struct gpu_resource *r);
/* From the guest's memory, from byte offset on, into a part of the picture. */
unsigned gpu_transfer(struct gpu *g, struct gpu_resource *r, const struct gpu_rect *rect,
		      uint64_t offset);
bool gpu_inside(const struct gpu_rect *rect, uint32_t w, uint32_t h);
/* What has changed of a resource, and of the cursor where it is now. */
void gpu_dirty(struct gpu *g, const struct gpu_resource *r, const struct gpu_rect *rect);
void gpu_dirty_cursor(struct gpu *g);
void gpu_dirty_all(struct gpu *g);
/* struct display's refresh */
void gpu_refresh(void *dev, struct display *d);

static inline struct gpu_entry *gpu_entries(struct gpu *g, const struct gpu_resource *r)
{
	return g->entry + (size_t)(r - g->resource) * GPU_ENTRIES;
}

static inline uint8_t *gpu_pixels(struct gpu *g, const struct gpu_resource *r)
{
	return g->memory + (size_t)r->block * GPU_BLOCK;
}

/* gpu_state.c */
void gpu_state(struct virtio_dev *vd, struct state_stream *st);
void gpu_parts_add(struct gpu *g);

#endif
