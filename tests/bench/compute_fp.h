/* SPDX-License-Identifier: ISC */
/* compute_fp.h: compute.c's kernels in x87, SSE and AVX registers. */
#ifndef TESTS_BENCH_COMPUTE_FP_H
#define TESTS_BENCH_COMPUTE_FP_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define SIDE 48u

static uint8_t from[16384] __attribute__((aligned(64))), copy[16384] __attribute__((aligned(64)));
static double left[SIDE][SIDE] __attribute__((aligned(64))),
	right[SIDE][SIDE] __attribute__((aligned(64))),
	product[SIDE][SIDE] __attribute__((aligned(64)));

static uint64_t fp_scalar(uint64_t n)
{
	double x = 0.5, y = 1.5;
	uint64_t r;

	while (n--) {
		x = x * 1.0000001 + y * 1e-9;
		y = y / 1.0000002 + 1e-8;
		__asm__ volatile("" : "+x"(x), "+x"(y));
	}
	x += y;
	memcpy(&r, &x, 8);
	return r;
}

static uint64_t mandelbrot(uint64_t n)
{
	uint64_t total = 0;

	while (n--)
		for (int py = 0; py < 16; py++)
			for (int px = 0; px < 16; px++) {
				double cr = px / 8.0 - 1.5, ci = py / 8.0 - 1.0, zr = 0, zi = 0;
				int i = 0;

				for (; i < 200 && zr * zr + zi * zi < 4.0; i++) {
					double t = zr * zr - zi * zi + cr;

					zi = 2 * zr * zi + ci;
					zr = t;
				}
				total += (uint64_t)i;
			}
	return total;
}

static uint64_t mandelbrot_x87(uint64_t n)
{
	uint64_t total = 0;

	while (n--)
		for (int py = 0; py < 16; py++)
			for (int px = 0; px < 16; px++) {
				long double cr = px / 8.0L - 1.5L, ci = py / 8.0L - 1.0L, zr = 0,
					    zi = 0;
				int i = 0;

				for (; i < 200 && zr * zr + zi * zi < 4.0L; i++) {
					long double t = zr * zr - zi * zi + cr;

					zi = 2 * zr * zi + ci;
					zr = t;
				}
				total += (uint64_t)i;
			}
	return total;
}

static uint64_t sse_int(uint64_t n)
{
	__m128i a = _mm_set1_epi32(3), b = _mm_set1_epi32(5), c = _mm_set1_epi16(77), odd = c;
	uint64_t out[2];

	while (n--) {
		a = _mm_add_epi32(a, b);
		b = _mm_xor_si128(b, _mm_slli_epi32(a, 3));
		c = _mm_add_epi16(_mm_mullo_epi16(c, odd), a);
		a = _mm_sub_epi32(a, _mm_srli_epi32(c, 1));
		__asm__ volatile("" : "+x"(a), "+x"(b), "+x"(c));
	}
	_mm_storeu_si128((__m128i *)(void *)out, _mm_xor_si128(a, _mm_xor_si128(b, c)));
	return out[0];
}

static uint64_t sse_copy(uint64_t n)
{
	while (n--)
		for (unsigned i = 0; i < 16384; i += 64) {
			for (unsigned k = 0; k < 64; k += 16)
				_mm_store_si128(
					(__m128i *)(void *)(copy + i + k),
					_mm_load_si128(
						(const __m128i *)(const void *)(from + i + k)));
			__asm__ volatile("" ::: "memory");
		}
	return copy[77];
}

__attribute__((target("avx2,fma"))) static uint64_t avx2_fma(uint64_t n)
{
	__m256d a = _mm256_set1_pd(0.999), b = _mm256_set1_pd(1e-3), c = _mm256_set1_pd(0.5), d = b;
	double out[4];
	uint64_t r;

	while (n--) {
		c = _mm256_fmadd_pd(c, a, b);
		d = _mm256_fmadd_pd(d, a, c);
		c = _mm256_mul_pd(c, a);
		__asm__ volatile("" : "+x"(c), "+x"(d));
	}
	_mm256_storeu_pd(out, _mm256_add_pd(c, d));
	memcpy(&r, out, 8);
	return r;
}

static uint64_t sse_set(uint64_t n)
{
	while (n--)
		for (unsigned i = 0; i < sizeof(copy); i += 16) {
			_mm_store_si128((__m128i *)(void *)(copy + i),
					_mm_set1_epi8((char)(n + 5)));
			__asm__ volatile("" ::: "memory");
		}
	return copy[99];
}

static uint64_t product_bits(void)
{
	uint64_t bits, sum = 0;

	for (unsigned i = 0; i < SIDE; i++) {
		memcpy(&bits, &product[i][SIDE - 1 - i], 8);
		sum = sum * 31 + bits;
	}
	return sum;
}

__attribute__((optimize("no-tree-vectorize"))) static uint64_t matrix(uint64_t n)
{
	while (n--)
		for (unsigned i = 0; i < SIDE; i++)
			for (unsigned j = 0; j < SIDE; j++) {
				double sum = 0;

				for (unsigned k = 0; k < SIDE; k++)
					sum += left[i][k] * right[k][j];
				product[i][j] = sum;
			}
	return product_bits();
}

static uint64_t matrix_sse2(uint64_t n)
{
	while (n--)
		for (unsigned i = 0; i < SIDE; i++)
			for (unsigned j = 0; j < SIDE; j += 2) {
				__m128d sum = _mm_setzero_pd();

				for (unsigned k = 0; k < SIDE; k++)
					sum = _mm_add_pd(sum,
							 _mm_mul_pd(_mm_set1_pd(left[i][k]),
								    _mm_load_pd(&right[k][j])));
				_mm_store_pd(&product[i][j], sum);
			}
	return product_bits();
}

__attribute__((target("avx2"))) static uint64_t matrix_avx2(uint64_t n)
{
	while (n--)
		for (unsigned i = 0; i < SIDE; i++)
			for (unsigned j = 0; j < SIDE; j += 4) {
				__m256d sum = _mm256_setzero_pd();

				for (unsigned k = 0; k < SIDE; k++)
					sum = _mm256_add_pd(
						sum, _mm256_mul_pd(_mm256_set1_pd(left[i][k]),
								   _mm256_load_pd(&right[k][j])));
				_mm256_store_pd(&product[i][j], sum);
			}
	return product_bits();
}

static void prepare_fp(void)
{
	for (unsigned i = 0; i < sizeof(from); i++)
		from[i] = (uint8_t)(i * 7 + i / 256);
	for (unsigned i = 0; i < SIDE; i++)
		for (unsigned k = 0; k < SIDE; k++) {
			left[i][k] = 1.0 + i * 0.01 - k * 0.003;
			right[i][k] = 0.5 - i * 0.002 + k * 0.01;
		}
}

#endif
