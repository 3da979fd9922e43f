// Training and evaluation of the accuracy predictors (layers.py) on a CPU: one run at a time, all its steps in one call.
//
// What a step touches is small (a tensor is 8 architectures x n nodes x 64 features = 20 KB, all weights 0.4 MB), so one run
// stays in the core's own caches from its first step to its last.  Matrix products are register tiles over compiler vectors;
// batch norm and mish are one pass with one exponential, whose slope is kept for the backward pass; A·X and Aᵀ·X are
// sums over lists of neighbours; the one-hot input of the first convolution is a choice of rows; Adam is one pass over all
// parameters.  Every loop has one fixed order, so a run has the same bits alone and among others.
// Plain C++17 without headers of torch; single-threaded: processes, not threads, share the cores.

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <initializer_list>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {

#define INLINE static inline __attribute__((always_inline))

// --- vectors ----------------------------------------------------------------------------------------------------------

// A tile of TALL rows and WIDE vectors of a product lies in registers, beside WIDE vectors of the right factor.
#if defined(__AVX512F__)
constexpr int LANES = 16, TALL = 6, WIDE = 4;
#elif defined(__AVX__)
constexpr int LANES = 8, TALL = 6, WIDE = 2;
#elif defined(__aarch64__)
constexpr int LANES = 4, TALL = 6, WIDE = 4;
#else
constexpr int LANES = 4, TALL = 4, WIDE = 2;
#endif
constexpr int F = 64;            // features
constexpr int VF = F / LANES;    // vectors of a row of features
constexpr int64_t BATCH = 8;     // architectures of a step
constexpr float EPSILON = 1e-4f; // of batch norm

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t bits __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE vec load(const float* p) { return *reinterpret_cast<const vec*>(p); }
INLINE void store(float* p, vec v) { *reinterpret_cast<vec*>(p) = v; }
INLINE vec all(float x) { return x - vec{}; }

INLINE float total(vec v) {
    float parts[LANES], sum = 0;
    store(parts, v);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) parts[i] += parts[i + width];
    sum = parts[0];
    return sum;
}

// 1/x to float accuracy for the x that occur here (2 to 1e18): an estimate and one step of Newton's, where there is one.
INLINE vec reciprocal(vec x) {
#if defined(__AVX512F__)
    const vec r = (vec)_mm512_maskz_rcp14_ps(0xffff, (__m512)x);
    return r * (2.0f - x * r);
#else
    return 1.0f / x;
#endif
}

// exp by 2^n times a polynomial (Cephes' coefficients, relative error 2e-7); arguments lie in [-87, 87], NaN stays NaN.
// Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
INLINE vec exponential(vec x) {
    const vec shifted = x * 1.44269504088896341f + 12582912.0f;
    const vec n = shifted - 12582912.0f;
    const vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    return p * (vec)(((bits)shifted << 23) + 0x3f800000u);
}

// mish(z) = z tanh(log(1 + e^z)) = z n / (n + 2) with n = e^z (e^z + 2), and its slope.  From z = 20 on it is z.
INLINE vec mish(vec z, vec* slope) {
    vec c = z > 20.0f ? all(20.0f) : z;
    c = c < -80.0f ? all(-80.0f) : c;
    const vec e = exponential(c);
    const vec n = e * (e + 2.0f);
    const vec d = reciprocal(n + 2.0f);
    const vec t = n * d;
    if (slope) *slope = t + z * (4.0f * (e * e + e)) * (d * d);
    return z * t;
}

// --- matrix products --------------------------------------------------------------------------------------------------

