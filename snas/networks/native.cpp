// The operations of snas/networks/kernels.py for the CPU: the same functions, with as few passes over memory as there can
// be.  A tensor is (rows, height, width, batch) with the batch innermost: a row is one channel of one network.
//
// An input need not lie together: it is read from row ranges of several tensors (Rows), so that channels are concatenated,
// split and sorted by operation without being copied.  Every loop runs over a whole row, or the rows of one network, before
// it goes to the next, so that scratch stays in the cache; its innermost loop runs over contiguous memory, so that the
// compiler makes vector code of it for whatever machine it runs on.
// Plain C++17 without headers of torch; single-threaded: processes, not threads, share the cores.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

#define INLINE static inline __attribute__((always_inline))

// exp by 2^n times a polynomial (Cephes' coefficients, relative error 2e-7); arguments lie in [-87, 88], NaN stays NaN.
INLINE float exponential(float x) {
    const float n = __builtin_rintf(x * 1.44269504088896341f);
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const uint32_t bits = (static_cast<uint32_t>(static_cast<int32_t>(n > -127.0f ? n : -127.0f)) + 127u) << 23;  // NaN: 0
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

// mish(z) = z tanh(log(1 + e^z)) = z n / (n + 2) with n = e^z (e^z + 2): one exponential.  From z = 20 on it is z.
INLINE float bounded(float z) {
    z = z > 20.0f ? 20.0f : z;
    return z < -80.0f ? -80.0f : z;
}

INLINE float mish(float z) {
    const float e = exponential(bounded(z));
    const float n = e * (e + 2.0f);
    return z * (n / (n + 2.0f));
}

INLINE float mish_slope(float z) {
    const float e = exponential(bounded(z));
    const float n = e * (e + 2.0f);
    const float d = 1.0f / (n + 2.0f);
    return n * d + z * (4.0f * e * (e + 1.0f)) * (d * d);
}

constexpr int SCRATCH = 11;
float* scratch(int which, int64_t size) {
    static thread_local std::vector<float> buffers[SCRATCH];
    constexpr int64_t LINE = 16;  // floats of a cache line, at which the buffer begins: rows of a line's size do not straddle
    if (static_cast<int64_t>(buffers[which].size()) < size + LINE) buffers[which].assign(size + LINE, 0.0f);
    const auto address = reinterpret_cast<uintptr_t>(buffers[which].data());
    return buffers[which].data() + (LINE - address / sizeof(float) % LINE) % LINE;
}

// out[n] = sum over nine taps for one image row; above, here and below are the image rows around it (a row of zeros
// outside), a column's neighbours lie `batch` apart.  Taps that fall off the sides are left out.
INLINE void taps(const float* __restrict__ above, const float* __restrict__ here, const float* __restrict__ below,
                 const float* w, float* __restrict__ out, int64_t width, int64_t batch) {
    const float w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3], w4 = w[4], w5 = w[5], w6 = w[6], w7 = w[7], w8 = w[8];
    const int64_t b = batch, last = (width - 1) * batch;
    if (width == 1) {
        for (int64_t n = 0; n < b; ++n) out[n] = w1 * above[n] + w4 * here[n] + w7 * below[n];
        return;
    }
    for (int64_t n = 0; n < b; ++n)
        out[n] = w1 * above[n] + w4 * here[n] + w7 * below[n] + w2 * above[n + b] + w5 * here[n + b] +
                 w8 * below[n + b];
    for (int64_t n = b; n < last; ++n)
        out[n] = (w0 * above[n - b] + w3 * here[n - b] + w6 * below[n - b]) +
                 (w1 * above[n] + w4 * here[n] + w7 * below[n]) +
                 (w2 * above[n + b] + w5 * here[n + b] + w8 * below[n + b]);
    for (int64_t n = last; n < last + b; ++n)
        out[n] = w0 * above[n - b] + w3 * here[n - b] + w6 * below[n - b] + w1 * above[n] + w4 * here[n] +
                 w7 * below[n];
}

void convolve(const float* x, const float* w, const float* zeros, float* out, int64_t height, int64_t width,
              int64_t batch) {
    const int64_t line = width * batch;
    for (int64_t i = 0; i < height; ++i)
        taps(i > 0 ? x + (i - 1) * line : zeros, x + i * line, i + 1 < height ? x + (i + 1) * line : zeros, w,
             out + i * line, width, batch);
}

