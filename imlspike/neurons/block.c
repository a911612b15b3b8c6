/* What surrounds the neurons of a spiking ConvNeXt block: the temporal shift and the depthwise convolution, and on
 * the way back GELU, the layer scale with the shortcut, and the rounding of gradients to bytes. kernels.py calls it.
 */
#include "exponential.h"

#include <stdlib.h>
#include <string.h>

#define MOST_TAPS 63 /* kernels.py asks for no more */
#define CHANNELS 64  /* that a thread sums at a time */

/* The derivative of GELU: Phi(x) + x phi(x), to 3e-7 (Abramowitz and Stegun 7.1.26). */
static inline float gelu_slope(float x) {
    const float size = fabsf(x), e = exponential(-0.5f * x * x), t = 1.0f / fmaf(0.231641888f, size, 1.0f);
    float tail = 1.061405429f;
    tail = fmaf(tail, t, -1.453152027f);
    tail = fmaf(tail, t, 1.421413741f);
    tail = fmaf(tail, t, -0.284496736f);
    tail = 0.5f * e * t * fmaf(tail, t, 0.254829592f); /* Phi(-|x|) */
    return fmaf(x * 0.398942280f, e, x < 0.0f ? tail : 1.0f - tail);
}

/* A row of n numbers as whole multiples of a unit, the power of two of which `largest` are not less than the row's
 * largest: bytes low and high, for high * 256 + low. A row that isn't finite has the unit NaN. */
static void round_row(const float *restrict x, int64_t n, float largest, int8_t *restrict low, int8_t *restrict high,
                      float *unit) {
    int32_t size, most = 0; /* magnitudes compare as their bits do */
    for (int64_t i = 0; i < n; i++) {
        memcpy(&size, x + i, 4);
        size &= 0x7fffffff;
        most = size > most ? size : most;
    }
    float top;
    memcpy(&top, &most, 4);
    if (!isfinite(top)) {
        *unit = NAN;
        memset(low, 0, n), memset(high, 0, n);
        return;
    }
    int exponent;
    const float mantissa = frexpf((top < 1e-30f ? 1e-30f : top) / largest, &exponent);
    *unit = ldexpf(1.0f, mantissa == 0.5f ? exponent - 1 : exponent);
    const float inverse = 1.0f / *unit;
    for (int64_t i = 0; i < n; i++) {
        const int32_t whole = (int32_t)rintf(x[i] * inverse);
        low[i] = (int8_t)whole;
        high[i] = (int8_t)((whole + 128) >> 8);
    }
}

/* Rows of x (K, N) rounded to bytes (K, 2, N) and units (K). Where `active` (K, N) isn't NULL, x is the gradient of
 * GELU(active), and that of active is rounded, in its place. Column sums of what is rounded are added to sums
 * (threads, N), if that isn't NULL. */
void round_rows(float *x, const float *active, int64_t columns, float largest, int8_t *out, float *units, float *sums,
                int64_t rows, int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t part = 0; part < threads; part++)
        for (int64_t row = rows * part / threads; row < rows * (part + 1) / threads; row++) {
            float *restrict from = x + row * columns, *restrict sum = sums + part * columns;
            if (active)
                for (int64_t i = 0; i < columns; i++) from[i] *= gelu_slope(active[row * columns + i]);
            if (sums)
                for (int64_t i = 0; i < columns; i++) sum[i] += from[i];
            int8_t *low = out + row * 2 * columns;
            round_row(from, columns, largest, low, low + columns, units + row);
        }
}

enum { ABS, SIGNED, OFF }; /* what a branch is multiplied by, as in spiking_convnext.py */

static inline float amplitude(float z, int shortcut) { return shortcut == ABS ? fabsf(z) : shortcut == SIGNED ? z : 1.0f; }

/* y = x + gamma amplitude(z) out, for out (T, P, C), `rows` T P; x, z and y are (T, P, C) too, steps of theirs by_x, by_z
 * and by_y apart. */
void branch_forward(const float *x, int64_t by_x, const float *z, int64_t by_z, const float *out, const float *gamma,
                    int shortcut, float *y, int64_t by_y, int64_t positions, int64_t channels, int64_t rows, int64_t threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < rows; row++) {
        const int64_t t = row / positions, at = row % positions * channels;
        const float *restrict from = x + t * by_x + at, *restrict size = z + t * by_z + at;
        const float *restrict branch = out + row * channels;
        float *restrict to = y + t * by_y + at;
        for (int64_t i = 0; i < channels; i++) to[i] = from[i] + branch[i] * amplitude(size[i], shortcut) * gamma[i];
    }
}

