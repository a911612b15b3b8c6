/* Batch norm over the real rows of x (K, C), alone and with the neurons behind it: what imlspike/layers/norm_loops.py
 * calls. `real` (K) tells padding by 0; NULL: there is none. Padding is neither counted nor read, and comes out as zero.
 *
 * Sums are taken in double precision: the mean of squares less the square of the mean is exact enough then, and one pass
 * over memory is enough.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 4     /* taken together, so that a column's sums are loaded and stored a quarter as often */
#define BLOCK 1024 /* neurons that are taken through all steps while they are in the cache */

/* imlspike/neurons/kernels.c */
void lif_forward(const float *x, int64_t stride, int64_t all, const void *neuron, float *u, float *floats,
                 int8_t *bytes, int64_t begin, int64_t end);
double lif_backward(const float *x, int64_t stride, int64_t all, const void *neuron, float *u, const float *grad_last,
                    float *grad, int64_t begin, int64_t end);

/* The next real rows from *row on, at most ROWS of them; returns how many. */
static int next_rows(const uint8_t *real, int64_t *row, int64_t end, int64_t *rows) {
    int n = 0;
    for (; *row < end && n < ROWS; ++*row)
        if (!real || real[*row]) rows[n++] = *row;
    return n;
}

/* Adds to `sums` (C) the sum of n rows of x, and to `products` (C) that of x times y. */
static void add_rows(const float *const *x, const float *const *y, int n, int64_t columns, double *restrict sums,
                     double *restrict products) {
    if (n == ROWS) {
        const float *restrict a = x[0], *restrict b = x[1], *restrict c = x[2], *restrict d = x[3];
        const float *restrict e = y[0], *restrict f = y[1], *restrict g = y[2], *restrict h = y[3];
        for (int64_t i = 0; i < columns; i++) {
            double p = a[i], q = b[i], r = c[i], s = d[i];
            sums[i] += (p + q) + (r + s);
            products[i] += (p * e[i] + q * f[i]) + (r * g[i] + s * h[i]);
        }
        return;
    }
    for (int row = 0; row < n; row++)
        for (int64_t i = 0; i < columns; i++) {
            double p = x[row][i];
            sums[i] += p;
            products[i] += p * y[row][i];
        }
}

/* One row: y = scale x + shift. */
static inline void affine(const float *restrict x, const float *restrict scale, const float *restrict shift,
                          float *restrict y, int64_t columns) {
    for (int64_t i = 0; i < columns; i++) y[i] = x[i] * scale[i] + shift[i];
}

/* Adds to `sums` and `products` (C) those of rows begin to end of x, and of x times y, which may be x itself. */
void norm_sums(const float *x, const float *y, const uint8_t *real, int64_t columns, double *sums, double *products,
               int64_t begin, int64_t end) {
    int64_t rows[ROWS];
    for (int n; (n = next_rows(real, &begin, end, rows)) > 0;) {
        const float *of_x[ROWS], *of_y[ROWS];
        for (int i = 0; i < n; i++) of_x[i] = x + rows[i] * columns, of_y[i] = y + rows[i] * columns;
        add_rows(of_x, of_y, n, columns, sums, products);
    }
}

/* Rows begin to end: y = scale x + shift. */
void norm_apply(const float *x, const uint8_t *real, int64_t columns, const float *scale, const float *shift, float *y,
                int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++)
        if (!real || real[row])
            affine(x + row * columns, scale, shift, y + row * columns, columns);
        else
            memset(y + row * columns, 0, columns * sizeof(float));
}

/* Rows begin to end: out = scale grad + slope x + shift; `out` may be `grad`. */
void norm_back(const float *x, const float *grad, const uint8_t *real, int64_t columns, const float *scale,
               const float *slope, const float *shift, float *out, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++) {
        const float *restrict from = x + row * columns, *g = grad + row * columns;
        float *to = out + row * columns;
        if (real && !real[row])
            memset(to, 0, columns * sizeof(float));
        else
            for (int64_t i = 0; i < columns; i++) to[i] = from[i] * slope[i] + shift[i] + g[i] * scale[i];
    }
}

static int64_t block_rows(int64_t columns) { return columns < BLOCK ? BLOCK / columns : 1; }

/* What enters the neurons of n rows from `at` on, at all steps: y (steps, n, C); they stand `rows` apart. */
static void currents(const float *x, const uint8_t *real, int64_t rows, int64_t columns, const float *scale,
                     const float *shift, int64_t steps, int64_t at, int64_t n, float *y) {
    for (int64_t t = 0; t < steps; t++)
        norm_apply(x + (t * rows + at) * columns, real ? real + t * rows + at : NULL, columns, scale, shift,
                   y + t * n * columns, 0, n);
}

/* Spikes of the neurons behind the norm: x and spikes are (steps, rows, C); rows begin to end, from rest. Returns -1
 * where memory is short, else 0. */
int32_t norm_fire(const float *x, const uint8_t *real, int64_t rows, int64_t columns, const float *scale,
                  const float *shift, int64_t steps, const void *neuron, float *spikes, int64_t begin, int64_t end) {
    const int64_t most = block_rows(columns);
    float *y = malloc((steps + 1) * most * columns * sizeof(float)), *u = y + steps * most * columns;
    if (!y) return -1;
    for (int64_t at = begin; at < end; at += most) {
        const int64_t n = end - at < most ? end - at : most;
        currents(x, real, rows, columns, scale, shift, steps, at, n, y);
        memset(u, 0, n * columns * sizeof(float));
        lif_forward(y, n * columns, rows * columns, neuron, u, spikes + at * columns, NULL, 0, n * columns);
    }
    free(y);
    return 0;
}

/* From the gradient of the spikes of `norm_fire` to that of what enters the neurons, in `out` (steps, rows, C); adds to
 * `sums` and `products` (C) those of it and of it times x. Returns dL/dleak, NaN where memory is short. */
double norm_fire_back(const float *x, const uint8_t *real, int64_t rows, int64_t columns, const float *scale,
                      const float *shift, int64_t steps, const void *neuron, const float *grad, float *out,
                      double *sums, double *products, int64_t begin, int64_t end) {
    const int64_t most = block_rows(columns), size = most * columns;
    float *y = malloc((2 * steps + 1) * size * sizeof(float)), *g = y + steps * size, *u = g + steps * size;
    double of_leak = 0.0;
    if (!y) return 0.0 / 0.0;
    for (int64_t at = begin; at < end; at += most) {
        const int64_t n = end - at < most ? end - at : most, bytes = n * columns * sizeof(float);
        currents(x, real, rows, columns, scale, shift, steps, at, n, y);
        for (int64_t t = 0; t < steps; t++) memcpy(g + t * n * columns, grad + (t * rows + at) * columns, bytes);
        memset(u, 0, bytes);
        of_leak += lif_backward(y, n * columns, n * columns, neuron, u, NULL, g, 0, n * columns);
        const float *of_g[ROWS], *of_x[ROWS];
        int found = 0;
        for (int64_t t = 0; t < steps; t++) {
            memcpy(out + (t * rows + at) * columns, g + t * n * columns, bytes);
            for (int64_t i = 0; i < n; i++) {
                if (real && !real[t * rows + at + i]) continue;
                of_g[found] = g + (t * n + i) * columns, of_x[found++] = x + (t * rows + at + i) * columns;
                if (found < ROWS) continue;
                add_rows(of_g, of_x, found, columns, sums, products);
                found = 0;
            }
        }
        add_rows(of_g, of_x, found, columns, sums, products);
    }
    free(y);
    return of_leak;
}