// sum over n of g[n] x[n + shift] for the three image rows and the three columns around
INLINE void weight_gradient(const float* __restrict__ above, const float* __restrict__ here,
                            const float* __restrict__ below, const float* __restrict__ g, double* gw, int64_t width,
                            int64_t batch) {
    const int64_t b = batch, end = width * batch;
    float s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0, s8 = 0;
    for (int64_t n = 0; n < b; ++n) s1 += g[n] * above[n], s4 += g[n] * here[n], s7 += g[n] * below[n];
    for (int64_t n = b; n < end; ++n) {
        const float v = g[n], u = g[n - b];
        s0 += v * above[n - b], s3 += v * here[n - b], s6 += v * below[n - b];
        s1 += v * above[n], s4 += v * here[n], s7 += v * below[n];
        s2 += u * above[n], s5 += u * here[n], s8 += u * below[n];
    }
    gw[0] += s0, gw[1] += s1, gw[2] += s2, gw[3] += s3, gw[4] += s4, gw[5] += s5, gw[6] += s6, gw[7] += s7,
        gw[8] += s8;
}

constexpr int64_t BLOCK = 4096;  // partial sums in float32 stay this short, their totals are kept in double

INLINE void moments(const float* __restrict__ y, int64_t size, float* mean, float* variance) {
    double total = 0, squares = 0;
    for (int64_t start = 0; start < size; start += BLOCK) {
        const int64_t stop = start + BLOCK < size ? start + BLOCK : size;
        float sum = 0;
        for (int64_t n = start; n < stop; ++n) sum += y[n];
        total += sum;
    }
    const float m = static_cast<float>(total / size);
    for (int64_t start = 0; start < size; start += BLOCK) {
        const int64_t stop = start + BLOCK < size ? start + BLOCK : size;
        float sum = 0;
        for (int64_t n = start; n < stop; ++n) sum += (y[n] - m) * (y[n] - m);
        squares += sum;
    }
    *mean = m;
    *variance = static_cast<float>(squares / size);
}

// y becomes its normalised self, g the gradient of the loss by z = gamma y + beta; returns their sums
INLINE void slopes(float* __restrict__ y, const float* __restrict__ go, float* __restrict__ g, int64_t size, float mean,
                   float rstd, float gamma, float beta, bool mish_after, double* g_beta, double* g_gamma) {
    double by_beta = 0, by_gamma = 0;
    for (int64_t start = 0; start < size; start += BLOCK) {
        const int64_t stop = start + BLOCK < size ? start + BLOCK : size;
        float sum = 0, product = 0;
        if (mish_after)
            for (int64_t n = start; n < stop; ++n) {
                const float normal = (y[n] - mean) * rstd;
                const float gz = go[n] * mish_slope(gamma * normal + beta);
                y[n] = normal, g[n] = gz;
                sum += gz, product += gz * normal;
            }
        else
            for (int64_t n = start; n < stop; ++n) {
                const float normal = (y[n] - mean) * rstd;
                y[n] = normal, g[n] = go[n];
                sum += go[n], product += go[n] * normal;
            }
        by_beta += sum, by_gamma += product;
    }
    *g_beta = by_beta, *g_gamma = by_gamma;
}


// One row of BN and mish, forward; statistics are made when training
INLINE void norm_row(const float* __restrict__ y, float* __restrict__ out, int64_t size, float gamma, float beta,
                     float* mean, float* variance, bool training, bool mish_after, float eps) {
    if (training) moments(y, size, mean, variance);
    const float scale = gamma / std::sqrt(*variance + eps), shift = beta - *mean * scale;
    if (mish_after)
        for (int64_t n = 0; n < size; ++n) out[n] = mish(y[n] * scale + shift);
    else
        for (int64_t n = 0; n < size; ++n) out[n] = y[n] * scale + shift;
}

// The same backward: y is overwritten, g becomes the gradient by y
INLINE void norm_row_backward(float* __restrict__ y, const float* __restrict__ go, float* __restrict__ g, int64_t size,
                              float gamma, float beta, float mean, float variance, bool mish_after, float eps,
                              float* g_gamma, float* g_beta) {
    const float rstd = 1.0f / std::sqrt(variance + eps);
    double by_beta, by_gamma;
    slopes(y, go, g, size, mean, rstd, gamma, beta, mish_after, &by_beta, &by_gamma);
    *g_beta = static_cast<float>(by_beta), *g_gamma = static_cast<float>(by_gamma);
    const float scale = rstd * gamma, a = static_cast<float>(by_beta / size), c = static_cast<float>(by_gamma / size);
    for (int64_t n = 0; n < size; ++n) g[n] = scale * (g[n] - a - y[n] * c);
}

// An input of many rows, read in order from ranges (source, first row, rows) of several tensors; without a table, one
// tensor from its beginning.
struct Rows {
    const float* const* sources;
    const int64_t* table;
    int64_t ranges;
    int64_t size;
    int64_t range = 0, row = 0;

    const float* next() {
        if (ranges == 0) return reinterpret_cast<const float*>(sources) + size * row++;
        while (row == table[3 * range + 2]) ++range, row = 0;
        return sources[table[3 * range]] + (table[3 * range + 1] + row++) * size;
    }
};

