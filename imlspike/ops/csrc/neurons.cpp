// The neurons' operators on a CPU; imlspike/ops/reference.py is their definition. Products and sums are rounded one by one
// (-ffp-contract=off): the forward passes are those of the definition to the bit, whatever the processor can do.
#include <ATen/ATen.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

namespace {

#if defined(__GNUC__) && defined(__x86_64__)
#define FOR_AVX2 __attribute__((target("avx2,f16c")))
#define FOR_AVX512 __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,f16c,prefer-vector-width=512")))
#else
#define FOR_AVX2
#define FOR_AVX512
#endif
#define INLINE __attribute__((always_inline))
#define FLOATS(x, ...) AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "imlspike", __VA_ARGS__)

using at::Tensor;
constexpr int64_t ELEMENTS_PER_THREAD = 1 << 15; // fewer aren't worth a second thread
constexpr int64_t BLOCK = 512;                   // neurons that are taken through all T steps while they are in the cache

// A loop is compiled three times and chosen as torch chooses its own (ATEN_CPU_CAPABILITY lowers the choice).
template <class F> FOR_AVX512 void on_avx512(const F &body, int64_t begin, int64_t end) { body(begin, end); }
template <class F> FOR_AVX2 void on_avx2(const F &body, int64_t begin, int64_t end) { body(begin, end); }

template <class F> void parallel(int64_t count, int64_t grain, const F &body) {
    static const std::string can = at::get_cpu_capability();
    at::parallel_for(0, count, std::max<int64_t>(grain, 1), [&](int64_t begin, int64_t end) {
        can == "AVX512" ? on_avx512(body, begin, end) : can == "AVX2" ? on_avx2(body, begin, end) : body(begin, end);
    });
}

#define REQUIRE(...) TORCH_CHECK_VALUE(__VA_ARGS__, "imlspike operator: expected " #__VA_ARGS__)

// Calls body(first element, threshold, how many) for the runs of x, in threads; the elements of a run share a threshold.
template <class W, class F> void by_run(const Tensor &x, const Tensor &threshold, const F &body) {
    REQUIRE(threshold.is_floating_point() && threshold.is_cpu());
    const int64_t d = x.dim() - 1;
    const bool one = threshold.numel() == 1, by_row = d >= 0 && threshold.dim() == d + 1 && threshold.size(d) == 1 &&
        threshold.sizes().slice(0, d) == x.sizes().slice(0, d);
    const int64_t run = std::max<int64_t>(one ? x.numel() : by_row ? x.size(d) : 1, 1);
    const auto theta = (one || by_row ? threshold : threshold.expand_as(x)).to(c10::CppTypeToScalarType<W>::value).contiguous();
    const W *units = theta.template const_data_ptr<W>();
    parallel(x.numel(), ELEMENTS_PER_THREAD, [=](int64_t begin, int64_t end) INLINE {
        for (int64_t at = begin, row = begin / run, stop; at < end; row++, at = stop) {
            stop = std::min(end, (row + 1) * run);
            body(at, units[row], stop - at);
        }
    });
}

template <class T, class W> // a function, so that compilers believe in __restrict
INLINE inline void fire(const T *__restrict x, W theta, int64_t n, W levels, bool scaled, T *__restrict y, bool *__restrict gate) {
    const W half = W(0.5) - std::numeric_limits<W>::epsilon() / 4, worth = scaled ? theta : W(1), top = (levels + W(0.5)) * theta;
    for (int64_t i = 0; i < n; i++) {
        const W wide = W(x[i]);
        W s = std::floor(wide / theta + half);
        s = s < W(0) ? W(0) : s > levels ? levels : s; // NaN stays
        y[i] = T(s * worth);
        gate[i] = (wide >= W(0)) & (wide <= top);
    }
}

std::tuple<Tensor, Tensor> imls(const Tensor &input, const Tensor &theta, int64_t levels, bool scaled) {
    REQUIRE(levels >= 0);
    const auto x = input.contiguous();
    auto y = at::empty_like(x), gate = at::empty_like(x, x.options().dtype(at::kBool));
    FLOATS(x, [&] {
        using W = at::opmath_type<scalar_t>;
        by_run<W>(x, theta, [=, in = x.const_data_ptr<scalar_t>(), out = y.mutable_data_ptr<scalar_t>(),
                             open = gate.mutable_data_ptr<bool>()](int64_t at, W unit, int64_t n) INLINE {
            fire(in + at, unit, n, W(levels), scaled, out + at, open + at);
        });
    });
    return {y, gate};
}

Tensor imls_backward(const Tensor &of_y, const Tensor &open_gate, const Tensor &theta, bool scaled) {
    REQUIRE(open_gate.sizes() == of_y.sizes() && open_gate.scalar_type() == at::kBool && open_gate.is_cpu());
    const auto grad = of_y.contiguous(), gate = open_gate.contiguous();
    auto grad_x = at::empty_like(grad);
    FLOATS(grad, [&] {
        using W = at::opmath_type<scalar_t>;
        by_run<W>(grad, theta, [=, in = grad.const_data_ptr<scalar_t>(), out = grad_x.mutable_data_ptr<scalar_t>(),
                                open = static_cast<const uint8_t *>(gate.const_data_ptr())](int64_t at, W unit, int64_t n) INLINE {
            const scalar_t *__restrict from = in + at;
            const uint8_t *__restrict gates = open + at;
            scalar_t *__restrict to = out + at;
            if (scaled) for (int64_t i = 0; i < n; i++) to[i] = scalar_t(W(from[i]) * W(gates[i]));
            else for (int64_t i = 0; i < n; i++) to[i] = scalar_t(W(from[i]) * W(gates[i]) / unit);
        });
    });
    return grad_x;
}

template <class W> struct Neuron {
    W leak, threshold; // 1 / tau; above rest
    bool decay_input, soft_reset;

    INLINE W integrate(W x, W u) const { return decay_input ? u + leak * (x - u) : (W(1) - leak) * u + x; }
    INLINE W reset(W h) const { return h - (soft_reset ? threshold : h) * (h >= threshold ? W(1) : W(0)); }
};

int number_of(const std::string &surrogate) { // as imlspike/ops/surrogate.py names them
    const char *names[] = {"sigmoid", "atan", "triangle", "rectangle", "fast_sigmoid", "straight_through"};
    const auto place = std::find(std::begin(names), std::end(names), surrogate) - std::begin(names);
    TORCH_CHECK_VALUE(place < 6, "unknown surrogate gradient '", surrogate, "'");
    return place;
}

// exp(x) to 3e-7 of its value: 2^k e^r with |r| < 0.35, a polynomial for e^r (Cephes).
INLINE inline float exponential(float exponent) {
    float x = exponent > -87.0f ? exponent : -87.0f; // NaN, too, for which the cast below has no value
    x = x > 87.0f ? 87.0f : x;
    const float k = std::floor(x * 1.44269504f + 0.5f), r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
    float y = 1.9875691500e-4f * r + 1.3981999507e-3f;
    y = (y * r + 8.3334519073e-3f) * r + 4.1665795894e-2f;
    y = (y * r + 1.6666665459e-1f) * r + 5.0000001201e-1f;
    y = (y * r * r + r) + 1.0f;
    const int32_t bits = (static_cast<int32_t>(k) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, 4);
    return exponent == exponent ? y * power : exponent;
}
INLINE inline double exponential(double x) { return std::exp(x); }
template <class W> INLINE inline W square(W x) { return x * x; }

// The surrogate derivative, in place, of n distances v to the threshold; `number_of` has the order.
template <class W> INLINE inline void slopes(W *x, int64_t n, int surrogate, W a) {
#define EACH(NUMBER, ...) \
    case NUMBER: \
        for (int64_t i = 0; i < n; i++) { [[maybe_unused]] const W v = x[i]; x[i] = __VA_ARGS__; } \
        break;
    switch (surrogate) {
        EACH(0, a * exponential(-a * std::abs(v)) / square(W(1) + exponential(-a * std::abs(v))))
        EACH(1, a / 2 / (W(1) + square(a * W(1.5707963267948966) * v)))
        EACH(2, a * std::max(W(0), W(1) - a * std::abs(v)))
        EACH(3, std::abs(v) < W(0.5) / a ? a : W(0))
        EACH(4, W(1) / square(W(1) + a * std::abs(v)))
        EACH(5, W(1))
    }
}

// x (T, ...) with its neurons side by side in memory; the steps may lie over each other (an expanded current).
Tensor by_step(const Tensor &x) { return x.slice(0, 0, 1).is_contiguous() ? x : x.contiguous(); }

void check(const Tensor &x, const Tensor &u, const Tensor &leak) {
    REQUIRE(x.dim() > 0 && u.sizes() == x.sizes().slice(1) && leak.dim() == 0 && x.is_cpu() && u.is_cpu() && leak.is_cpu());
}

std::tuple<Tensor, Tensor> lif(const Tensor &input, const Tensor &state, const Tensor &leak, double threshold,
                               bool decay_input, bool soft_reset, bool, const std::string &, double) {
    check(input, state, leak);
    const auto x = by_step(input), before = state.contiguous();
    auto spikes = at::empty(x.sizes(), x.options()), after = at::empty_like(before);
    const int64_t steps = x.size(0), neurons = after.numel(), stride = x.stride(0);
    FLOATS(x, [&] {
        using W = at::opmath_type<scalar_t>;
        const Neuron<W> p{leak.item<W>(), W(threshold), decay_input, soft_reset};
        parallel((neurons + BLOCK - 1) / BLOCK, ELEMENTS_PER_THREAD / (BLOCK * steps + 1),
                 [=, currents = x.const_data_ptr<scalar_t>(), first = before.const_data_ptr<W>(),
                  fired = spikes.mutable_data_ptr<scalar_t>(), last = after.mutable_data_ptr<W>()](int64_t begin, int64_t end) INLINE {
            W h[BLOCK], u[BLOCK];
            for (int64_t at = begin * BLOCK; at < std::min(end * BLOCK, neurons); at += BLOCK) {
                const int64_t n = std::min(BLOCK, neurons - at);
                std::copy_n(first + at, n, u);
                for (int64_t t = 0; t < steps; t++) {
                    const scalar_t *__restrict from = currents + t * stride + at;
                    scalar_t *__restrict to = fired + t * neurons + at;
                    for (int64_t i = 0; i < n; i++) h[i] = p.integrate(W(from[i]), u[i]);
                    for (int64_t i = 0; i < n; i++) to[i] = scalar_t(h[i] >= p.threshold ? W(1) : W(0));
                    for (int64_t i = 0; i < n; i++) u[i] = p.reset(h[i]);
                }
                std::copy_n(u, n, last + at);
            }
        });
    });
    return {spikes, after};
}

std::tuple<Tensor, Tensor, Tensor> lif_backward(const Tensor &grad_spikes, const Tensor &grad_last, const Tensor &input,
                                                const Tensor &state, const Tensor &leak, double threshold, bool decay_input,
                                                bool soft_reset, bool detach_reset, const std::string &surrogate, double alpha) {
    check(input, state, leak);
    REQUIRE(grad_spikes.sizes() == input.sizes() && grad_last.sizes() == state.sizes());
    const auto x = by_step(input), before = state.contiguous(), of_spikes = grad_spikes.contiguous(), of_last = grad_last.contiguous();
    auto grad_x = at::empty(x.sizes(), x.options()), grad_u = at::empty_like(before);
    const int64_t steps = x.size(0), neurons = grad_u.numel(), stride = x.stride(0), blocks = (neurons + BLOCK - 1) / BLOCK;
    std::vector<double> of_leak(blocks, 0.0); // added up in one order, however many threads there are
    FLOATS(x, [&] {
        using W = at::opmath_type<scalar_t>;
        const Neuron<W> p{leak.item<W>(), W(threshold), decay_input, soft_reset};
        const W scale = decay_input ? p.leak : W(1), keep = W(1) - p.leak;
        const W resets = soft_reset ? std::numeric_limits<W>::quiet_NaN() : p.threshold; // a soft reset takes no slope away
        const int number = number_of(surrogate);
        parallel(blocks, ELEMENTS_PER_THREAD / (BLOCK * steps + 1),
                 [=, currents = x.const_data_ptr<scalar_t>(), of_spike = of_spikes.const_data_ptr<scalar_t>(),
                  first = before.const_data_ptr<W>(), of_state = of_last.const_data_ptr<W>(),
                  to_x = grad_x.mutable_data_ptr<scalar_t>(), to_u = grad_u.mutable_data_ptr<W>(),
                  sums = of_leak.data()](int64_t begin, int64_t end) INLINE {
            const int64_t width = std::min(BLOCK, neurons);
            std::vector<W> trajectory((2 * steps + 1) * width); // u before each step and after the last, and H of each
            W d[BLOCK], g[BLOCK], m[BLOCK], of_rate[BLOCK], *us = trajectory.data(), *hs = us + (steps + 1) * width;
            for (int64_t block = begin, at = begin * BLOCK; block < end; block++, at += BLOCK) {
                const int64_t n = std::min(BLOCK, neurons - at);
                std::copy_n(first + at, n, us);
                for (int64_t t = 0; t < steps; t++) {
                    const scalar_t *__restrict from = currents + t * stride + at;
                    W *__restrict u = us + t * width, *__restrict h = hs + t * width, *__restrict next = u + width;
                    for (int64_t i = 0; i < n; i++) h[i] = p.integrate(W(from[i]), u[i]), next[i] = p.reset(h[i]);
                }
                std::copy_n(of_state + at, n, g);
                std::fill_n(of_rate, n, W(0));
                for (int64_t t = steps - 1; t >= 0; t--) {
                    const W *__restrict u = us + t * width, *__restrict h = hs + t * width;
                    const scalar_t *__restrict from = currents + t * stride + at, *__restrict q = of_spike + t * neurons + at;
                    scalar_t *__restrict to = to_x + t * neurons + at;
                    for (int64_t i = 0; i < n; i++) d[i] = h[i] - p.threshold;
                    slopes(d, n, number, W(alpha));
                    for (int64_t i = 0; i < n; i++) m[i] = h[i] >= resets ? W(0) : W(1);
                    if (!detach_reset && soft_reset) for (int64_t i = 0; i < n; i++) m[i] -= p.threshold * d[i];
                    else if (!detach_reset) for (int64_t i = 0; i < n; i++) m[i] -= h[i] * d[i];
                    for (int64_t i = 0; i < n; i++) {
                        d[i] = W(q[i]) * d[i] + g[i] * m[i]; // dL/dH
                        to[i] = scalar_t(scale * d[i]);
                        g[i] = keep * d[i];
                    }
                    if (decay_input) for (int64_t i = 0; i < n; i++) of_rate[i] += d[i] * (W(from[i]) - u[i]);
                    else for (int64_t i = 0; i < n; i++) of_rate[i] -= d[i] * u[i];
                }
                sums[block] = std::accumulate(of_rate, of_rate + n, 0.0);
                std::copy_n(g, n, to_u + at);
            }
        });
    });
    return {grad_x, grad_u, at::full({}, std::accumulate(of_leak.begin(), of_leak.end(), 0.0), leak.options())};
}

} // namespace

TORCH_LIBRARY_IMPL(imlspike, CPU, library) {
    library.impl("imls", imls).impl("imls_backward", imls_backward);
    library.impl("lif", lif).impl("lif_backward", lif_backward);
}
