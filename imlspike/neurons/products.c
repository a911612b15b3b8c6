/* Products of bytes on AMX, summed as whole numbers: what imlspike/layers/spike_linear.py takes where they are compiled.
 *
 * Numbers of 16 bits are two signed bytes, high * 256 + low. A right factor (K, N) lies in tiles of 64 x 16 bytes as the
 * hardware reads them, each low one followed by its high one: [N / 16][K / 64][2][16][16][4], the rest zeros.
 */
#define _DEFAULT_SOURCE /* syscall */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 64 /* of K in a tile */
#define SIDE 16  /* rows of a tile, or its columns */
#define TILE (DEPTH * SIDE)

static int64_t tiles(int64_t count, int64_t size) { return (count + size - 1) / size; }

/* Numbers w[n * by_n + k * by_k] as whole multiples of a unit for each n, its largest / `largest`: the tiles of columns
 * 16 begin to 16 end. */
void pack_weights(const float *w, int64_t by_n, int64_t by_k, int64_t columns, int64_t depth, float largest, int8_t *out,
                  float *units, int64_t begin, int64_t end) {
    const int64_t down = tiles(depth, DEPTH);
    for (int64_t panel = begin; panel < end; panel++) {
        const int64_t first = panel * SIDE, wide = columns - first < SIDE ? columns - first : SIDE;
        const float *from = w + first * by_n;
        int8_t *to = out + panel * down * 2 * TILE;
        float top[SIDE] = {0}, unit[SIDE];
        memset(to, 0, down * 2 * TILE);
        for (int64_t k = 0; k < depth; k++)
            for (int j = 0; j < wide; j++) {
                const float size = fabsf(from[j * by_n + k * by_k]);
                top[j] = size > top[j] || size != size ? size : top[j]; /* NaN stays */
            }
        for (int j = 0; j < wide; j++) {
            unit[j] = top[j] / largest;
            unit[j] = units[first + j] = unit[j] < 1e-38f ? 1e-38f : unit[j];
        }
        for (int64_t k = 0; k < depth; k++) {
            int8_t *tile = to + k / DEPTH * 2 * TILE + k % DEPTH / 4 * DEPTH + k % 4;
            for (int j = 0; j < wide; j++) {
                const int32_t whole = (int32_t)rintf(from[j * by_n + k * by_k] / unit[j]);
                tile[4 * j] = (int8_t)whole;
                tile[4 * j + TILE] = (int8_t)((whole + 128) >> 8);
            }
        }
    }
}

#if defined(__AMX_INT8__) && defined(__AVX512F__) && defined(__linux__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Whether tiles may be used: Linux gives their registers to who asks for them. */
int products_ready(void) { return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0; }

/* `rows` rows of bytes, `*stride` apart, as whole tiles: where they are, or in `room` with zeros around them. */
static const int8_t *whole_tiles(const int8_t *x, int64_t *stride, int64_t rows, int64_t depth, int8_t *room) {
    const int64_t step = *stride;
    if (rows >= SIDE && depth % DEPTH == 0) return x;
    *stride = tiles(depth, DEPTH) * DEPTH;
    memset(room, 0, SIDE * *stride);
    for (int64_t i = 0; i < rows && i < SIDE; i++) memcpy(room + i * *stride, x + i * step, depth);
    return room;
}

/* Rows of 16 outputs from the sums of their products with low and with high bytes. */
static inline void finish(const int32_t *fine, const int32_t *coarse, int64_t rows, int64_t wide, const float *unit,
                          const float *bias, const float *row_unit, float *y, int64_t columns) {
    const __mmask16 mask = (__mmask16)((1u << wide) - 1);
    const __m512 scale = _mm512_maskz_loadu_ps(mask, unit), scale256 = _mm512_mul_ps(scale, _mm512_set1_ps(256.0f));
    const __m512 start = bias ? _mm512_maskz_loadu_ps(mask, bias) : _mm512_setzero_ps();
    for (int64_t i = 0; i < rows; i++) {
        __m512 v = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(fine + i * SIDE)), scale), start);
        v = _mm512_add_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(coarse + i * SIDE)), scale256), v);
        if (row_unit) v = _mm512_mul_ps(v, _mm512_set1_ps(256.0f * row_unit[i]));
        _mm512_mask_storeu_ps(y + i * columns, mask, v);
    }
}