// C (M, N) = or += A (M, K) B (K, N), one tile of TALL_ rows and WIDE_ vectors; A's strides are free, so Aᵀ needs no copy.
template <int TALL_, int WIDE_>
INLINE void tile(int64_t K, const float* a, int64_t row, int64_t column, const float* b, int64_t ldb, float* c,
                 int64_t ldc, bool add) {
    vec sum[TALL_][WIDE_];
#pragma GCC unroll 8
    for (int i = 0; i < TALL_; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < WIDE_; ++j) sum[i][j] = add ? load(c + i * ldc + j * LANES) : vec{};
    for (int64_t k = 0; k < K; ++k) {
        vec right[WIDE_];
#pragma GCC unroll 8
        for (int j = 0; j < WIDE_; ++j) right[j] = load(b + k * ldb + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < TALL_; ++i) {
            const vec left = all(a[i * row + k * column]);
#pragma GCC unroll 8
            for (int j = 0; j < WIDE_; ++j) sum[i][j] += left * right[j];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < TALL_; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < WIDE_; ++j) store(c + i * ldc + j * LANES, sum[i][j]);
}

template <int WIDE_>
void panel(int64_t M, int64_t K, const float* a, int64_t row, int64_t column, const float* b, int64_t ldb, float* c,
           int64_t ldc, bool add) {
    int64_t i = 0;
    for (; i + TALL <= M; i += TALL)
        tile<TALL, WIDE_>(K, a + i * row, row, column, b, ldb, c + i * ldc, ldc, add);
    a += i * row, c += i * ldc;
    switch (M - i) {
        case 1: return tile<1, WIDE_>(K, a, row, column, b, ldb, c, ldc, add);
        case 2: return tile<2, WIDE_>(K, a, row, column, b, ldb, c, ldc, add);
        case 3: return tile<3, WIDE_>(K, a, row, column, b, ldb, c, ldc, add);
        case 4: return tile<4, WIDE_>(K, a, row, column, b, ldb, c, ldc, add);
        case 5: return tile<5, WIDE_>(K, a, row, column, b, ldb, c, ldc, add);
        default: return;
    }
}

// N is a multiple of LANES.
void gemm(int64_t M, int64_t N, int64_t K, const float* a, int64_t row, int64_t column, const float* b, int64_t ldb,
          float* c, int64_t ldc, bool add) {
    int64_t j = 0;
    for (; j + WIDE * LANES <= N; j += WIDE * LANES) panel<WIDE>(M, K, a, row, column, b + j, ldb, c + j, ldc, add);
    for (; j < N; j += LANES) panel<1>(M, K, a, row, column, b + j, ldb, c + j, ldc, add);
}

// out (columns, ldo) = in (rows, columns) transposed
INLINE void transpose(int64_t rows, int64_t columns, const float* in, int64_t ldi, float* out, int64_t ldo) {
    for (int64_t j = 0; j < columns; ++j)
        for (int64_t i = 0; i < rows; ++i) out[j * ldo + i] = in[i * ldi + j];
}

// --- the network's plan, and memory -----------------------------------------------------------------------------------

struct Norm {
    int64_t scale, shift, mean, variance;  // places among the parameters, and among the running statistics
};
struct Direction {
    int64_t weight;
    Norm norm;
};
struct Convolution {
    int64_t groups;  // 0: not part of this predictor
    Direction way[2];
    int64_t width() const { return groups * F; }
};
enum { GC1, GC2, NSAM_QKV, NSAM_CLOSE, GC3, EFM_QV, EFM_K, EFM_CLOSE, CONVOLUTIONS };
struct Tensor {
    int64_t flat, place, size;
};

// Written by native.py; parameters lie here at places that are multiples of 16, unlike in the flat buffer.
struct Plan {
    int64_t nodes, vocabulary, flat, size, statistics, tensors;
    Convolution convolution[CONVOLUTIONS];
    int64_t code_weight, code_bias;  // -1: no estimation branch
    Norm code;
    int64_t head_weight, head_bias;
    Tensor tensor[];  // as many as `tensors` says
};

// Neighbours of every node of every architecture along (0) and against (1) the edges, itself included.
struct Space {
    const int64_t* start[2];
    const int16_t* index[2];
    const int64_t* operations;
};

class Arena {
  public:
    explicit Arena(int64_t floats) : block(static_cast<float*>(std::aligned_alloc(64, round(floats) * 4))), size(floats) {
        std::memset(block, 0, round(floats) * 4);
    }
    ~Arena() { std::free(block); }
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    // Three cache lines between buffers keep them out of one another's cache sets.
    float* take(int64_t floats) {
        float* found = block + used;
        used += round(floats) + 48;
        if (used > size) std::abort();
        return found;
    }

  private:
    static int64_t round(int64_t n) { return (n + 15) / 16 * 16; }
    float* block;
    int64_t size, used = 0;
};

enum { PRODUCTS, NORMS, NEIGHBOURS, ATTENTION, ADAM, REST, PARTS };
// Processor time of the parts of a step, where somebody wants to know.
struct Watch {
    double* spent;
    double last;
    explicit Watch(double* spent) : spent(spent), last(spent ? now() : 0) {}
    void lap(int part) {
        if (!spent) return;
        const double here = now();
        spent[part] += here - last;
        last = here;
    }
    static double now() {
        timespec time;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
        return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
    }
};

// --- batch norm + mish ------------------------------------------------------------------------------------------------

// Mean over rows, and the sum of squares about it, 64 columns.
INLINE void moments(const float* x, int64_t rows, float* mean, float* squares) {
    for (int j = 0; j < VF; j += WIDE) {
        vec sum[WIDE] = {}, more[WIDE] = {};
        int64_t r = 0;
        for (; r + 2 <= rows; r += 2)
            for (int v = 0; v < WIDE; ++v) {
                sum[v] += load(x + r * F + (j + v) * LANES);
                more[v] += load(x + (r + 1) * F + (j + v) * LANES);
            }
        for (; r < rows; ++r)
            for (int v = 0; v < WIDE; ++v) sum[v] += load(x + r * F + (j + v) * LANES);
        vec middle[WIDE];
        for (int v = 0; v < WIDE; ++v) {
            middle[v] = (sum[v] + more[v]) / static_cast<float>(rows);
            store(mean + (j + v) * LANES, middle[v]);
            sum[v] = more[v] = vec{};
        }
        for (r = 0; r + 2 <= rows; r += 2)
            for (int v = 0; v < WIDE; ++v) {
                const vec a = load(x + r * F + (j + v) * LANES) - middle[v];
                const vec b = load(x + (r + 1) * F + (j + v) * LANES) - middle[v];
                sum[v] += a * a;
                more[v] += b * b;
            }
        for (; r < rows; ++r)
            for (int v = 0; v < WIDE; ++v) {
                const vec a = load(x + r * F + (j + v) * LANES) - middle[v];
                sum[v] += a * a;
            }
        for (int v = 0; v < WIDE; ++v) store(squares + (j + v) * LANES, sum[v] + more[v]);
    }
}

// What the backward pass of one batch norm + mish of 64 columns needs.
struct Kept {
    float *normal, *slope;  // (rows, 64): the product, then its normalised values; factor * mish'
    float* inverse;         // (64): 1/deviation
};

// y = or += factor * mish(BN(k.normal)); moves the running statistics.
INLINE void norm_forward(const Kept& k, int64_t rows, const float* scale, const float* shift, float* running_mean,
                         float* running_variance, float momentum, float factor, float* y, bool add) {
    float mean[F], squares[F];
    moments(k.normal, rows, mean, squares);
    const float count = static_cast<float>(rows), less = rows > 1 ? count - 1.0f : 1.0f;
    for (int j = 0; j < F; ++j) {
        k.inverse[j] = 1.0f / std::sqrt(squares[j] / count + EPSILON);
        running_mean[j] += momentum * (mean[j] - running_mean[j]);
        running_variance[j] += momentum * (squares[j] / less - running_variance[j]);
    }
    for (int j = 0; j < F; j += LANES) {
        const vec m = load(mean + j), i = load(k.inverse + j), s = load(scale + j), b = load(shift + j);
        for (int64_t at = j; at < rows * F; at += F) {
            const vec normal = (load(k.normal + at) - m) * i;
            vec slope;
            const vec value = factor * mish(normal * s + b, &slope);
            store(k.normal + at, normal);
            store(k.slope + at, factor * slope);
            store(y + at, add ? load(y + at) + value : value);
        }
    }
}

// k.slope becomes the gradient of the product.
INLINE void norm_backward(const Kept& k, int64_t rows, const float* gradient, const float* scale, float* g_scale,
                          float* g_shift) {
    const float count = static_cast<float>(rows);
    for (int j = 0; j < F; j += WIDE * LANES) {
        vec shift[WIDE] = {}, slope[WIDE] = {};
        for (int64_t at = j; at < rows * F; at += F)
            for (int v = 0; v < WIDE; ++v) {
                const vec g = load(gradient + at + v * LANES) * load(k.slope + at + v * LANES);
                store(k.slope + at + v * LANES, g);
                shift[v] += g;
                slope[v] += g * load(k.normal + at + v * LANES);
            }
        vec whole[WIDE];
        for (int v = 0; v < WIDE; ++v) {
            const int at = j + v * LANES;
            store(g_shift + at, shift[v]);
            store(g_scale + at, slope[v]);
            whole[v] = load(scale + at) * load(k.inverse + at);
            shift[v] = whole[v] * (shift[v] / count);
            slope[v] = whole[v] * (slope[v] / count);
        }
        for (int64_t at = j; at < rows * F; at += F)
            for (int v = 0; v < WIDE; ++v)
                store(k.slope + at + v * LANES, (whole[v] * load(k.slope + at + v * LANES) - shift[v]) -
                                                    load(k.normal + at + v * LANES) * slope[v]);
    }
}

// --- graphs -----------------------------------------------------------------------------------------------------------

struct Graphs {
    const Space* space;
    const int64_t* archs;
    int64_t count, nodes;
    int64_t rows() const { return count * nodes; }
    // Calls f(row, first row of the graph, neighbours, how many) for every node.
    template <class Function>
    INLINE void each(const Graphs& g, int way, Function f) {
        for (int64_t b = 0; b < g.count; ++b)
            for (int64_t i = 0; i < g.nodes; ++i) {
                const int64_t* start = g.space->start[way] + g.archs[b] * g.nodes + i;
                f(b * g.nodes + i, b * g.nodes, g.space->index[way] + start[0], start[1] - start[0]);
            }
    }
};

// out = or += the sum of x over each node's neighbours
INLINE void gather(const Graphs& g, int way, const float* x, float* out, bool add) {
    Graphs::each(g, way, [&](int64_t row, int64_t base, const int16_t* near, int64_t count) {
        vec sum[VF];
        for (int v = 0; v < VF; ++v) sum[v] = add ? load(out + row * F + v * LANES) : vec{};
        for (int64_t k = 0; k < count; ++k)
            for (int v = 0; v < VF; ++v) sum[v] += load(x + (base + near[k]) * F + v * LANES);
        for (int v = 0; v < VF; ++v) store(out + row * F + v * LANES, sum[v]);
    });
}

// --- one run ----------------------------------------------------------------------------------------------------------

constexpr int GROUPS = 3;

struct Layer {
    float* near[2];         // A·X and Aᵀ·X
    Kept kept[GROUPS][2];
    float* y[GROUPS];
};

struct Attention {
    float* weights[2];  // softmax(S∘A), softmax(S∘Aᵀ): (batch, nodes, padded nodes)
    float* fused;
};

class Run {
  public:
    Run(const Plan& plan, const Space& space, int64_t batch, double* spent)
        : plan(plan), space(space), n(plan.nodes), padded((plan.nodes + LANES - 1) / LANES * LANES),
          arena(floats(plan, batch)), watch(spent) {
        const int64_t tensor = batch * n * F;
        for (float** part : {&w, &first, &second, &g}) *part = arena.take(plan.size);
        for (int c = 0; c < CONVOLUTIONS; ++c) {
            Layer& layer = layers[c];
            for (float*& near : layer.near) near = arena.take(tensor);
            for (int u = 0; u < plan.convolution[c].groups; ++u) {
                layer.y[u] = arena.take(tensor);
                for (Kept& kept : layer.kept[u]) kept = keep(tensor);
            }
        }
        for (Attention& each : attention) {
            for (float*& weights : each.weights) weights = arena.take(batch * n * padded);
            each.fused = arena.take(tensor);
        }
        code = keep(tensor);
        for (float** part : {&lifted, &own, &d_x, &d_own, &d_near[0], &d_near[1], &d_q, &d_k, &d_v, &d_fused})
            *part = arena.take(tensor);
        turned = arena.take(F * F);
        for (float** part : {&scores, &d_weights, &both}) *part = arena.take(n * padded);
        columns = arena.take(F * padded);
        means = arena.take(batch * n);
    }

    void take(const float* flat, float* local) const {
        for (int64_t t = 0; t < plan.tensors; ++t)
            std::memcpy(local + plan.tensor[t].place, flat + plan.tensor[t].flat, 4 * plan.tensor[t].size);
    }
    void give(const float* local, float* flat) const {
        for (int64_t t = 0; t < plan.tensors; ++t)
            std::memcpy(flat + plan.tensor[t].flat, local + plan.tensor[t].place, 4 * plan.tensor[t].size);
    }

    // Leaves the gradient in g and returns the loss; moves the running statistics.
    float gradient(const int64_t* archs, const float* accuracy, const float* codes, float momentum) {
        running_momentum = momentum;
        const Graphs batch{&space, archs, BATCH, n};
        const float* x = basic(batch);
        std::memset(g + plan.head_weight, 0, 4 * n);
        g[plan.head_bias] = 0;
        float slopes[BATCH];
        float loss = head(x, accuracy, BATCH, slopes);
        head_backward(slopes, BATCH, d_x, false);
        watch.lap(REST);
        if (plan.code_weight >= 0) loss += estimation(x, archs, accuracy, codes);

        const float* of_gc3[] = {d_x};
        backward(GC3, batch, of_gc3, d_x, false);
        if (plan.convolution[NSAM_QKV].groups) {
            Layer& qkv = layers[NSAM_QKV];
            const float* of_close[] = {d_x};
            backward(NSAM_CLOSE, batch, of_close, d_x, false);
            attend_backward(batch, attention[0], d_x, qkv.y[0], qkv.y[1], qkv.y[2], d_q, d_k, d_v, false);
            const float* of_qkv[] = {d_q, d_k, d_v};
            backward(NSAM_QKV, batch, of_qkv, d_x, true);
        }
        const float* of_gc2[] = {d_x};
        backward(GC2, batch, of_gc2, d_x, false);
        first_backward(batch, d_x);
        return loss;
    }

    void adam(float rate, float bias_1, float bias_2, bool fresh) {
        if (fresh) {
            std::memset(first, 0, 4 * plan.size);
            std::memset(second, 0, 4 * plan.size);
        }
        float *__restrict__ w_ = w, *__restrict__ m = first, *__restrict__ v = second;
        const float* __restrict__ g_ = g;
        const float pace = rate / bias_1, root = 1.0f / bias_2;
        for (int64_t i = 0; i < plan.size; ++i) {
            m[i] += 0.1f * (g_[i] - m[i]);
            v[i] = v[i] * 0.999f + g_[i] * g_[i] * 0.001f;
            w_[i] -= m[i] / (std::sqrt(v[i]) * root + 1e-7f) * pace;
        }
        watch.lap(ADAM);
    }

    float *w, *first, *second, *g;  // of the run, at the plan's places
    float* statistics = nullptr;

  private:
    static int64_t floats(const Plan& plan, int64_t batch) {
        const int64_t padded = (plan.nodes + LANES - 1) / LANES * LANES;
        const int64_t tensors = CONVOLUTIONS * (2 + GROUPS * 5) + 2 + 2 + 11;
        const int64_t buffers = tensors + 4 + CONVOLUTIONS * GROUPS * 2 + 20;
        return 4 * (plan.size + 16) + tensors * batch * plan.nodes * F + 4 * batch * plan.nodes * padded +
               4 * (plan.nodes + F) * padded + 2 * F * F + batch * plan.nodes + buffers * 128;
    }
    Kept keep(int64_t tensor) {
        Kept kept;
        kept.normal = arena.take(tensor);
        kept.slope = arena.take(tensor);
        kept.inverse = arena.take(F);
        return kept;
    }

    // Node features of the basic branch.
    float* basic(const Graphs& batch) {
        first_products(batch);
        norms(GC1, batch.rows());
        float* x = forward(GC2, batch, layers[GC1].y[0]);
        if (plan.convolution[NSAM_QKV].groups) {
            forward(NSAM_QKV, batch, x);
            Layer& qkv = layers[NSAM_QKV];
            attend(batch, attention[0], x, qkv.y[0], qkv.y[1], qkv.y[2]);
            x = forward(NSAM_CLOSE, batch, attention[0].fused);
        }
        return forward(GC3, batch, x);
    }

    // Forward and backward pass of the estimation branch over the architectures that have a code; adds to d_x.
    float estimation(const float* x, const int64_t* archs, const float* accuracy, const float* codes) {
        int64_t who[BATCH], some[BATCH], count = 0;
        float truth[BATCH], known[BATCH * 3], slopes[BATCH];
        for (int64_t b = 0; b < BATCH; ++b) {
            const float* c = codes + 3 * b;
            if (std::isnan(c[0]) || std::isnan(c[1]) || std::isnan(c[2])) continue;
            std::memcpy(known + 3 * count, c, 12);
            truth[count] = accuracy[b], some[count] = archs[b], who[count++] = b;
        }
        if (count == 0) {  // the branch keeps its running statistics; its gradient is nought
            clear_estimation();
            return 0;
        }
        const Graphs part{&space, some, count, n};
        for (int64_t b = 0; b < count; ++b) std::memcpy(own + b * n * F, x + who[b] * n * F, 4 * n * F);
        lift(known, count);
        forward(EFM_K, part, lifted);
        forward(EFM_QV, part, own);
        Layer& qv = layers[EFM_QV];
        const int64_t last = plan.convolution[EFM_QV].groups - 1;  // a shared layer is both q and v
        const float* k = layers[EFM_K].y[0];
        attend(part, attention[1], own, qv.y[0], k, qv.y[last]);
        const float loss = head(forward(EFM_CLOSE, part, attention[1].fused), truth, count, slopes);

        head_backward(slopes, count, d_own, false);
        watch.lap(REST);
        const float* of_close[] = {d_own};
        backward(EFM_CLOSE, part, of_close, d_own, false);
        attend_backward(part, attention[1], d_own, qv.y[0], k, qv.y[last], d_q, d_k, last ? d_v : d_q, last == 0);
        const float* of_k[] = {d_k};
        backward(EFM_K, part, of_k, d_fused, false);
        lift_backward(known, count);
        const float* of_qv[] = {d_q, d_v};
        backward(EFM_QV, part, of_qv, d_own, true);
        for (int64_t b = 0; b < count; ++b)
            for (int64_t at = 0; at < n * F; at += LANES) {
                float* into = d_x + who[b] * n * F + at;
                store(into, load(into) + load(d_own + b * n * F + at));
            }
        watch.lap(REST);
        return loss;
    }

    void clear_estimation() {
        for (int c : {EFM_QV, EFM_K, EFM_CLOSE})
            for (const Direction& way : plan.convolution[c].way) {
                const int64_t width = plan.convolution[c].width();
                std::memset(g + way.weight, 0, 4 * F * width);
                std::memset(g + way.norm.scale, 0, 4 * width);
                std::memset(g + way.norm.shift, 0, 4 * width);
            }
        std::memset(g + plan.code_weight, 0, 4 * 3 * n * F);
        std::memset(g + plan.code_bias, 0, 4 * n * F);
        std::memset(g + plan.code.scale, 0, 4 * F);
        std::memset(g + plan.code.shift, 0, 4 * F);
    }

    // --- graph convolutions

    void norms(int c, int64_t rows) {
        const Convolution& conv = plan.convolution[c];
        for (int64_t u = 0; u < conv.groups; ++u)
            for (int way = 0; way < 2; ++way) {
                const Norm& norm = conv.way[way].norm;
                norm_forward(layers[c].kept[u][way], rows, w + norm.scale + u * F, w + norm.shift + u * F,
                             statistics + norm.mean + u * F, statistics + norm.variance + u * F, running_momentum,
                             0.5f, layers[c].y[u], way == 1);
            }
        watch.lap(NORMS);
    }

    // A·X·W and Aᵀ·X·W' of every group
    void products(int c, const Graphs& batch, const float* x) {
        const Convolution& conv = plan.convolution[c];
        Layer& layer = layers[c];
        for (int way = 0; way < 2; ++way) gather(batch, way, x, layer.near[way], false);
        watch.lap(NEIGHBOURS);
        for (int64_t u = 0; u < conv.groups; ++u)
            for (int way = 0; way < 2; ++way)
                gemm(batch.rows(), F, F, layer.near[way], F, 1, w + conv.way[way].weight + u * F, conv.width(),
                     layer.kept[u][way].normal, F, false);
        watch.lap(PRODUCTS);
    }

    float* forward(int c, const Graphs& batch, const float* x) {
        products(c, batch, x);
        norms(c, batch.rows());
        return layers[c].y[0];
    }

    // Takes the gradient of each group's output; d_in becomes, or gains, the gradient of the input.
    void backward(int c, const Graphs& batch, const float* const* d_out, float* d_in, bool add) {
        const Convolution& conv = plan.convolution[c];
        Layer& layer = layers[c];
        const int64_t rows = batch.rows(), width = conv.width();
        for (int64_t u = 0; u < conv.groups; ++u) {
            norms_backward(c, u, rows, d_out[u]);
            for (int way = 0; way < 2; ++way) {
                const float* d = layer.kept[u][way].slope;
                const int64_t at = conv.way[way].weight + u * F;
                gemm(F, F, rows, layer.near[way], 1, F, d, F, g + at, width, false);
                transpose(F, F, w + at, width, turned, F);
                gemm(rows, F, F, d, F, 1, turned, F, d_near[way], F, u > 0);
            }
            watch.lap(PRODUCTS);
        }
        gather(batch, 1, d_near[0], d_in, add);
        gather(batch, 0, d_near[1], d_in, true);
        watch.lap(NEIGHBOURS);
    }

    void norms_backward(int c, int64_t u, int64_t rows, const float* d_out) {
        for (int way = 0; way < 2; ++way) {
            const Norm& norm = plan.convolution[c].way[way].norm;
            norm_backward(layers[c].kept[u][way], rows, d_out, w + norm.scale + u * F, g + norm.scale + u * F,
                          g + norm.shift + u * F);
        }
        watch.lap(NORMS);
    }

    // The first convolution: the input is one-hot, so A·X·W sums rows of W.
    void first_products(const Graphs& batch) {
        for (int way = 0; way < 2; ++way) {
            const float* weight = w + plan.convolution[GC1].way[way].weight;
            float* out = layers[GC1].kept[0][way].normal;
            Graphs::each(batch, way, [&](int64_t row, int64_t base, const int16_t* near, int64_t count) {
                const int64_t* symbols = space.operations + batch.archs[base / n] * n;
                vec sum[VF] = {};
                for (int64_t k = 0; k < count; ++k)
                    for (int v = 0; v < VF; ++v) sum[v] += load(weight + symbols[near[k]] * F + v * LANES);
                for (int v = 0; v < VF; ++v) store(out + row * F + v * LANES, sum[v]);
            });
        }
        watch.lap(NEIGHBOURS);
    }

    void first_backward(const Graphs& batch, const float* d_out) {
        norms_backward(GC1, 0, batch.rows(), d_out);
        for (int way = 0; way < 2; ++way) {
            float* d_weight = g + plan.convolution[GC1].way[way].weight;
            const float* d = layers[GC1].kept[0][way].slope;
            std::memset(d_weight, 0, 4 * plan.vocabulary * F);
            Graphs::each(batch, way, [&](int64_t row, int64_t base, const int16_t* near, int64_t count) {
                const int64_t* symbols = space.operations + batch.archs[base / n] * n;
                for (int64_t k = 0; k < count; ++k)
                    for (int v = 0; v < VF; ++v) {
                        float* into = d_weight + symbols[near[k]] * F + v * LANES;
                        store(into, load(into) + load(d + row * F + v * LANES));
                    }
            });
        }
        watch.lap(NEIGHBOURS);
    }

    // --- the code

    // lifted = mish(BN(code·W + b)), (count, n, 64)
    void lift(const float* codes, int64_t count) {
        for (int64_t b = 0; b < count; ++b)
            for (int64_t at = 0; at < n * F; at += LANES) {
                vec sum = load(w + plan.code_bias + at);
                for (int c = 0; c < 3; ++c) sum += codes[3 * b + c] * load(w + plan.code_weight + c * n * F + at);
                store(code.normal + b * n * F + at, sum);
            }
        watch.lap(REST);
        norm_forward(code, count * n, w + plan.code.scale, w + plan.code.shift, statistics + plan.code.mean,
                     statistics + plan.code.variance, running_momentum, 1.0f, lifted, false);
        watch.lap(NORMS);
    }

    void lift_backward(const float* codes, int64_t count) {
        norm_backward(code, count * n, d_fused, w + plan.code.scale, g + plan.code.scale, g + plan.code.shift);
        watch.lap(NORMS);
        for (int64_t at = 0; at < n * F; at += LANES) {
            vec bias = {}, weight[3] = {};
            for (int64_t b = 0; b < count; ++b) {
                const vec d = load(code.slope + b * n * F + at);
                bias += d;
                for (int c = 0; c < 3; ++c) weight[c] += codes[3 * b + c] * d;
            }
            store(g + plan.code_bias + at, bias);
            for (int c = 0; c < 3; ++c) store(g + plan.code_weight + c * n * F + at, weight[c]);
        }
        watch.lap(REST);
    }

    // --- attention: out = x + softmax(S∘A)·v + softmax(S∘Aᵀ)·v, S = q·kᵀ, non-edges at 0

    void attend(const Graphs& batch, Attention& kept, const float* x, const float* q, const float* k, const float* v) {
        std::memcpy(kept.fused, x, 4 * batch.rows() * F);
        for (int64_t b = 0; b < batch.count; ++b) {
            const int64_t at = b * n * F;
            transpose(n, F, k + at, F, columns, padded);
            gemm(n, padded, F, q + at, F, 1, columns, padded, scores, padded, false);
            for (int64_t i = 0; i < n; ++i) {
                for (int way = 0; way < 2; ++way)
                    softmax(batch, b, i, way, kept.weights[way] + (b * n + i) * padded);
                for (int64_t j = 0; j < padded; j += LANES)
                    store(both + i * padded + j, load(kept.weights[0] + (b * n + i) * padded + j) +
                                                     load(kept.weights[1] + (b * n + i) * padded + j));
            }
            gemm(n, F, n, both, padded, 1, v + at, F, kept.fused + at, F, true);
        }
        watch.lap(ATTENTION);
    }

    // Row i of softmax(S∘A) (way 0) or softmax(S∘Aᵀ) (way 1); nought beyond the nodes.
    INLINE void softmax_row(const float* scores, int64_t n, int64_t padded, const int16_t* near, int64_t count,
                            float* out) {
        for (int64_t j = 0; j < padded; j += LANES) store(out + j, vec{});
        float largest = count < n ? 0.0f : scores[near[0]];
        for (int64_t e = 0; e < count; ++e) {
            const float s = scores[near[e]];
            out[near[e]] = s;
            largest = s > largest ? s : largest;
        }
        for (int64_t j = 0; j < padded; j += LANES) {
            vec z = load(out + j) - largest;
            z = z < -80.0f ? all(-80.0f) : z;
            store(out + j, exponential(z));
        }
        for (int64_t j = n; j < padded; ++j) out[j] = 0;
        vec sum = {};
        for (int64_t j = 0; j < padded; j += LANES) sum += load(out + j);
        const float share = 1.0f / total(sum);
        for (int64_t j = 0; j < padded; j += LANES) store(out + j, load(out + j) * share);
    }
    void softmax(const Graphs& batch, int64_t b, int64_t i, int way, float* out) {
        const int64_t* start = space.start[way] + batch.archs[b] * n + i;
        softmax_row(scores + i * padded, n, padded, space.index[way] + start[0], start[1] - start[0], out);
    }

    void attend_backward(const Graphs& batch, const Attention& kept, const float* d_out, const float* q, const float* k,
                         const float* v, float* to_q, float* to_k, float* to_v, bool shared) {
        for (int64_t b = 0; b < batch.count; ++b) {
            const int64_t at = b * n * F, row = b * n * padded;
            for (int64_t j = 0; j < n * padded; j += LANES)
                store(both + j, load(kept.weights[0] + row + j) + load(kept.weights[1] + row + j));
            transpose(n, F, v + at, F, columns, padded);
            gemm(n, padded, F, d_out + at, F, 1, columns, padded, d_weights, padded, false);
            std::memset(scores, 0, 4 * n * padded);
            for (int way = 0; way < 2; ++way)
                for (int64_t i = 0; i < n; ++i) softmax_backward(batch, b, i, way, kept.weights[way] + row + i * padded);
            gemm(n, F, n, scores, padded, 1, k + at, F, to_q + at, F, false);
            gemm(n, F, n, scores, 1, padded, q + at, F, to_k + at, F, false);
            gemm(n, F, n, both, 1, padded, d_out + at, F, to_v + at, F, shared);
        }
        watch.lap(ATTENTION);
    }

    // Adds to row i of the gradient of S, which lies in scores.
    void softmax_backward(const Graphs& batch, int64_t b, int64_t i, int way, const float* weights) {
        const float* d = d_weights + i * padded;
        vec sum = {};
        for (int64_t j = 0; j < padded; j += LANES) sum += load(weights + j) * load(d + j);
        const float through = total(sum);
        const int64_t* start = space.start[way] + batch.archs[b] * n + i;
        for (int64_t e = start[0]; e < start[1]; ++e) {
            const int64_t j = space.index[way][e];
            scores[i * padded + j] += weights[j] * (d[j] - through);
        }
    }

    // --- the head: sigmoid(linear(mean over features)), Huber loss

    // Returns the mean loss; slopes: its derivative by each architecture's logit.
    float head(const float* x, const float* accuracy, int64_t count, float* slopes) {
        float loss = 0;
        for (int64_t b = 0; b < count; ++b) {
            const float p = predict(x + b * n * F, means + b * n);
            const float error = p - accuracy[b], size = std::fabs(error);
            const bool near = size <= 0.5f;
            loss += near ? 0.5f * size * size : 0.5f * (size - 0.25f);
            const float slope = near ? error : std::copysign(0.5f, error);
            slopes[b] = slope * p * (1.0f - p) / static_cast<float>(count);
        }
        return loss / static_cast<float>(count);
    }

    float predict(const float* x, float* mean) const {
        float logit = w[plan.head_bias];
        for (int64_t i = 0; i < n; ++i) {
            vec sum = {};
            for (int v = 0; v < VF; ++v) sum += load(x + i * F + v * LANES);
            mean[i] = total(sum) / F;
            logit += mean[i] * w[plan.head_weight + i];
        }
        return 1.0f / (1.0f + std::exp(-logit));
    }

    void head_backward(const float* slopes, int64_t count, float* d, bool add) {
        for (int64_t b = 0; b < count; ++b) {
            g[plan.head_bias] += slopes[b];
            for (int64_t i = 0; i < n; ++i) {
                g[plan.head_weight + i] += slopes[b] * means[b * n + i];
                const vec each = all(slopes[b] * w[plan.head_weight + i] / F);
                for (int v = 0; v < VF; ++v) {
                    float* into = d + (b * n + i) * F + v * LANES;
                    store(into, add ? load(into) + each : each);
                }
            }
        }
    }

    // --- evaluation: batch norm with running statistics is an affine map per feature

  public:
    // Folds all batch norms of the run; the values lie where Adam's moments are in training.
    void fold() {
        for (int c = 0; c < CONVOLUTIONS; ++c)
            if (plan.convolution[c].groups)
                for (const Direction& way : plan.convolution[c].way) fold(way.norm, plan.convolution[c].width());
        if (plan.code_weight >= 0) fold(plan.code, F);
    }

    // Accuracies of up to `batch` architectures; without codes by the basic branch, else by the estimation branch.
    void evaluate(const int64_t* archs, int64_t count, const float* codes, float* out) {
        const Graphs batch{&space, archs, count, n};
        first_products(batch);
        affine(GC1, batch.rows());
        float* x = evaluated(GC2, batch, layers[GC1].y[0]);
        if (plan.convolution[NSAM_QKV].groups) {
            evaluated(NSAM_QKV, batch, x);
            Layer& qkv = layers[NSAM_QKV];
            attend(batch, attention[0], x, qkv.y[0], qkv.y[1], qkv.y[2]);
            x = evaluated(NSAM_CLOSE, batch, attention[0].fused);
        }
        x = evaluated(GC3, batch, x);
        if (codes) x = fine(batch, x, codes);
        for (int64_t b = 0; b < count; ++b) out[b] = predict(x + b * n * F, means + b * n);
        watch.lap(REST);
    }

  private:
    void fold(const Norm& norm, int64_t width) {
        for (int64_t j = 0; j < width; ++j) {
            const float slope = w[norm.scale + j] / std::sqrt(statistics[norm.variance + j] + EPSILON);
            first[norm.scale + j] = slope;
            first[norm.shift + j] = w[norm.shift + j] - statistics[norm.mean + j] * slope;
        }
    }

    void affine(int c, int64_t rows) {
        const Convolution& conv = plan.convolution[c];
        for (int64_t u = 0; u < conv.groups; ++u) {
            const float* x[2] = {layers[c].kept[u][0].normal, layers[c].kept[u][1].normal};
            float* y = layers[c].y[u];
            for (int64_t j = 0; j < F; j += LANES) {
                vec slope[2], shift[2];
                for (int way = 0; way < 2; ++way) {
                    slope[way] = load(first + conv.way[way].norm.scale + u * F + j);
                    shift[way] = load(first + conv.way[way].norm.shift + u * F + j);
                }
                for (int64_t at = j; at < rows * F; at += F)
                    store(y + at, 0.5f * (mish(load(x[0] + at) * slope[0] + shift[0], nullptr) +
                                          mish(load(x[1] + at) * slope[1] + shift[1], nullptr)));
            }
        }
        watch.lap(NORMS);
    }

    float* evaluated(int c, const Graphs& batch, const float* x) {
        products(c, batch, x);
        affine(c, batch.rows());
        return layers[c].y[0];
    }

    float* fine(const Graphs& batch, const float* x, const float* codes) {
        for (int64_t b = 0; b < batch.count; ++b)
            for (int64_t at = 0; at < n * F; at += LANES) {
                vec sum = load(w + plan.code_bias + at);
                for (int c = 0; c < 3; ++c) sum += codes[3 * b + c] * load(w + plan.code_weight + c * n * F + at);
                sum = sum * load(first + plan.code.scale + at % F) + load(first + plan.code.shift + at % F);
                store(lifted + b * n * F + at, mish(sum, nullptr));
            }
        evaluated(EFM_K, batch, lifted);
        evaluated(EFM_QV, batch, x);
        Layer& qv = layers[EFM_QV];
        attend(batch, attention[1], x, qv.y[0], layers[EFM_K].y[0], qv.y[plan.convolution[EFM_QV].groups - 1]);
        return evaluated(EFM_CLOSE, batch, attention[1].fused);
    }

    const Plan& plan;
    const Space& space;
    const int64_t n, padded;
    Arena arena;
    Watch watch;
    float running_momentum = 0;
    Layer layers[CONVOLUTIONS];
    Attention attention[2];
    Kept code;
    float *lifted, *own, *turned, *scores, *d_weights, *both, *columns, *means;
    float *d_x, *d_own, *d_near[2], *d_q, *d_k, *d_v, *d_fused;
};

}  // namespace

