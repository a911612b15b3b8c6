// The neurons' operators on a CPU; imlspike/ops/reference.py is their definition. Products and sums are rounded one by
// one (-ffp-contract=off), so the results of the forward passes are those of the definition to the bit, whatever the
// processor can do.
#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

namespace {

#if defined(__GNUC__) && defined(__x86_64__)
#define FOR_AVX2 __attribute__((target("avx2,f16c")))
#define FOR_AVX512 __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,f16c,prefer-vector-width=512")))
#define DISPATCHED 1
#else
#define FOR_AVX2
#define FOR_AVX512
#define DISPATCHED 0
#endif
#define INLINE __attribute__((always_inline))

// A loop is compiled three times and chosen as torch chooses its own (ATEN_CPU_CAPABILITY lowers the choice).
template <class F> FOR_AVX512 void on_avx512(const F &body, int64_t begin, int64_t end) { body(begin, end); }
template <class F> FOR_AVX2 void on_avx2(const F &body, int64_t begin, int64_t end) { body(begin, end); }
template <class F> void on_any(const F &body, int64_t begin, int64_t end) { body(begin, end); }

template <class F> void parallel(int64_t count, int64_t grain, const F &body) {
    static const std::string can = DISPATCHED ? at::get_cpu_capability() : "DEFAULT";
    at::parallel_for(0, count, std::max<int64_t>(grain, 1), [&](int64_t begin, int64_t end) {
        if (can == "AVX512") on_avx512(body, begin, end);
        else if (can == "AVX2") on_avx2(body, begin, end);
        else on_any(body, begin, end);
    });
}

constexpr int64_t ELEMENTS_PER_THREAD = 1 << 15; // fewer aren't worth a second thread
constexpr int64_t BLOCK = 512;                   // neurons that are taken through all T steps while they are in the cache

// How many elements, one after the other, share a threshold; 1 where they don't come in runs.
int64_t run_of(const at::Tensor &x, const at::Tensor &theta) {
    if (theta.numel() == 1) return x.numel();
    int64_t run = 1, dim = theta.dim() == x.dim() ? x.dim() : 0;
    while (dim > 0 && theta.size(dim - 1) == 1) run *= x.size(--dim);
    return theta.dim() == x.dim() && theta.sizes().slice(0, dim) == x.sizes().slice(0, dim) ? run : 1;
}

// Calls body(first element, threshold, how many) for the runs of x, in threads.
template <class W, class F> void by_run(const at::Tensor &x, const at::Tensor &threshold, const F &body) {
    const int64_t run = run_of(x, threshold);
    const auto theta = (run == 1 ? threshold.expand_as(x) : threshold).to(c10::CppTypeToScalarType<W>::value).contiguous();
    const W *units = theta.template const_data_ptr<W>();
    parallel(x.numel(), ELEMENTS_PER_THREAD, [=](int64_t begin, int64_t end) INLINE {
        int64_t at = begin, stop;
        for (int64_t row = begin / std::max<int64_t>(run, 1); at < end; row++, at = stop) {
            stop = std::min(end, (row + 1) * run);
            body(at, units[row], stop - at);
        }
    });
}

template <class T, class W>
INLINE inline void fire(const T *__restrict x, W theta, int64_t n, W levels, bool scaled, T *__restrict y, bool *__restrict gate) {
    const W half = W(0.5) - std::numeric_limits<W>::epsilon() / 4, worth = scaled ? theta : W(1);
    const W top = (levels + W(0.5)) * theta;
    for (int64_t i = 0; i < n; i++) {
        const W wide = W(x[i]);
        W s = std::floor(wide / theta + half);
        s = s < W(0) ? W(0) : s > levels ? levels : s; // NaN stays
        y[i] = T(s * worth);
        gate[i] = (wide >= W(0)) & (wide <= top);
    }
}

std::tuple<at::Tensor, at::Tensor> imls(const at::Tensor &input, const at::Tensor &theta, int64_t levels, bool scaled) {
    const auto x = input.contiguous();
    auto y = at::empty_like(x), gate = at::empty_like(x, x.options().dtype(at::kBool));
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "imlspike::imls", [&] {
        using W = at::opmath_type<scalar_t>;
        const auto *from = x.const_data_ptr<scalar_t>();
        auto *to = y.data_ptr<scalar_t>();
        auto *open = gate.data_ptr<bool>();
        by_run<W>(x, theta, [=](int64_t at, W unit, int64_t n) INLINE {
            fire(from + at, unit, n, W(levels), scaled, to + at, open + at);
        });
    });
    return {y, gate};
}