/* Adds to two tiles of sums the products of half r of a block. */
#define ADD(r, fine, coarse)                       \
    _tile_loadd(4, a[r] + k * DEPTH, by_a[r]);     \
    _tile_dpbssd(fine, 4, 6);                      \
    _tile_dpbssd(coarse, 4, 7);                    \
    if (low) {                                     \
        _tile_loadd(5, b[r] + k * DEPTH, by_b[r]); \
        _tile_dpbssd(fine, 5, 7);                  \
    }

/* Rows 32 begin to 32 end of `multiply`. */
static int multiply_part(const int8_t *x, const int8_t *low, int64_t stride, int64_t rows, int64_t depth, const int8_t *w,
                         int64_t columns, const float *unit, const float *bias, const float *row_unit, float *y,
                         int64_t begin, int64_t end) {
    const int64_t down = tiles(depth, DEPTH), across = tiles(columns, SIDE);
    struct { uint8_t palette, start, none[14]; uint16_t bytes[16]; uint8_t rows[16]; } shape = {.palette = 1};
    for (int i = 0; i < 8; i++) shape.bytes[i] = DEPTH, shape.rows[i] = SIDE;
    int32_t sums[4][SIDE * SIDE] __attribute__((aligned(64)));
    int8_t *room = aligned_alloc(64, 4 * down * TILE);
    if (!room) return -1;
    _tile_loadconfig(&shape);
    for (int64_t block = begin; block < end; block++) {
        const int8_t *a[2], *b[2];
        int64_t by_a[2] = {stride, stride}, by_b[2] = {stride, stride};
        const int64_t at = block * 2 * SIDE, halves = rows - at > SIDE ? 2 : 1;
        for (int64_t r = 0; r < halves; r++) {
            const int64_t row = at + r * SIDE;
            a[r] = whole_tiles(x + row * stride, &by_a[r], rows - row, depth, room + 2 * r * down * TILE);
            if (low) b[r] = whole_tiles(low + row * stride, &by_b[r], rows - row, depth, room + (2 * r + 1) * down * TILE);
        }
        for (int64_t panel = 0; panel < across; panel++) {
            const int8_t *tile = w + panel * down * 2 * TILE;
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
            for (int64_t k = 0; k < down; k++, tile += 2 * TILE) {
                _tile_loadd(6, tile, DEPTH);
                _tile_loadd(7, tile + TILE, DEPTH);
                ADD(0, 0, 1)
                if (halves == 2) {
                    ADD(1, 2, 3)
                }
            }
            _tile_stored(0, sums[0], DEPTH);
            _tile_stored(1, sums[1], DEPTH);
            _tile_stored(2, sums[2], DEPTH);
            _tile_stored(3, sums[3], DEPTH);
            const int64_t first = panel * SIDE, wide = columns - first < SIDE ? columns - first : SIDE;
            for (int64_t r = 0; r < halves; r++) {
                const int64_t row = at + r * SIDE, count = rows - row < SIDE ? rows - row : SIDE;
                finish(sums[2 * r], sums[2 * r + 1], count, wide, unit + first, bias ? bias + first : NULL,
                       row_unit ? row_unit + row : NULL, y + row * columns + first, columns);
            }
        }
    }
    _tile_release();
    free(room);
    return 0;
}

/* y (M, N) = x w + bias for w from pack_weights, with x (M, K) of
 *   bytes (low is NULL):  (x low_w + 256 x high_w) unit_n + bias_n;
 *   16-bit numbers:       256 (x low_w + low high_w + 256 x high_w) unit_n row_unit_m, x their high bytes.
 * Rows of x and low are `stride` apart. bias may be NULL. Returns -1 where memory is short, else 0. */
int multiply(const int8_t *x, const int8_t *low, int64_t stride, int64_t rows, int64_t depth, const int8_t *w,
             int64_t columns, const float *unit, const float *bias, const float *row_unit, float *y, int64_t threads) {
    const int64_t blocks = tiles(rows, 2 * SIDE);
    int status = 0;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(| : status)
    for (int64_t part = 0; part < threads; part++)
        status |= multiply_part(x, low, stride, rows, depth, w, columns, unit, bias, row_unit, y, blocks * part / threads,
                                blocks * (part + 1) / threads);
    return status;
}
#else
int products_ready(void) { return 0; }
int multiply(const int8_t *x, const int8_t *low, int64_t stride, int64_t rows, int64_t depth, const int8_t *w,
             int64_t columns, const float *unit, const float *bias, const float *row_unit, float *y, int64_t threads) {
    return -1;
}
#endif