extern "C" {

// Trains one run in place; the arguments are those of Program.train in native.py.
void train(const int64_t* plan_, const int64_t* out_start, const int16_t* out_index, const int64_t* in_start,
           const int16_t* in_index, const int64_t* operations, float* weights, float* first, float* second,
           float* statistics, const int64_t* pool, const float* accuracy, const float* codes, int64_t steps,
           const int64_t* draws, const float* optimiser, float* losses, float momentum, float* gradient,
           double* seconds) {
    const Plan& plan = *reinterpret_cast<const Plan*>(plan_);
    const Space space{{out_start, in_start}, {out_index, in_index}, operations};
    Run run(plan, space, BATCH, seconds);
    run.take(weights, run.w);
    run.take(first, run.first);
    run.take(second, run.second);
    run.statistics = statistics;
    for (int64_t s = 0; s < steps; ++s) {
        int64_t archs[BATCH];
        float truth[BATCH], code[3 * BATCH];
        for (int64_t b = 0; b < BATCH; ++b) {
            const int64_t place = draws[s * BATCH + b];
            archs[b] = pool[place], truth[b] = accuracy[place];
            std::memcpy(code + 3 * b, codes + 3 * place, 12);
        }
        const float loss = run.gradient(archs, truth, code, momentum);
        if (losses) losses[s] = loss;
        const float* of_step = optimiser + 4 * s;
        run.adam(of_step[0], of_step[1], of_step[2], of_step[3] != 0);
    }
    run.give(run.w, weights);
    run.give(run.first, first);
    run.give(run.second, second);
    if (gradient) run.give(run.g, gradient);
}

// Predicts `count` architectures with one run, by the estimation branch where codes are given.
void predict(const int64_t* plan_, const int64_t* out_start, const int16_t* out_index, const int64_t* in_start,
             const int16_t* in_index, const int64_t* operations, const float* weights, float* statistics,
             int64_t count, const int64_t* archs, const float* codes, float* out, double* seconds) {
    const Plan& plan = *reinterpret_cast<const Plan*>(plan_);
    const Space space{{out_start, in_start}, {out_index, in_index}, operations};
    Run run(plan, space, BATCH, seconds);
    run.take(weights, run.w);
    run.statistics = statistics;
    run.fold();
    for (int64_t at = 0; at < count; at += BATCH) {
        const int64_t some = count - at < BATCH ? count - at : BATCH;
        run.evaluate(archs + at, some, codes ? codes + 3 * at : nullptr, out + at);
    }
}
}