#define ROWS(name) const float *const *name##_sources, const int64_t *name##_table, int64_t name##_ranges
#define READER(name, size) Rows { name##_sources, name##_table, name##_ranges, size }

// The machine's own vectors, and how many rows of a product are made together: a tile of TALL rows and 2 vectors lies in
// registers, beside the 2 vectors of x and one weight.
#if defined(__AVX512F__)
constexpr int64_t NATIVE = 16;
constexpr int TALL = 8, DOT_ROWS = 4, DOT_COLUMNS = 4;
#elif defined(__AVX__)
constexpr int64_t NATIVE = 8;
constexpr int TALL = 6, DOT_ROWS = 3, DOT_COLUMNS = 4;
#else
constexpr int64_t NATIVE = 4;
constexpr int TALL = 6, DOT_ROWS = 3, DOT_COLUMNS = 4;
#endif
typedef float Vector __attribute__((vector_size(4 * NATIVE), aligned(4), may_alias));
typedef float Eight __attribute__((vector_size(32)));
typedef float Four __attribute__((vector_size(16)));
constexpr int64_t LANE_SUMS = 16;  // partial sums of a dot product, the same on every machine, so that its bits are as well

INLINE Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
INLINE void store(float* to, Vector v) { *reinterpret_cast<Vector*>(to) = v; }

// A vector that is used more than once comes into a register once: GCC would load it again for each use.
INLINE Vector held(const float* from) {
    Vector v = load(from);
#if defined(__AVX512F__)
    __asm__("" : "+v"(v));
#elif defined(__x86_64__)
    __asm__("" : "+x"(v));
#elif defined(__aarch64__)
    __asm__("" : "+w"(v));
#endif
    return v;
}

// COUNT rows of out = W x over 2 vectors of columns; w(o, c) = w[o * out_step + c * in_step], x (in, step), whose second
// vector lies `second` behind the first
template <int COUNT>
INLINE void product_block(const float* w, int64_t out_step, int64_t in_step, const float* x, int64_t step,
                          int64_t second, float* const* out, int64_t in, int64_t column) {
    Vector a[COUNT], b[COUNT];
#pragma GCC unroll 8
    for (int o = 0; o < COUNT; ++o) a[o] = b[o] = Vector{};
    for (int64_t c = 0; c < in; ++c, x += step) {
        const Vector left = load(x), right = load(x + second);
#pragma GCC unroll 8
        for (int o = 0; o < COUNT; ++o) {
            const float v = w[o * out_step + c * in_step];
            a[o] += v * left, b[o] += v * right;
        }
    }
#pragma GCC unroll 8
    for (int o = 0; o < COUNT; ++o) store(out[o] + column, a[o]), store(out[o] + column + NATIVE, b[o]);
}

// Columns of rows by address, in panels of PANEL columns: a panel after the other, in it the rows one below the other; the
// last one is filled up with zeros.  Rows of a tensor often lie a power of two apart, so that the same columns of all of
// them would fall into the same few sets of a cache, and a row is read in runs that the processor sees coming.
constexpr int64_t PANEL = LANE_SUMS;
constexpr int64_t STEP = 2 * NATIVE > PANEL ? 2 * NATIVE : PANEL;  // columns that a product makes at a time, at least

// Floats from a panel to the next: not a power of two lines, so that a few rows of all panels spread over a cache's sets
INLINE int64_t pitch(int64_t rows) { return ((rows + 7) / 8 * 8 + 4) * PANEL; }

// Columns that are packed at a time: as many as keep the panels of all rows in the second cache, and a few rows in the first
INLINE int64_t chunk_of(int64_t rows) {
    const int64_t columns = (1 << 17) / (rows + 8) / 32 * 32;
    return columns < 128 ? 128 : columns > 512 ? 512 : columns;
}

INLINE void pack(const float* const* rows, int64_t count, int64_t start, int64_t columns, float* out) {
    const int64_t whole = columns / PANEL, rest = columns % PANEL;
    const int64_t step = pitch(count);
    for (int64_t r = 0; r < count; ++r) {
        const float* from = rows[r] + start;
        float* to = out + r * PANEL;
        for (int64_t p = 0; p < whole; ++p, from += PANEL, to += step)
            std::memcpy(to, from, PANEL * sizeof(float));
        if (rest > 0)
            for (int64_t n = 0; n < PANEL; ++n) to[n] = n < rest ? from[n] : 0.0f;
    }
}

template <int COUNT>
INLINE void product_panels(const float* w, int64_t out_step, int64_t in_step, const float* panels, float* const* out,
                           int64_t in, int64_t column, int64_t stop) {
    const int64_t step = pitch(in), second = STEP > PANEL ? step : NATIVE;  // in the next panel, or in the same one
    for (; column < stop; column += STEP, panels += STEP / PANEL * step)
        for (int64_t part = 0; part < STEP; part += 2 * NATIVE)
            product_block<COUNT>(w, out_step, in_step, panels + part, PANEL, second, out, in, column + part);
}

