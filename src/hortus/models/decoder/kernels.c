/* One decoding step of a causal network on the CPU: a list of operations, run by one team of threads.

   With few rows a step is bound by reading the weights once. Stock kernels for 1-16 rows reach a third of the
   memory's speed or less; the tiles below keep a few weight rows and all their sums in registers. All of a
   step runs inside one parallel region, so the cost between two operations is a barrier, not a dispatch.

   Legend: rows B, in K, out O, heads n, head width d. Everything is fp32 and row-major; vectors are the
   compiler's own, so the same text serves AVX2, AVX-512 and NEON. */
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
#define WIDTH 16
#else
#define WIDTH 8
#endif
typedef float vec __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));
#ifdef __clang__
#define MIX(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
typedef int32_t indices __attribute__((vector_size(16)));
#define MIX(a, b, i, j, k, l) __builtin_shuffle(a, b, (indices){i, j, k, l})
#endif
#define LOAD(p) (*(const vec *)(p))
#define INLINE static inline __attribute__((always_inline))

enum { EMBED, NORM, LINEAR, ATTEND };

typedef struct {
    int64_t kind, in, out, gelu, heads, capacity;
    const float *input, *weight, *bias, *residual;
    float *output, *keys, *values, *scratch;
    const float *slopes;
    double epsilon;
} Operation;

INLINE float sum_of(vec v) {
    float s = 0;
    for (int i = 0; i < WIDTH; i++) s += v[i];
    return s;
}

INLINE float dot(const float *a, const float *b, int64_t n) {
    vec sum = {0};
    int64_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH) sum += LOAD(a + i) * LOAD(b + i);
    float s = sum_of(sum);
    for (; i < n; i++) s += a[i] * b[i];
    return s;
}

/* e^x by e^r 2^n, |r| <= ln(2)/2; relative error about 2e-7; branch-free, so loops over it vectorise. */
INLINE float exponential(float x) {
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float shifted = x * 1.44269504f + 12582912.0f; /* adding 1.5 * 2^23 rounds to an integer */
    float n = shifted - 12582912.0f;
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    union { int32_t i; float f; } scale = {((int32_t)n + 127) << 23};
    return p * scale.f;
}

/* The sums of four vectors as one vector of four. */
INLINE quad four_sums(const vec v[4]) {
    quad q[4];
    for (int r = 0; r < 4; r++) {
        union { vec whole; quad part[WIDTH / 4]; } u = {v[r]};
        q[r] = u.part[0];
        for (int i = 1; i < WIDTH / 4; i++) q[r] += u.part[i];
    }
    quad low = MIX(q[0], q[1], 0, 4, 1, 5) + MIX(q[0], q[1], 2, 6, 3, 7);
    quad high = MIX(q[2], q[3], 0, 4, 1, 5) + MIX(q[2], q[3], 2, 6, 3, 7);
    return MIX(low, high, 0, 1, 4, 5) + MIX(low, high, 2, 3, 6, 7);
}

/* Dot products of four neighbouring rows of length n with x. */
INLINE quad four_dots(const float *rows, const float *x, int64_t n) {
    vec sums[4];
    memset(sums, 0, sizeof sums);
    int64_t i = 0;
    for (; i + WIDTH <= n; i += WIDTH)
        for (int r = 0; r < 4; r++) sums[r] += LOAD(rows + r * n + i) * LOAD(x + i);
    quad s = four_sums(sums);
    for (; i < n; i++)
        for (int r = 0; r < 4; r++) s[r] += rows[r * n + i] * x[i];
    return s;
}

/* Four weight rows from o on times M input rows: 4 M sums in registers, M constant in every call. */
INLINE void tile(const Operation *op, int64_t o, int64_t row, const int M, const int ahead) {
    int64_t k = op->in, i = 0;
    const float *w = op->weight + o * k, *x = op->input + row * k;
    vec sums[3][4];
    memset(sums, 0, sizeof sums);
    for (; i + WIDTH <= k; i += WIDTH) {
        vec inputs[3]; /* with 12 sums and one weight these fill 16 registers */
        for (int m = 0; m < M; m++) inputs[m] = LOAD(x + m * k + i);
        for (int r = 0; r < 4; r++) {
            vec weights = LOAD(w + r * k + i);
            if (ahead) __builtin_prefetch(w + (r + 4) * k + i);
            for (int m = 0; m < M; m++) sums[m][r] += weights * inputs[m];
        }
    }
    for (int m = 0; m < M; m++) {
        int64_t at = (row + m) * op->out + o;
        quad s = four_sums(sums[m]);
        for (int64_t j = i; j < k; j++)
            for (int r = 0; r < 4; r++) s[r] += w[r * k + j] * x[m * k + j];
        if (op->bias) s += *(const quad *)(op->bias + o);
        if (op->residual) s += *(const quad *)(op->residual + at);
        *(quad *)(op->output + at) = s;
    }
}

