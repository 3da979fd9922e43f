// The fused kernels of snas/networks/kernels.py for the CPU: the same functions, one pass over memory each.
//
// A tensor is (rows, height, width, batch) with the batch innermost: a row is one channel of one network.  Every loop
// below runs over a whole row before it goes to the next, so that a row's scratch stays in the cache, and its innermost
// loop runs over contiguous memory, so that the compiler makes vector code of it for whatever machine it runs on.
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
    const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
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

float* scratch(int which, int64_t size) {
    static thread_local std::vector<float> buffers[4];
    if (static_cast<int64_t>(buffers[which].size()) < size) buffers[which].assign(size, 0.0f);
    return buffers[which].data();
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

}  // namespace

extern "C" {

// out = mish(BN(depthwise 3x3 of x)) (+ x).  Training: mean and variance of each row are written, else they are read.
void depthwise_forward(const float* x, const float* w, const float* gamma, const float* beta, float* out, float* mean,
                       float* variance, int64_t rows, int64_t height, int64_t width, int64_t batch, int training,
                       int skip, float eps) {
    const int64_t size = height * width * batch;
    float* y = scratch(0, size);
    const float* zeros = scratch(3, width * batch);
    for (int64_t row = 0; row < rows; ++row, x += size, out += size, w += 9) {
        convolve(x, w, zeros, y, height, width, batch);
        if (training) moments(y, size, mean + row, variance + row);
        const float scale = gamma[row] / std::sqrt(variance[row] + eps), shift = beta[row] - mean[row] * scale;
        if (skip)
            for (int64_t n = 0; n < size; ++n) out[n] = mish(y[n] * scale + shift) + x[n];
        else
            for (int64_t n = 0; n < size; ++n) out[n] = mish(y[n] * scale + shift);
    }
}

// The convolution is done again instead of keeping its result: nine multiply-adds cost less than a trip to memory.
void depthwise_backward(const float* go, const float* x, const float* w, const float* gamma, const float* beta,
                        const float* mean, const float* variance, float* gx, float* gw, float* g_gamma, float* g_beta,
                        int64_t rows, int64_t height, int64_t width, int64_t batch, int skip, float eps) {
    const int64_t line = width * batch, size = height * line;
    float *y = scratch(0, size), *g = scratch(1, size);
    const float* zeros = scratch(3, line);
    for (int64_t row = 0; row < rows; ++row, x += size, go += size, gx += size, w += 9, gw += 9) {
        convolve(x, w, zeros, y, height, width, batch);
        const float rstd = 1.0f / std::sqrt(variance[row] + eps);
        double by_beta, by_gamma;
        slopes(y, go, g, size, mean[row], rstd, gamma[row], beta[row], true, &by_beta, &by_gamma);
        g_beta[row] = static_cast<float>(by_beta), g_gamma[row] = static_cast<float>(by_gamma);
        const float scale = rstd * gamma[row], a = static_cast<float>(by_beta / size),
                    c = static_cast<float>(by_gamma / size);
        for (int64_t n = 0; n < size; ++n) g[n] = scale * (g[n] - a - y[n] * c);
        float flipped[9];
        for (int t = 0; t < 9; ++t) flipped[t] = w[8 - t];
        convolve(g, flipped, zeros, gx, height, width, batch);
        if (skip)
            for (int64_t n = 0; n < size; ++n) gx[n] += go[n];
        double sums[9] = {};
        for (int64_t i = 0; i < height; ++i)
            weight_gradient(i > 0 ? x + (i - 1) * line : zeros, x + i * line,
                            i + 1 < height ? x + (i + 1) * line : zeros, g + i * line, sums, width, batch);
        for (int t = 0; t < 9; ++t) gw[t] = static_cast<float>(sums[t]);
    }
}

// out = BN(y), or mish of it; a row is `size` long
void norm_forward(const float* y, const float* gamma, const float* beta, float* out, float* mean, float* variance,
                  int64_t rows, int64_t size, int training, int mish_after, float eps) {
    for (int64_t row = 0; row < rows; ++row, y += size, out += size) {
        if (training) moments(y, size, mean + row, variance + row);
        const float scale = gamma[row] / std::sqrt(variance[row] + eps), shift = beta[row] - mean[row] * scale;
        if (mish_after)
            for (int64_t n = 0; n < size; ++n) out[n] = mish(y[n] * scale + shift);
        else
            for (int64_t n = 0; n < size; ++n) out[n] = y[n] * scale + shift;
    }
}

void norm_backward(const float* go, const float* y, const float* gamma, const float* beta, const float* mean,
                   const float* variance, float* gy, float* g_gamma, float* g_beta, int64_t rows, int64_t size,
                   int mish_after, float eps) {
    float* normal = scratch(0, size);
    for (int64_t row = 0; row < rows; ++row, y += size, go += size, gy += size) {
        const float rstd = 1.0f / std::sqrt(variance[row] + eps);
        double by_beta, by_gamma;
        std::memcpy(normal, y, size * sizeof(float));
        slopes(normal, go, gy, size, mean[row], rstd, gamma[row], beta[row], mish_after, &by_beta, &by_gamma);
        g_beta[row] = static_cast<float>(by_beta), g_gamma[row] = static_cast<float>(by_gamma);
        const float scale = rstd * gamma[row], a = static_cast<float>(by_beta / size),
                    c = static_cast<float>(by_gamma / size);
        for (int64_t n = 0; n < size; ++n) gy[n] = scale * (gy[n] - a - normal[n] * c);
    }
}

// out = x times gate, one gate for each row and image
void gate_forward(const float* x, const float* gate, float* out, int64_t rows, int64_t pixels, int64_t batch) {
    for (int64_t row = 0; row < rows; ++row, gate += batch)
        for (int64_t p = 0; p < pixels; ++p, x += batch, out += batch)
            for (int64_t n = 0; n < batch; ++n) out[n] = x[n] * gate[n];
}

// g_gate = sum over pixels of go x
void gate_slope(const float* go, const float* x, float* __restrict__ g_gate, int64_t rows, int64_t pixels,
                int64_t batch) {
    for (int64_t row = 0; row < rows; ++row, g_gate += batch) {
        std::memset(g_gate, 0, batch * sizeof(float));
        for (int64_t p = 0; p < pixels; ++p, x += batch, go += batch)
            for (int64_t n = 0; n < batch; ++n) g_gate[n] += go[n] * x[n];
    }
}

// gx = go gate + g_pooled / pixels: through the product and through the average pool
void gate_backward(const float* go, const float* gate, const float* g_pooled, float* gx, int64_t rows, int64_t pixels,
                   int64_t batch) {
    const float share = 1.0f / static_cast<float>(pixels);
    for (int64_t row = 0; row < rows; ++row, gate += batch, g_pooled += batch)
        for (int64_t p = 0; p < pixels; ++p, go += batch, gx += batch)
            for (int64_t n = 0; n < batch; ++n) gx[n] = go[n] * gate[n] + g_pooled[n] * share;
}

// Attention of single vectors.  a is (networks, 3 hidden, batch): q, k and v before their mish.  Per image:
// out_i = sum_j softmax_j(q_i k_j) v_j.  Images stand in lanes of 16.
enum { LANES = 16 };

static void lanes_in(const float* from, float* to, int64_t rows, int64_t batch, int64_t count) {
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

void attention_forward(const float* a, float* out, int64_t networks, int64_t hidden, int64_t batch) {
    float* qkv = scratch(0, 3 * hidden * LANES);
    float* weights = scratch(1, hidden * LANES);
    for (int64_t m = 0; m < networks; ++m, a += 3 * hidden * batch, out += hidden * batch)
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

void attention_backward(const float* go, const float* a, float* ga, int64_t networks, int64_t hidden, int64_t batch) {
    const int64_t part = hidden * LANES;
    float *raw = scratch(0, 3 * part), *weights = scratch(1, part), *work = scratch(2, 6 * part);
    float *qkv = work, *slope = work + 3 * part;
    for (int64_t m = 0; m < networks; ++m, a += 3 * hidden * batch, ga += 3 * hidden * batch, go += hidden * batch)
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

}  // extern "C"