// Some columns of out (out_rows, size) = W (out_rows, in_rows) x (in_rows, size); x by address and in panels
void product_chunk(const float* w, int64_t out_step, int64_t in_step, const float* const* x, const float* panels,
                   float* const* out, int64_t in, int64_t out_rows, int64_t start, int64_t columns) {
    const int64_t rest = start + columns / STEP * STEP, stop = start + columns;
    int64_t o = 0;
    for (; o + TALL <= out_rows; o += TALL)
        product_panels<TALL>(w + o * out_step, out_step, in_step, panels, out + o, in, start, rest);
    for (; o + 2 <= out_rows; o += 2)
        product_panels<2>(w + o * out_step, out_step, in_step, panels, out + o, in, start, rest);
    for (; o < out_rows; ++o)
        product_panels<1>(w + o * out_step, out_step, in_step, panels, out + o, in, start, rest);
    if (rest == stop) return;
    for (o = 0; o < out_rows; ++o) {
        float* __restrict__ to = out[o];
        for (int64_t n = rest; n < stop; ++n) to[n] = 0.0f;
        for (int64_t c = 0; c < in; ++c) {
            const float v = w[o * out_step + c * in_step];
            const float* __restrict__ from = x[c];
            for (int64_t n = rest; n < stop; ++n) to[n] += v * from[n];
        }
    }
}

void product(const float* w, int64_t out_step, int64_t in_step, const float* const* x, float* const* out, int64_t in,
             int64_t out_rows, int64_t size) {
    const int64_t chunk = chunk_of(in);
    float* panels = scratch(8, pitch(in) * (chunk / PANEL));
    for (int64_t start = 0; start < size; start += chunk) {
        const int64_t columns = start + chunk < size ? chunk : size - start;
        pack(x, in, start, columns, panels);
        product_chunk(w, out_step, in_step, x, panels, out, in, out_rows, start, columns);
    }
}

// The sum of LANE_SUMS floats, halves added to halves
INLINE float total(const float* partial) {
    Eight sums, high;
    std::memcpy(&sums, partial, sizeof sums), std::memcpy(&high, partial + 8, sizeof high);
    sums += high;
    Four halves[2];
    std::memcpy(halves, &sums, sizeof halves);
    halves[0] += halves[1];
    return (halves[0][0] + halves[0][2]) + (halves[0][1] + halves[0][3]);
}