static void linear(const Operation *op, int64_t rows, int thread, int threads) {
    int64_t begin = op->out * thread / threads, end = op->out * (thread + 1) / threads, o = begin;
    for (; o + 4 <= end; o += 4)
        for (int64_t row = 0; row < rows;) {
            int64_t left = rows - row;
            int ahead = row == 0; /* the first tile reads the weights from memory, the others from cache */
            if (left == 1) tile(op, o, row, 1, 0), row += 1;
            else if (left == 2 || left == 4) ahead ? tile(op, o, row, 2, 1) : tile(op, o, row, 2, 0), row += 2;
            else ahead ? tile(op, o, row, 3, 1) : tile(op, o, row, 3, 0), row += 3;
        }
    for (; o < end; o++)
        for (int64_t row = 0; row < rows; row++) {
            float s = dot(op->weight + o * op->in, op->input + row * op->in, op->in);
            int64_t at = row * op->out + o;
            op->output[at] = s + (op->bias ? op->bias[o] : 0) + (op->residual ? op->residual[at] : 0);
        }
    if (op->gelu) /* x/2 (1 + tanh u) = x / (1 + e^-2u), u = 0.79788456 x (1 + 0.044715 x^2) */
        for (int64_t row = 0; row < rows; row++) {
            float *y = op->output + row * op->out;
            for (int64_t j = begin; j < end; j++) {
                float x = y[j];
                y[j] = x / (1.0f + exponential(-1.59576912f * x * (1.0f + 0.044715f * x * x)));
            }
        }
}

static void norm(const Operation *op, int64_t rows, int thread, int threads) {
    int64_t n = op->in;
    for (int64_t row = thread; row < rows; row += threads) {
        const float *x = op->input + row * n;
        float *y = op->output + row * n;
        double mean = 0, square = 0;
        for (int64_t j = 0; j < n; j++) mean += x[j];
        mean /= n;
        for (int64_t j = 0; j < n; j++) square += (x[j] - mean) * (x[j] - mean);
        float scale = (float)(1.0 / sqrt(square / n + op->epsilon)), middle = (float)mean;
        for (int64_t j = 0; j < n; j++) y[j] = (x[j] - middle) * scale * op->weight[j] + op->bias[j];
    }
}

/* input (B, n, 3, d): query, key and value of the new position; keys and values (B, n, capacity, d). */
static void attend(const Operation *op, int64_t rows, int64_t position, const int64_t *first, int thread,
                   int threads) {
    int64_t d = op->in, heads = op->heads, items = rows * heads;
    float scale = 1.0f / sqrtf((float)d), *scores = op->scratch + thread * op->capacity;
    for (int64_t item = items * thread / threads; item < items * (thread + 1) / threads; item++) {
        const float *query = op->input + item * 3 * d;
        float *keys = op->keys + item * op->capacity * d, *values = op->values + item * op->capacity * d;
        memcpy(keys + position * d, query + d, d * sizeof(float));
        memcpy(values + position * d, query + 2 * d, d * sizeof(float));
        int64_t start = first[item / heads];
        float slope = op->slopes[item % heads], most = -INFINITY, total = 0, *y = op->output + item * d;
        int64_t p = start;
        for (; p + 4 <= position + 1; p += 4) *(quad *)(scores + p) = four_dots(keys + p * d, query, d);
        for (; p <= position; p++) scores[p] = dot(query, keys + p * d, d);
        for (p = start; p <= position; p++) {
            scores[p] = scores[p] * scale + slope * (float)(p - start);
            most = scores[p] > most ? scores[p] : most;
        }
        for (p = start; p <= position; p++) scores[p] = exponential(scores[p] - most);
        memset(y, 0, d * sizeof(float));
        for (p = start; p <= position; p++) {
            total += scores[p];
            for (int64_t j = 0; j < d; j++) y[j] += scores[p] * values[p * d + j];
        }
        for (int64_t j = 0; j < d; j++) y[j] /= total;
    }
}

/* Run a step for B rows whose new tokens take `position`; row b sees the positions from first[b] on. */
void hortus_step(const Operation *operations, int64_t count, int64_t rows, int64_t position,
                 const int64_t *tokens, const int64_t *first, int64_t team) {
#pragma omp parallel num_threads((int)team)
    {
        int thread = omp_get_thread_num(), threads = omp_get_num_threads();
        for (int64_t number = 0; number < count; number++) {
            const Operation *op = operations + number;
            if (op->kind == LINEAR) linear(op, rows, thread, threads);
            else if (op->kind == NORM) norm(op, rows, thread, threads);
            else if (op->kind == ATTEND) attend(op, rows, position, first, thread, threads);
            else
                for (int64_t row = thread; row < rows; row += threads)
                    memcpy(op->output + row * op->out, op->weight + tokens[row] * op->out, 4 * op->out);
#pragma omp barrier
        }
    }
}
