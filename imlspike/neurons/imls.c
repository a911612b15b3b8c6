/* IMLS in one pass over memory, forward and backward: what imlspike/neurons/imls_loops.py calls. The numbers are those of
 * imls.py to the bit. x is (rows, C), a threshold for each row (`each`) or one for all. */
#include <math.h>
#include <stdint.h>

#define BELOW_HALF 0x1.fffffep-2f /* see imls.py */

/* Rows begin to end: y = s or (scaled) theta s, for s = clip(floor(x / theta + 1/2), 0, levels); gate: 0 <= x <= top. */
void imls_forward(const float *x, const float *theta, int32_t each, int64_t columns, float levels, int32_t scaled,
                  float *y, uint8_t *gate, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++) {
        const float unit = theta[each ? row : 0], top = (levels + 0.5f) * unit, worth = scaled ? unit : 1.0f;
        const float *restrict from = x + row * columns;
        float *restrict to = y + row * columns;
        uint8_t *restrict open = gate + row * columns;
        for (int64_t i = 0; i < columns; i++) {
            float s = floorf(from[i] / unit + BELOW_HALF);
            s = s < 0.0f ? 0.0f : s > levels ? levels : s;
            to[i] = s * worth;
        }
        for (int64_t i = 0; i < columns; i++) open[i] = (from[i] >= 0.0f) & (from[i] <= top);
    }
}

/* Rows begin to end: the gradient of x from that of y. */
void imls_backward(const float *grad, const float *theta, int32_t each, int64_t columns, int32_t scaled,
                   const uint8_t *gate, float *out, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; row++) {
        const float worth = scaled ? 1.0f : theta[each ? row : 0];
        const float *restrict from = grad + row * columns;
        const uint8_t *restrict open = gate + row * columns;
        float *restrict to = out + row * columns;
        for (int64_t i = 0; i < columns; i++) to[i] = from[i] * (float)open[i] / worth;
    }
}
