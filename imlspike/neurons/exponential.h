#include <math.h>
#include <stdint.h>

/* exp(x) to 2e-7 of its value: 2^k e^r with |r| < 0.35, a polynomial for e^r (Cephes). */
static inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x > 87.0f ? 87.0f : x;
    float k = rintf(x * 1.44269504f), r = fmaf(k, 2.12194440e-4f, fmaf(k, -0.693359375f, x));
    float y = 1.9875691500e-4f;
    y = fmaf(y, r, 1.3981999507e-3f);
    y = fmaf(y, r, 8.3334519073e-3f);
    y = fmaf(y, r, 4.1665795894e-2f);
    y = fmaf(y, r, 1.6666665459e-1f);
    y = fmaf(y, r, 5.0000001201e-1f);
    y = fmaf(y * r, r, r + 1.0f);
    union { int32_t bits; float value; } power = {.bits = ((int32_t)k + 127) << 23};
    return y * power.value;
}