// sums (A, B, LANE_SUMS) += the dot products of A rows of g and B rows of x in panels of that many rows, lane by lane.  The
// lanes are added up once at the end: after every chunk that would take half as long as the products themselves.
template <int A, int B>
INLINE void dot_block(const float* g, int64_t g_rows, const float* x, int64_t x_rows, float* sums, int64_t count) {
    const int64_t g_step = pitch(g_rows), x_step = pitch(x_rows);
    for (int64_t part = 0; part < LANE_SUMS; part += NATIVE) {
        Vector s[A][B];
#pragma GCC unroll 8
        for (int i = 0; i < A; ++i)
#pragma GCC unroll 8
            for (int j = 0; j < B; ++j) s[i][j] = load(sums + (i * x_rows + j) * LANE_SUMS + part);
        const float *from_g = g + part, *from_x = x + part;
        for (int64_t p = 0; p < count; ++p, from_g += g_step, from_x += x_step) {
            Vector left[A];
#pragma GCC unroll 8
            for (int i = 0; i < A; ++i) left[i] = held(from_g + i * PANEL);
#pragma GCC unroll 8
            for (int j = 0; j < B; ++j) {
                const Vector right = held(from_x + j * PANEL);
#pragma GCC unroll 8
                for (int i = 0; i < A; ++i) s[i][j] += left[i] * right;
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < A; ++i)
#pragma GCC unroll 8
            for (int j = 0; j < B; ++j) store(sums + (i * x_rows + j) * LANE_SUMS + part, s[i][j]);
    }
}

template <int A>
INLINE void dot_rows(const float* g, int64_t g_rows, const float* x, int64_t x_rows, float* sums, int64_t count) {
    int64_t c = 0;
    for (; c + DOT_COLUMNS <= x_rows; c += DOT_COLUMNS)
        dot_block<A, DOT_COLUMNS>(g, g_rows, x + c * PANEL, x_rows, sums + c * LANE_SUMS, count);
    for (; c < x_rows; ++c) dot_block<A, 1>(g, g_rows, x + c * PANEL, x_rows, sums + c * LANE_SUMS, count);
}

// sums (out_rows, in_rows, LANE_SUMS) += g xT over the columns of panels
void outer_chunk(const float* g, const float* x, float* sums, int64_t in, int64_t out_rows, int64_t columns) {
    const int64_t count = (columns + PANEL - 1) / PANEL, line = in * LANE_SUMS;
    int64_t o = 0;
    for (; o + DOT_ROWS <= out_rows; o += DOT_ROWS)
        dot_rows<DOT_ROWS>(g + o * PANEL, out_rows, x, in, sums + o * line, count);
    for (; o + 2 <= out_rows; o += 2) dot_rows<2>(g + o * PANEL, out_rows, x, in, sums + o * line, count);
    for (; o < out_rows; ++o) dot_rows<1>(g + o * PANEL, out_rows, x, in, sums + o * line, count);
}

// gw (out_rows, in_rows) = g xT, rows by address; with gx also gx = WT g, in chunks of columns that stay in the cache
void outer(const float* const* g, const float* const* x, float* gw, int64_t in, int64_t out_rows, int64_t size,
           const float* w = nullptr, float* const* gx = nullptr) {
    float* sums = scratch(10, in * out_rows * LANE_SUMS);
    std::memset(sums, 0, in * out_rows * LANE_SUMS * sizeof(float));
    const int64_t chunk = chunk_of(in + out_rows);
    float *left = scratch(8, pitch(out_rows) * (chunk / PANEL)), *right = scratch(9, pitch(in) * (chunk / PANEL));
    for (int64_t start = 0; start < size; start += chunk) {
        const int64_t columns = start + chunk < size ? chunk : size - start;
        pack(g, out_rows, start, columns, left);
        pack(x, in, start, columns, right);
        outer_chunk(left, right, sums, in, out_rows, columns);
        if (gx != nullptr) product_chunk(w, 1, in, g, left, gx, out_rows, in, start, columns);
    }
    for (int64_t k = 0; k < in * out_rows; ++k) gw[k] = total(sums + k * LANE_SUMS);
}

template <typename T>
T** addresses(int which, int64_t count) {
    static thread_local std::vector<T*> buffers[4];
    if (static_cast<int64_t>(buffers[which].size()) < count) buffers[which].resize(count);
    return buffers[which].data();
}

// Attention of single vectors.  a is (networks, 3 hidden, batch): q, k and v before their mish.  Per image:
// out_i = sum_j softmax_j(q_i k_j) v_j.  Images stand in lanes of 16.
enum { LANES = 16 };

void lanes_in(const float* from, float* to, int64_t rows, int64_t batch, int64_t count) {
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t l = 0; l < LANES; ++l) to[i * LANES + l] = l < count ? from[i * batch + l] : 0.0f;
}

// weights[j] = softmax over j of q k_j
INLINE void attention_row(const float* __restrict__ q, const float* __restrict__ k, float* __restrict__ weights,
                          int64_t hidden) {
    float most[LANES], total[LANES];
    for (int64_t l = 0; l < LANES; ++l) most[l] = q[l] * k[l], total[l] = 0.0f;
    for (int64_t j = 1; j < hidden; ++j)
        for (int64_t l = 0; l < LANES; ++l) {
            const float s = q[l] * k[j * LANES + l];
            most[l] = s > most[l] ? s : most[l];
        }
    for (int64_t j = 0; j < hidden; ++j)
        for (int64_t l = 0; l < LANES; ++l) {
            const float s = q[l] * k[j * LANES + l] - most[l];
            const float e = exponential(s < -80.0f ? -80.0f : s);
            weights[j * LANES + l] = e;
            total[l] += e;
        }
    for (int64_t l = 0; l < LANES; ++l) total[l] = 1.0f / total[l];
    for (int64_t j = 0; j < hidden; ++j)
        for (int64_t l = 0; l < LANES; ++l) weights[j * LANES + l] *= total[l];
}

// a (3 hidden, batch) -> out (hidden, batch) for one network
void attend(const float* a, float* out, int64_t hidden, int64_t batch) {
    float* qkv = scratch(0, 3 * hidden * LANES);
    float* weights = scratch(1, hidden * LANES);
    for (int64_t start = 0; start < batch; start += LANES) {
        const int64_t count = batch - start < LANES ? batch - start : static_cast<int64_t>(LANES);
        lanes_in(a + start, qkv, 3 * hidden, batch, count);
        for (int64_t n = 0; n < 3 * hidden * LANES; ++n) qkv[n] = mish(qkv[n]);
        const float *k = qkv + hidden * LANES, *v = k + hidden * LANES;
        for (int64_t i = 0; i < hidden; ++i) {
            attention_row(qkv + i * LANES, k, weights, hidden);
            float sum[LANES] = {};
            for (int64_t j = 0; j < hidden; ++j)
                for (int64_t l = 0; l < LANES; ++l) sum[l] += weights[j * LANES + l] * v[j * LANES + l];
            for (int64_t l = 0; l < count; ++l) out[i * batch + start + l] = sum[l];
        }
    }
}