static int branch_backward_part(const float *z, int64_t by_z, const float *grad, int64_t by_grad, float *out,
                                const float *gamma, int shortcut, int64_t positions, int64_t channels, float largest,
                                int8_t *bytes, float *units, float *restrict sum, int64_t begin, int64_t end) {
    float *restrict through = malloc(channels * sizeof *through), *restrict slope = sum + channels;
    if (!through) return -1;
    for (int64_t row = begin; row < end; row++) {
        const int64_t t = row / positions, at = row % positions * channels;
        const float *restrict size = z + t * by_z + at, *restrict g = grad + t * by_grad + at;
        float *restrict branch = out + row * channels;
        for (int64_t i = 0; i < channels; i++) {
            const float factor = amplitude(size[i], shortcut), product = branch[i] * g[i];
            const float side = size[i] > 0.0f ? 1.0f : size[i] < 0.0f ? -1.0f : 0.0f;
            through[i] = g[i] * gamma[i] * factor;
            sum[i] += through[i];
            slope[i] += product * factor;
            branch[i] = shortcut == OFF ? 0.0f : product * gamma[i] * (shortcut == ABS ? side : 1.0f);
        }
        int8_t *low = bytes + row * 2 * channels;
        round_row(through, channels, largest, low, low + channels, units + row);
    }
    free(through);
    return 0;
}

/* Back through that. The gradient of `out`, gamma amplitude(z) grad, is rounded to bytes and units as by round_rows, its
 * column sums are added to sums[part][0] (threads, 2, C); `out` becomes the gradient of z that doesn't go through it; that
 * of gamma is added to sums[part][1]. Returns -1 where memory is short, else 0. */
int branch_backward(const float *z, int64_t by_z, const float *grad, int64_t by_grad, float *out, const float *gamma,
                    int shortcut, int64_t positions, int64_t channels, float largest, int8_t *bytes, float *units,
                    float *sums, int64_t rows, int64_t threads) {
    int status = 0;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(| : status)
    for (int64_t part = 0; part < threads; part++)
        status |= branch_backward_part(z, by_z, grad, by_grad, out, gamma, shortcut, positions, channels, largest, bytes,
                                       units, sums + part * 2 * channels, rows * part / threads,
                                       rows * (part + 1) / threads);
    return status;
}

/* Rows begin to end (of T N) of y = x + alpha s for x (T, N, C), where s are the first `quarter` channels of the step
 * `ahead` (1 or -1) steps on, the last ones of the step as far back, and x between. */
void temporal_shift(const float *x, int64_t steps, int64_t rows, int64_t channels, int64_t quarter, float alpha,
                    int ahead, float *y, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++) {
        const int64_t t = row / rows, start[4] = {0, quarter, channels - quarter, channels};
        for (int part = 0; part < 3; part++) {
            const int64_t way = part == 0 ? ahead : part == 1 ? 0 : -ahead;
            const float *from = x + row * channels, *other = from + way * rows * channels;
            const int outside = t + way < 0 || t + way >= steps;
            float *restrict to = y + row * channels;
            for (int64_t i = start[part]; i < start[part + 1]; i++) to[i] = outside ? from[i] : from[i] + alpha * other[i];
        }
    }
}

/* Depthwise convolution over frames of x (B, frames, C) with w (taps, C), taps odd, zeros beyond the ends: of B frames
 * those from begin to end. */
void depthwise(const float *x, int64_t frames, int64_t channels, const float *w, int64_t taps,
               const float *bias, float *y, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++) {
        const int64_t frame = row % frames - taps / 2; /* under the first tap */
        float *restrict to = y + row * channels;
        for (int64_t i = 0; i < channels; i++) to[i] = bias ? bias[i] : 0.0f;
        for (int64_t tap = frame < 0 ? -frame : 0; tap < taps && frame + tap < frames; tap++) {
            const float *restrict from = x + (row - taps / 2 + tap) * channels, *restrict weight = w + tap * channels;
            for (int64_t i = 0; i < channels; i++) to[i] = fmaf(weight[i], from[i], to[i]);
        }
    }
}

/* The gradient of its weights (taps, C) and bias (C), channels begin to end, from that of y; `rows` B frames, taps at
 * most MOST_TAPS. */
void depthwise_weights(const float *x, const float *grad, int64_t rows, int64_t frames, int64_t channels, int64_t taps,
                       float *grad_w, float *grad_bias, int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; at += CHANNELS) {
        const int n = end - at < CHANNELS ? (int)(end - at) : CHANNELS;
        float sums[MOST_TAPS + 1][CHANNELS] = {0};
        for (int64_t row = 0; row < rows; row++) {
            const int64_t frame = row % frames - taps / 2;
            const float *restrict g = grad + row * channels + at;
            for (int i = 0; i < n; i++) sums[taps][i] += g[i];
            for (int64_t tap = frame < 0 ? -frame : 0; tap < taps && frame + tap < frames; tap++) {
                const float *restrict from = x + (row - taps / 2 + tap) * channels + at;
                for (int i = 0; i < n; i++) sums[tap][i] = fmaf(g[i], from[i], sums[tap][i]);
            }
        }
        for (int64_t tap = 0; tap < taps; tap++) memcpy(grad_w + tap * channels + at, sums[tap], n * sizeof(float));
        memcpy(grad_bias + at, sums[taps], n * sizeof(float));
    }
}