at::Tensor imls_backward(const at::Tensor &of_y, const at::Tensor &open_gate, const at::Tensor &theta, bool scaled) {
    const auto grad = of_y.contiguous(), gate = open_gate.contiguous();
    auto grad_x = at::empty_like(grad);
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, grad.scalar_type(), "imlspike::imls_backward", [&] {
        using W = at::opmath_type<scalar_t>;
        const auto *from = grad.const_data_ptr<scalar_t>();
        const auto *open = reinterpret_cast<const uint8_t *>(gate.const_data_ptr<bool>());
        auto *to = grad_x.data_ptr<scalar_t>();
        by_run<W>(grad, theta, [=](int64_t at, W unit, int64_t n) INLINE {
            const scalar_t *__restrict in = from + at;
            const uint8_t *__restrict gates = open + at;
            scalar_t *__restrict out = to + at;
            if (scaled) for (int64_t i = 0; i < n; i++) out[i] = scalar_t(W(in[i]) * W(gates[i]));
            else for (int64_t i = 0; i < n; i++) out[i] = scalar_t(W(in[i]) * W(gates[i]) / unit);
        });
    });
    return grad_x;
}

template <class W> struct Neuron {
    W leak, keep, threshold, alpha; // 1 / tau, 1 - 1 / tau; above rest; sharpness of the surrogate
    bool decay_input, soft_reset, detach_reset;
    int surrogate;
};

enum { SIGMOID, ATAN, TRIANGLE, RECTANGLE, FAST_SIGMOID, STRAIGHT_THROUGH };

int number_of(const std::string &surrogate) { // as imlspike/ops/surrogate.py names them
    const std::vector<std::string> names{"sigmoid", "atan", "triangle", "rectangle", "fast_sigmoid", "straight_through"};
    const auto place = std::find(names.begin(), names.end(), surrogate);
    TORCH_CHECK_VALUE(place != names.end(), "unknown surrogate gradient '", surrogate, "'");
    return place - names.begin();
}

// The potential before the reset.
template <class W> INLINE inline W integrate(W x, W u, const Neuron<W> &p) {
    return p.decay_input ? u + p.leak * (x - u) : p.keep * u + x;
}
// The potential after it.
template <class W> INLINE inline W reset(W h, const Neuron<W> &p) {
    const W s = h >= p.threshold ? W(1) : W(0);
    return p.soft_reset ? h - p.threshold * s : h - h * s;
}

// exp(x) to 3e-7 of its value: 2^k e^r with |r| < 0.35, a polynomial for e^r (Cephes).
INLINE inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x > 87.0f ? 87.0f : x;
    const float k = std::floor(x * 1.44269504f + 0.5f), r = (x - k * 0.693359375f) + k * 2.12194440e-4f;
    float y = 1.9875691500e-4f * r + 1.3981999507e-3f;
    y = (y * r + 8.3334519073e-3f) * r + 4.1665795894e-2f;
    y = (y * r + 1.6666665459e-1f) * r + 5.0000001201e-1f;
    y = (y * r * r + r) + 1.0f;
    const int32_t bits = (static_cast<int32_t>(k) + 127) << 23;
    float power;
    std::memcpy(&power, &bits, 4);
    return y * power;
}
INLINE inline double exponential(double x) { return std::exp(x); }

template <class W> INLINE inline W square(W x) { return x * x; }
template <class W> INLINE inline W bell(W y) { return y * (W(1) - y); }