// ga (3 hidden, batch), the gradient by a, from go (hidden, batch)
void attend_backward(const float* go, const float* a, float* ga, int64_t hidden, int64_t batch) {
    const int64_t part = hidden * LANES;
    float *raw = scratch(0, 3 * part), *weights = scratch(1, part), *work = scratch(2, 6 * part);
    float *qkv = work, *slope = work + 3 * part;
    for (int64_t start = 0; start < batch; start += LANES) {
        const int64_t count = batch - start < LANES ? batch - start : static_cast<int64_t>(LANES);
        lanes_in(a + start, raw, 3 * hidden, batch, count);
        for (int64_t n = 0; n < 3 * part; ++n) qkv[n] = mish(raw[n]), slope[n] = 0.0f;
        const float *q = qkv, *k = qkv + part, *v = qkv + 2 * part;
        float *gq = slope, *gk = slope + part, *gv = slope + 2 * part;
        for (int64_t i = 0; i < hidden; ++i) {
            float g[LANES], mean[LANES] = {}, gq_i[LANES] = {};
            for (int64_t l = 0; l < LANES; ++l) g[l] = l < count ? go[i * batch + start + l] : 0.0f;
            attention_row(q + i * LANES, k, weights, hidden);
            for (int64_t j = 0; j < hidden; ++j)
                for (int64_t l = 0; l < LANES; ++l) {
                    const float p = weights[j * LANES + l];
                    mean[l] += p * v[j * LANES + l];
                    gv[j * LANES + l] += p * g[l];
                }
            for (int64_t j = 0; j < hidden; ++j)
                for (int64_t l = 0; l < LANES; ++l) {
                    const float gs = weights[j * LANES + l] * g[l] * (v[j * LANES + l] - mean[l]);
                    gq_i[l] += gs * k[j * LANES + l];
                    gk[j * LANES + l] += gs * q[i * LANES + l];
                }
            for (int64_t l = 0; l < LANES; ++l) gq[i * LANES + l] = gq_i[l];
        }
        for (int64_t n = 0; n < 3 * part; ++n) slope[n] *= mish_slope(raw[n]);
        for (int64_t i = 0; i < 3 * hidden; ++i)
            for (int64_t l = 0; l < count; ++l) ga[i * batch + start + l] = slope[i * LANES + l];
    }
}

}  // namespace

