/* The leaky integrate-and-fire neuron over T steps in one pass, forward and backward: what
 * imlspike/neurons/kernels.py calls. The formulas are those of functional.py; the forward pass gives its numbers to the
 * bit, so products and sums are fused (fmaf) where torch fuses them and nowhere else (-ffp-contract=off).
 *
 * A block of neurons is taken through all steps while it is in the first-level cache; the loops over a block are
 * written for the compiler to vectorise.
 */
#include "exponential.h"

#include <stdint.h>

#define BLOCK 512
#define MOST_STEPS 32 /* kernels.py asks for no more */

typedef struct {
    float leak, keep;          /* 1 / tau, 1 - 1 / tau */
    float threshold, alpha;    /* above rest; sharpness of the surrogate */
    int32_t steps, decay_input, soft_reset, detach_reset, surrogate;
} Neuron;

enum { SIGMOID, ATAN, TRIANGLE, RECTANGLE, FAST_SIGMOID, STRAIGHT_THROUGH }; /* as in surrogate.py */

/* One step of n neurons: potential u above rest to h before the reset, spikes s, and u after it. */
static inline void step(const float *restrict x, float *restrict u, float *restrict h, float *restrict s, int n,
                        const Neuron *p) {
    if (!p->decay_input)
        for (int i = 0; i < n; i++) h[i] = u[i] * p->keep + x[i];
    else if (p->leak < 0.5f) /* torch.lerp starts from the nearer end */
        for (int i = 0; i < n; i++) h[i] = fmaf(p->leak, x[i] - u[i], u[i]);
    else
        for (int i = 0; i < n; i++) h[i] = fmaf(p->leak - 1, x[i] - u[i], x[i]);
    for (int i = 0; i < n; i++) s[i] = h[i] >= p->threshold ? 1.0f : 0.0f;
    if (p->soft_reset)
        for (int i = 0; i < n; i++) u[i] = h[i] - p->threshold * s[i];
    else
        for (int i = 0; i < n; i++) u[i] = h[i] - h[i] * s[i];
}

/* The surrogate derivative at potential h. */
static inline void slopes(const float *restrict h, float *restrict d, int n, const Neuron *p) {
    const float a = p->alpha, th = p->threshold;
    switch (p->surrogate) {
    case SIGMOID:
        for (int i = 0; i < n; i++) {
            float y = 1.0f / (1.0f + exponential(-a * (h[i] - th)));
            d[i] = a * y * (1.0f - y);
        }
        break;
    case ATAN:
        for (int i = 0; i < n; i++) {
            float y = 1.57079633f * a * (h[i] - th);
            d[i] = a / 2 / (1.0f + y * y);
        }
        break;
    case TRIANGLE:
        for (int i = 0; i < n; i++) {
            float y = 1.0f - a * fabsf(h[i] - th);
            d[i] = y > 0.0f ? a * y : 0.0f;
        }
        break;
    case RECTANGLE:
        for (int i = 0; i < n; i++) d[i] = fabsf(h[i] - th) < 0.5f / a ? a : 0.0f;
        break;
    case FAST_SIGMOID:
        for (int i = 0; i < n; i++) {
            float y = 1.0f + a * fabsf(h[i] - th);
            d[i] = 1.0f / (y * y);
        }
        break;
    default:
        for (int i = 0; i < n; i++) d[i] = 1.0f;
    }
}

/* Neurons begin to end of all: x[t] stands at x + t * stride. Spikes (T, all) go to floats or bytes, whichever isn't NULL; u (all), the
 * potential before the first step, becomes that after the last. */
void lif_forward(const float *x, int64_t stride, int64_t all, const Neuron *p, float *u, float *floats, int8_t *bytes,
                 int64_t begin, int64_t end) {
    float h[BLOCK], s[BLOCK];
    for (int64_t at = begin; at < end; at += BLOCK) {
        const int n = end - at < BLOCK ? (int)(end - at) : BLOCK;
        for (int t = 0; t < p->steps; t++) {
            float *out = floats ? floats + t * all + at : s;
            step(x + t * stride + at, u + at, h, out, n, p);
            if (bytes)
                for (int i = 0; i < n; i++) bytes[t * all + at + i] = (int8_t)out[i];
        }
    }
}

/* Back-propagation through time, see functional.py. u (all): before the first step; becomes dL/du there.
 * grad_last (all) may be NULL. grad (T, all), of the spikes, becomes dL/dx. Returns dL/dleak. */
double lif_backward(const float *x, int64_t stride, int64_t all, const Neuron *p, float *u, const float *grad_last,
                    float *grad, int64_t begin, int64_t end) {
    float h[MOST_STEPS][BLOCK], s[MOST_STEPS][BLOCK], before[MOST_STEPS][BLOCK], d[BLOCK], g[BLOCK], leak_slope[BLOCK];
    const float weight = p->decay_input ? p->leak : 1.0f, input = p->decay_input ? 1.0f : 0.0f;
    const float spike_slope = p->detach_reset ? 0.0f : 1.0f;
    double sum = 0.0;
    for (int64_t at = begin; at < end; at += BLOCK) {
        const int n = end - at < BLOCK ? (int)(end - at) : BLOCK;
        for (int t = 0; t < p->steps; t++) {
            for (int i = 0; i < n; i++) before[t][i] = u[at + i];
            step(x + t * stride + at, u + at, h[t], s[t], n, p);
        }
        for (int i = 0; i < n; i++) leak_slope[i] = 0.0f;
        for (int i = 0; i < n; i++) g[i] = grad_last ? grad_last[at + i] : 0.0f;
        for (int t = p->steps - 1; t >= 0; t--) {
            const float *restrict current = x + t * stride + at;
            float *restrict q = grad + t * all + at;
            slopes(h[t], d, n, p);
            for (int i = 0; i < n; i++) {
                float kept = p->soft_reset ? 1.0f - spike_slope * p->threshold * d[i]
                                           : 1.0f - s[t][i] - spike_slope * h[t][i] * d[i];
                float grad_h = q[i] * d[i] + g[i] * kept;
                g[i] = grad_h * p->keep;
                leak_slope[i] += grad_h * (input * current[i] - before[t][i]);
                q[i] = grad_h * weight;
            }
        }
        for (int i = 0; i < n; i++) u[at + i] = g[i];
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < n; i++) sum += leak_slope[i];
    }
    return sum;
}

/* Both for all neurons, in so many threads. */
void lif_forward_shared(const float *x, int64_t stride, int64_t all, const Neuron *p, float *u, float *floats,
                        int8_t *bytes, int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t part = 0; part < threads; part++)
        lif_forward(x, stride, all, p, u, floats, bytes, all * part / threads, all * (part + 1) / threads);
}

double lif_backward_shared(const float *x, int64_t stride, int64_t all, const Neuron *p, float *u, const float *grad_last,
                           float *grad, int64_t threads) {
    double sum = 0.0;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(+ : sum)
    for (int64_t part = 0; part < threads; part++)
        sum += lif_backward(x, stride, all, p, u, grad_last, grad, all * part / threads, all * (part + 1) / threads);
    return sum;
}

/* Calls `call` with 0 to parts - 1, each in a thread of its own where OpenMP is there. */
void side_by_side(void (*call)(int64_t), int64_t parts) {
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int64_t part = 0; part < parts; part++) call(part);
}

/* What was compiled, and what for: see setup.py. */
const char *sources(void) { return SOURCES; }
const char *processor(void) { return PROCESSOR; }