// The surrogate derivative, in place, of n distances v to the threshold.
template <class W> INLINE inline void slopes(W *x, int64_t n, int surrogate, W a) {
#define EACH(NAME, ...) \
    case NAME: \
        for (int64_t i = 0; i < n; i++) { [[maybe_unused]] const W v = x[i]; x[i] = __VA_ARGS__; } \
        break;
    switch (surrogate) {
        EACH(SIGMOID, a * bell(W(1) / (W(1) + exponential(-a * v))))
        EACH(ATAN, a / 2 / (W(1) + square(a * W(1.5707963267948966) * v)))
        EACH(TRIANGLE, a * std::max(W(0), W(1) - a * std::abs(v)))
        EACH(RECTANGLE, std::abs(v) < W(0.5) / a ? a : W(0))
        EACH(FAST_SIGMOID, W(1) / square(W(1) + a * std::abs(v)))
        EACH(STRAIGHT_THROUGH, W(1))
    }
#undef EACH
}

// x (T, ...) with its neurons side by side in memory; the steps may lie over each other (an expanded current).
at::Tensor by_step(const at::Tensor &x) {
    return x.slice(0, 0, 1).is_contiguous() ? x : x.contiguous();
}

std::tuple<at::Tensor, at::Tensor> lif(const at::Tensor &input, const at::Tensor &u, const at::Tensor &leak,
                                       double threshold, bool decay_input, bool soft_reset, bool detach_reset,
                                       const std::string &surrogate, double alpha) {
    const auto x = by_step(input);
    auto spikes = at::empty(x.sizes(), x.options()), after = at::empty(u.sizes(), x.options());
    const int64_t steps = x.size(0), neurons = after.numel(), stride = x.stride(0);
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "imlspike::lif", [&] {
        using W = at::opmath_type<scalar_t>;
        const W rate = leak.item<W>();
        const Neuron<W> p{rate, W(1) - rate, W(threshold), W(alpha), decay_input, soft_reset, detach_reset, 0};
        const auto before = u.to(x.scalar_type()).contiguous();
        const auto *current = x.const_data_ptr<scalar_t>(), *first = before.template const_data_ptr<scalar_t>();
        auto *fired = spikes.data_ptr<scalar_t>(), *last = after.data_ptr<scalar_t>();
        const auto body = [=](int64_t begin, int64_t end) INLINE {
            W h[BLOCK], state[BLOCK];
            for (int64_t block = begin; block < end; block++) {
                const int64_t at = block * BLOCK, n = std::min(BLOCK, neurons - at);
                for (int64_t i = 0; i < n; i++) state[i] = W(first[at + i]);
                for (int64_t t = 0; t < steps; t++) {
                    const scalar_t *__restrict from = current + t * stride + at;
                    scalar_t *__restrict to = fired + t * neurons + at;
                    for (int64_t i = 0; i < n; i++) h[i] = integrate(W(from[i]), state[i], p);
                    for (int64_t i = 0; i < n; i++) to[i] = scalar_t(h[i] >= p.threshold ? W(1) : W(0));
                    for (int64_t i = 0; i < n; i++) state[i] = reset(h[i], p);
                }
                for (int64_t i = 0; i < n; i++) last[at + i] = scalar_t(state[i]);
            }
        };
        parallel((neurons + BLOCK - 1) / BLOCK, ELEMENTS_PER_THREAD / (BLOCK * steps + 1), body);
    });
    return {spikes, after};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor>