extern "C" {

// out = the rows of x one below the other, plus those of one or two more tensors (or none: null)
void gather_rows(ROWS(x), const float* plus, const float* more, float* __restrict__ out, int64_t rows, int64_t size) {
    Rows from = READER(x, size);
    for (int64_t row = 0; row < rows; ++row, out += size) {
        const float* __restrict__ x = from.next();
        if (plus == nullptr) {
            std::memcpy(out, x, size * sizeof(float));
        } else if (more == nullptr) {
            for (int64_t n = 0; n < size; ++n) out[n] = x[n] + plus[n];
            plus += size;
        } else {
            for (int64_t n = 0; n < size; ++n) out[n] = x[n] + plus[n] + more[n];
            plus += size, more += size;
        }
    }
}

// out = mish(BN(depthwise 3x3 of x)), plus the rows of skip where there are any.  Training: mean and variance of each
// row are written, else they are read.
void depthwise_forward(ROWS(x), ROWS(skip), const float* w, const float* gamma, const float* beta, float* out,
                       float* mean, float* variance, int64_t rows, int64_t height, int64_t width, int64_t batch,
                       int training, float eps) {
    const int64_t size = height * width * batch;
    float* y = scratch(0, size);
    const float* zeros = scratch(7, width * batch);
    Rows from = READER(x, size), added = READER(skip, size);
    for (int64_t row = 0; row < rows; ++row, out += size, w += 9) {
        convolve(from.next(), w, zeros, y, height, width, batch);
        norm_row(y, out, size, gamma[row], beta[row], mean + row, variance + row, training, true, eps);
        if (skip_sources != nullptr) {
            const float* __restrict__ plus = added.next();
            for (int64_t n = 0; n < size; ++n) out[n] += plus[n];
        }
    }
}

// gx = gradient by x, plus the rows of up to three more inputs.  The convolution is done again instead of keeping its
// result: nine multiply-adds cost less than a trip to memory.
void depthwise_backward(ROWS(go), ROWS(x), ROWS(first), ROWS(second), ROWS(third), const float* w, const float* gamma,
                        const float* beta, const float* mean, const float* variance, float* gx, float* gw,
                        float* g_gamma, float* g_beta, int64_t rows, int64_t height, int64_t width, int64_t batch,
                        float eps) {
    const int64_t line = width * batch, size = height * line;
    float *y = scratch(0, size), *g = scratch(1, size);
    const float* zeros = scratch(7, line);
    Rows slope = READER(go, size), from = READER(x, size);
    Rows plus[3] = {READER(first, size), READER(second, size), READER(third, size)};
    const int added = (first_sources != nullptr) + (second_sources != nullptr) + (third_sources != nullptr);
    for (int64_t row = 0; row < rows; ++row, gx += size, w += 9, gw += 9) {
        const float* in = from.next();
        convolve(in, w, zeros, y, height, width, batch);
        norm_row_backward(y, slope.next(), g, size, gamma[row], beta[row], mean[row], variance[row], true, eps,
                          g_gamma + row, g_beta + row);
        float flipped[9];
        for (int t = 0; t < 9; ++t) flipped[t] = w[8 - t];
        convolve(g, flipped, zeros, gx, height, width, batch);
        for (int i = 0; i < added; ++i) {
            const float* __restrict__ more = plus[i].next();
            for (int64_t n = 0; n < size; ++n) gx[n] += more[n];
        }
        double sums[9] = {};
        for (int64_t i = 0; i < height; ++i)
            weight_gradient(i > 0 ? in + (i - 1) * line : zeros, in + i * line,
                            i + 1 < height ? in + (i + 1) * line : zeros, g + i * line, sums, width, batch);
        for (int t = 0; t < 9; ++t) gw[t] = static_cast<float>(sums[t]);
    }
}

// out = BN(W x), or mish of it, network by network; members has (in, out) channels of each; y = W x is kept.
void matmul_forward(ROWS(x), const int64_t* members, const float* w, const float* gamma, const float* beta, float* y,
                    float* out, float* mean, float* variance, int64_t networks, int64_t size, int training,
                    int mish_after, float eps) {
    Rows from = READER(x, size);
    for (int64_t m = 0; m < networks; ++m, members += 2) {
        const int64_t in = members[0], outs = members[1];
        const float** x = addresses<const float>(0, in);
        float** to = addresses<float>(1, outs);
        for (int64_t c = 0; c < in; ++c) x[c] = from.next();
        for (int64_t o = 0; o < outs; ++o) to[o] = y + o * size;
        product(w, in, 1, x, to, in, outs, size);
        for (int64_t o = 0; o < outs; ++o, y += size, out += size)
            norm_row(y, out, size, *gamma++, *beta++, mean++, variance++, training, mish_after, eps);
        w += in * outs;
    }
}

// Without gx, the gradient by x is not wanted (the stem).
void matmul_backward(ROWS(go), ROWS(x), const int64_t* members, const float* w, const float* gamma, const float* beta,
                     const float* mean, const float* variance, const float* y, float* gx, float* gw, float* g_gamma,
                     float* g_beta, int64_t networks, int64_t size, int mish_after, float eps) {
    Rows slope = READER(go, size), from = READER(x, size);
    for (int64_t m = 0; m < networks; ++m, members += 2) {
        const int64_t in = members[0], outs = members[1];
        float *copy = scratch(0, size), *g = scratch(1, outs * size);
        const float **x = addresses<const float>(0, in), **gy = addresses<const float>(2, outs);
        float** to = addresses<float>(1, in);
        for (int64_t o = 0; o < outs; ++o, y += size) {
            std::memcpy(copy, y, size * sizeof(float));
            norm_row_backward(copy, slope.next(), g + o * size, size, *gamma++, *beta++, *mean++, *variance++,
                              mish_after, eps, g_gamma++, g_beta++);
            gy[o] = g + o * size;
        }
        for (int64_t c = 0; c < in; ++c) x[c] = from.next();
        if (gx != nullptr)
            for (int64_t c = 0; c < in; ++c, gx += size) to[c] = gx;
        outer(gy, x, gw, in, outs, size, w, gx == nullptr ? nullptr : to);
        w += in * outs, gw += in * outs;
    }
}

// Attention: out = x relu6(raw + 3) / 6 with raw = Wb attend(Wqkv pooled).  members has (channels, hidden) of each
// network, whose weights lie one after the other: q, k, v (3 hidden, channels), then Wb (channels, hidden).  pooled and
// raw (rows, batch), a (3 hidden of all, batch) and mixed (hidden of all, batch) are kept.
void attention_forward(ROWS(x), const int64_t* members, const float* w, float* pooled, float* a, float* mixed,
                       float* raw, float* out, int64_t networks, int64_t pixels, int64_t batch) {
    const int64_t size = pixels * batch;
    const float share = 1.0f / static_cast<float>(pixels);
    Rows from = READER(x, size);
    for (int64_t m = 0; m < networks; ++m, members += 2) {
        const int64_t c = members[0], hidden = members[1];
        const float** x = addresses<const float>(0, c);
        const float** in = addresses<const float>(2, c);
        float** to = addresses<float>(1, c + 3 * hidden);
        for (int64_t i = 0; i < c; ++i) {
            x[i] = from.next();
            float* __restrict__ mean = pooled + i * batch;
            std::memset(mean, 0, batch * sizeof(float));
            for (int64_t p = 0; p < pixels; ++p)
                for (int64_t n = 0; n < batch; ++n) mean[n] += x[i][p * batch + n];
            for (int64_t n = 0; n < batch; ++n) mean[n] *= share;
            in[i] = mean;
        }
        for (int64_t i = 0; i < 3 * hidden; ++i) to[i] = a + i * batch;
        product(w, c, 1, in, to, c, 3 * hidden, batch);
        attend(a, mixed, hidden, batch);
        for (int64_t i = 0; i < hidden; ++i) in[i] = mixed + i * batch;
        for (int64_t i = 0; i < c; ++i) to[i] = raw + i * batch;
        product(w + 3 * hidden * c, hidden, 1, in, to, hidden, c, batch);
        float* gate = scratch(0, batch);
        for (int64_t i = 0; i < c; ++i) {
            for (int64_t n = 0; n < batch; ++n) {
                const float v = raw[i * batch + n] + 3.0f;
                const float bounded_below = v < 0.0f ? 0.0f : v;
                gate[n] = (bounded_below > 6.0f ? 6.0f : bounded_below) * (1.0f / 6.0f);
            }
            for (int64_t p = 0; p < pixels; ++p, out += batch)
                for (int64_t n = 0; n < batch; ++n) out[n] = x[i][p * batch + n] * gate[n];
        }
        pooled += c * batch, raw += c * batch, a += 3 * hidden * batch, mixed += hidden * batch;
        w += 4 * hidden * c;
    }
}

void attention_backward(ROWS(go), ROWS(x), const int64_t* members, const float* w, const float* pooled, const float* a,
                        const float* mixed, const float* raw, float* gx, float* gw, int64_t networks, int64_t pixels,
                        int64_t batch) {
    const int64_t size = pixels * batch;
    const float share = 1.0f / static_cast<float>(pixels);
    Rows slope = READER(go, size), from = READER(x, size);
    for (int64_t m = 0; m < networks; ++m, members += 2) {
        const int64_t c = members[0], hidden = members[1], wide = c > 3 * hidden ? c : 3 * hidden;
        const float** slopes_out = addresses<const float>(0, c);
        const float** left = addresses<const float>(2, wide);
        const float** right = addresses<const float>(3, wide);
        float** to = addresses<float>(1, c);
        float *g_raw = scratch(3, c * batch), *g_pooled = scratch(4, c * batch), *g_mixed = scratch(5, hidden * batch);
        float* ga = scratch(6, 3 * hidden * batch);
        for (int64_t i = 0; i < c; ++i) {
            const float *g = slope.next(), *in = from.next();
            float* __restrict__ sum = g_raw + i * batch;
            std::memset(sum, 0, batch * sizeof(float));
            for (int64_t p = 0; p < pixels; ++p)
                for (int64_t n = 0; n < batch; ++n) sum[n] += g[p * batch + n] * in[p * batch + n];
            for (int64_t n = 0; n < batch; ++n) {
                const float v = raw[i * batch + n];
                sum[n] *= (v > -3.0f) & (v < 3.0f) ? 1.0f / 6.0f : 0.0f;
            }
            slopes_out[i] = g, left[i] = sum;
        }
        const float* w_back = w + 3 * hidden * c;
        for (int64_t i = 0; i < hidden; ++i) right[i] = mixed + i * batch, to[i] = g_mixed + i * batch;
        outer(left, right, gw + 3 * hidden * c, hidden, c, batch);
        product(w_back, 1, hidden, left, to, c, hidden, batch);
        attend_backward(g_mixed, a, ga, hidden, batch);
        for (int64_t i = 0; i < 3 * hidden; ++i) left[i] = ga + i * batch;
        for (int64_t i = 0; i < c; ++i) right[i] = pooled + i * batch, to[i] = g_pooled + i * batch;
        outer(left, right, gw, c, 3 * hidden, batch);
        product(w, 1, c, left, to, 3 * hidden, c, batch);
        float* gate = scratch(0, batch);
        for (int64_t i = 0; i < c; ++i) {
            const float* __restrict__ g = slopes_out[i];
            const float* __restrict__ through = g_pooled + i * batch;
            for (int64_t n = 0; n < batch; ++n) {
                const float v = raw[i * batch + n] + 3.0f;
                const float bounded_below = v < 0.0f ? 0.0f : v;
                gate[n] = (bounded_below > 6.0f ? 6.0f : bounded_below) * (1.0f / 6.0f);
            }
            for (int64_t p = 0; p < pixels; ++p, gx += batch, g += batch)
                for (int64_t n = 0; n < batch; ++n) gx[n] = g[n] * gate[n] + through[n] * share;
        }
        pooled += c * batch, raw += c * batch, a += 3 * hidden * batch, mixed += hidden * batch;
        w += 4 * hidden * c, gw += 4 * hidden * c;
    }
}

}  // extern "C"