lif_backward(const at::Tensor &of_spikes, const at::Tensor &of_last, const at::Tensor &input, const at::Tensor &u,
             const at::Tensor &leak, double threshold, bool decay_input, bool soft_reset, bool detach_reset,
             const std::string &surrogate, double alpha) {
    const auto x = by_step(input);
    const auto grad = of_spikes.to(x.scalar_type()).contiguous(), grad_last = of_last.to(x.scalar_type()).contiguous();
    auto grad_x = at::empty(x.sizes(), x.options()), grad_u = at::empty(u.sizes(), x.options());
    const int64_t steps = x.size(0), neurons = grad_u.numel(), stride = x.stride(0);
    const int64_t blocks = (neurons + BLOCK - 1) / BLOCK;
    std::vector<double> of_leak(blocks, 0.0); // added up in one order, however many threads there are
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "imlspike::lif_backward", [&] {
        using W = at::opmath_type<scalar_t>;
        const W rate = leak.item<W>();
        const Neuron<W> p{rate,       W(1) - rate,  W(threshold),        W(alpha), decay_input,
                          soft_reset, detach_reset, number_of(surrogate)};
        const W soft = soft_reset ? W(1) : W(0), hard = W(1) - soft, attached = detach_reset ? W(0) : W(1);
        const W decays = decay_input ? W(1) : W(0), scale = decay_input ? rate : W(1);
        const W by_threshold = soft * attached * p.threshold, by_h = hard * attached; // of the reset's slope in d_t
        const auto before = u.to(x.scalar_type()).contiguous();
        const auto *current = x.const_data_ptr<scalar_t>(), *first = before.template const_data_ptr<scalar_t>();
        const auto *of_spike = grad.const_data_ptr<scalar_t>(), *of_state = grad_last.const_data_ptr<scalar_t>();
        auto *to_x = grad_x.data_ptr<scalar_t>(), *to_u = grad_u.data_ptr<scalar_t>();
        double *sums = of_leak.data();
        const auto body = [=](int64_t begin, int64_t end) INLINE {
            std::vector<W> potentials((steps + 1) * BLOCK);
            W d[BLOCK], g[BLOCK], of_rate[BLOCK];
            for (int64_t block = begin; block < end; block++) {
                const int64_t at = block * BLOCK, n = std::min(BLOCK, neurons - at);
                W *h = potentials.data(); // row t + 1: H_t; row 0: a potential that no reset changes, u_0
                for (int64_t i = 0; i < n; i++) h[i] = W(first[at + i]);
                for (int64_t t = 0; t < steps; t++) {
                    const scalar_t *__restrict from = current + t * stride + at;
                    const W *__restrict left = h + t * BLOCK;
                    W *__restrict next = h + (t + 1) * BLOCK;
                    if (t == 0) for (int64_t i = 0; i < n; i++) next[i] = integrate(W(from[i]), left[i], p);
                    else for (int64_t i = 0; i < n; i++) next[i] = integrate(W(from[i]), reset(left[i], p), p);
                }
                for (int64_t i = 0; i < n; i++) g[i] = W(of_state[at + i]), of_rate[i] = W(0);
                for (int64_t t = steps - 1; t >= 0; t--) {
                    const W *__restrict left = h + t * BLOCK, *__restrict now = h + (t + 1) * BLOCK;
                    const scalar_t *__restrict from = current + t * stride + at;
                    const scalar_t *__restrict q = of_spike + t * neurons + at;
                    scalar_t *__restrict to = to_x + t * neurons + at;
                    for (int64_t i = 0; i < n; i++) d[i] = now[i] - p.threshold;
                    slopes(d, n, p.surrogate, p.alpha);
                    const W first_step = t == 0 ? W(0) : W(1);
                    for (int64_t i = 0; i < n; i++) {
                        const W m = W(1) - hard * (now[i] >= p.threshold ? W(1) : W(0)) - (by_threshold + by_h * now[i]) * d[i];
                        const W of_h = W(q[i]) * d[i] + g[i] * m;
                        const W fired = left[i] >= p.threshold ? first_step : W(0);
                        of_rate[i] += of_h * (decays * W(from[i]) - (left[i] - (soft * p.threshold + hard * left[i]) * fired));
                        to[i] = scalar_t(scale * of_h);
                        g[i] = p.keep * of_h;
                    }
                }
                double sum = 0.0;
                for (int64_t i = 0; i < n; i++) sum += double(of_rate[i]);
                sums[block] = sum;
                for (int64_t i = 0; i < n; i++) to_u[at + i] = scalar_t(g[i]);
            }
        };
        parallel(blocks, ELEMENTS_PER_THREAD / (BLOCK * steps + 1), body);
    });
    double total = 0.0;
    for (const double part : of_leak) total += part;
    return {grad_x, grad_u, at::full({}, total, leak.options())};
}

} // namespace

TORCH_LIBRARY_IMPL(imlspike, CPU, library) {
    library.impl("imls", imls);
    library.impl("imls_backward", imls_backward);
    library.impl("lif", lif);
    library.impl("lif_backward", lif_backward);
}
