/* One decoding step of a causal network on the CPU: a list of operations, run by one team of threads.

   With few rows a step is bound by reading the weights once. Stock kernels for 1-16 rows reach a third of the
   memory's speed or less; the tiles below keep a few weight rows and all their sums in registers. All of a
   step runs inside one parallel region, so the cost between two operations is a barrier, not a dispatch.

   Weights are fp32, bf16, or int8 with one fp32 scale an output row. A step reads two or four times fewer bytes
   of the narrow kinds and needs no bf16 or int8 units: bf16 is widened in registers, int8 meets inputs of 16
   bits (where the processor multiplies such pairs; it is widened elsewhere). All else is fp32
   and row-major; vectors are the compiler's own, so the same text serves AVX2, AVX-512 and NEON.

   Keys and values lie in blocks of `block` positions, (blocks, n, block, d) a layer; a row's table names the
   blocks of its positions in order. A cache of one long block a row is the plain static one.

   Legend: rows B, in K, out O, heads n, head width d. */
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
typedef int32_t words __attribute__((vector_size(4 * WIDTH)));
typedef uint32_t bits __attribute__((vector_size(4 * WIDTH)));
typedef uint16_t halves __attribute__((vector_size(2 * WIDTH), aligned(2), may_alias));
typedef int8_t bytes __attribute__((vector_size(WIDTH), aligned(1), may_alias));
#ifdef __clang__
#define MIX(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
typedef int32_t indices __attribute__((vector_size(16)));
#define MIX(a, b, i, j, k, l) __builtin_shuffle(a, b, (indices){i, j, k, l})
#endif
#define LOAD(p) (*(const vec *)(p))
/* Eight or sixteen bytes as words: gcc 12 turns the portable form into byte-wise moves. */
#if defined(__AVX512BW__)
#include <immintrin.h>
#define WIDENED(p) ((words)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(p))))
#define SHORTS(p) _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(p)))
#define PAIRS(a, p) ((words)_mm512_madd_epi16(a, _mm512_loadu_si512(p)))
#elif defined(__AVX2__) && !defined(__AVX512F__)
#include <immintrin.h>
#define WIDENED(p) ((words)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(p))))
#define SHORTS(p) _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(p)))
#define PAIRS(a, p) ((words)_mm256_madd_epi16(a, _mm256_loadu_si256((const __m256i *)(p))))
#else
#define WIDENED(p) __builtin_convertvector(*(const bytes *)(p), words)
#endif
#define INLINE static inline __attribute__((always_inline))

enum { EMBED, NORM, LINEAR, STORE, ATTEND };
enum { FLOAT32, BFLOAT16, INT8 };
enum { NONE, GELU, RELU };

typedef struct {
    int64_t kind, in, out, activation, heads, block, capacity, type;
    int64_t scored, stride;  /* scored: only rows that want logits; stride: floats between two heads' inputs */
    const float *input;
    const void *weight;
    const float *scale, *bias, *residual, *factor;
    float *output, *keys, *values, *scratch;
    const float *key, *value, *slopes, *distances;
    const int64_t *ends;
    double epsilon, scaling;
} Operation;

typedef struct {
    int64_t rows, scored, width; /* width: blocks a table has room for */
    const int64_t *tokens, *positions, *first, *tables;
    float *wide; /* a thread's room for four weight rows as fp32, or for all input rows as int16 */
    int64_t stride;
} Batch;

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

/* WIDTH weights from number i on, as fp32 (int8 ones without their scale). */
INLINE vec weights_at(const char *w, int64_t i, const int type) {
    if (type == FLOAT32) return LOAD((const float *)w + i);
    if (type == BFLOAT16) return (vec)(__builtin_convertvector(*(const halves *)(w + 2 * i), bits) << 16);
    return __builtin_convertvector(WIDENED(w + i), vec);
}

INLINE float weight_at(const char *w, int64_t i, const int type) {
    if (type == FLOAT32) return ((const float *)w)[i];
    if (type == INT8) return ((const int8_t *)w)[i];
    union { uint32_t bits; float value; } wide = {(uint32_t)((const uint16_t *)w)[i] << 16};
    return wide.value;
}

#define BYTES(type) ((type) == FLOAT32 ? 4 : (type) == BFLOAT16 ? 2 : 1)

/* What a tile asks for ahead of its use: nothing, the weight rows that follow its own, or `pace` bytes a step
   from `next` on. The last spreads the reading of the next weights over all tiles of these: reading and
   arithmetic then take turns in the processor, not in the program. */
enum { NOTHING, ROWS, SHARE };

/* The N weight rows w, numbered from o on, times M input rows: N M sums in registers; N, M, type and ahead are
   constant in every call. */
INLINE void tile(const Operation *op, const char *w, int64_t o, int64_t row, const int N, const int M,
                 const int type, const int ahead, const char *next, int64_t pace) {
    int64_t k = op->in, i = 0;
    const float *x = op->input + row * k;
    vec sums[3][4];
    memset(sums, 0, sizeof sums);
    for (; i + WIDTH <= k; i += WIDTH) {
        vec inputs[3]; /* with 12 sums and one weight these fill 16 registers */
        for (int m = 0; m < M; m++) inputs[m] = LOAD(x + m * k + i);
        if (ahead == SHARE) __builtin_prefetch(next, 0, 2), next += pace;
        for (int r = 0; r < N; r++) {
            vec weights = weights_at(w, r * k + i, type);
            if (ahead == ROWS && !(i * BYTES(type) & 63)) /* once a cache line */
                __builtin_prefetch(w + ((r + 4) * k + i) * BYTES(type));
            for (int m = 0; m < M; m++) sums[m][r] += weights * inputs[m];
        }
    }
    for (int m = 0; m < M; m++) {
        float s[4];
        if (N == 4) *(quad *)s = four_sums(sums[m]);
        else s[0] = sum_of(sums[m][0]);
        for (int64_t j = i; j < k; j++)
            for (int r = 0; r < N; r++) s[r] += weight_at(w, r * k + j, type) * x[m * k + j];
        for (int r = 0; r < N; r++) {
            int64_t at = (row + m) * op->out + o + r;
            if (op->scale) s[r] *= op->scale[o + r];
            if (op->bias) s[r] += op->bias[o + r];
            if (op->residual) s[r] += op->residual[at];
            op->output[at] = s[r];
        }
    }
}

#ifdef PAIRS
/* int8 rows times inputs of 16 bits, x = step q with step = max|x| / 32767: half the instructions of widening
   to fp32, at a rounding of the inputs that is 250 times finer than that of the weights. The sums are exact
   integers, for 4096 products at a time, which is as far as 32 bits reach. */
INLINE void integer_tile(const Operation *op, const char *w, int64_t o, int64_t row, const int16_t *q,
                         const float *steps, const int M, const int ahead) {
    int64_t k = op->in, i = 0;
    quad totals[3];
    memset(totals, 0, sizeof totals);
    while (i < k) {
        int64_t end = i + 4096 < k ? i + 4096 : k;
        words sums[3][4];
        memset(sums, 0, sizeof sums);
        if (M == 1) { /* one row after the other, as memory likes it; the order of exact sums is free */
            int64_t stop = i + (end - i) / (8 * WIDTH) * (8 * WIDTH);
            for (int r = 0; r < 4; r++) {
                words parts[4];
                memset(parts, 0, sizeof parts);
                for (int64_t j = i; j < stop; j += 8 * WIDTH) {
                    if (ahead) __builtin_prefetch(w + r * k + j + 1024);
                    for (int p = 0; p < 4; p++)
                        parts[p] += PAIRS(SHORTS(w + r * k + j + 2 * WIDTH * p), q + j + 2 * WIDTH * p);
                }
                sums[0][r] = (parts[0] + parts[1]) + (parts[2] + parts[3]);
            }
            i = stop;
        }
        for (; i + 2 * WIDTH <= end; i += 2 * WIDTH)
            for (int r = 0; r < 4; r++) {
                if (ahead && !(i & 63)) __builtin_prefetch(w + (r + 4) * k + i);
                for (int m = 0; m < M; m++) sums[m][r] += PAIRS(SHORTS(w + r * k + i), q + m * k + i);
            }
        for (int m = 0; m < M; m++) {
            vec floats[4];
            for (int r = 0; r < 4; r++) floats[r] = __builtin_convertvector(sums[m][r], vec);
            totals[m] += four_sums(floats);
            for (int64_t j = i; j < end && end == k; j++)
                for (int r = 0; r < 4; r++) totals[m][r] += (float)((int8_t)w[r * k + j] * q[m * k + j]);
        }
        i = end;
    }
    for (int m = 0; m < M; m++)
        for (int r = 0; r < 4; r++) {
            int64_t at = (row + m) * op->out + o + r;
            /* Written as an fma, lest the compiler make it one for some M only: rows would depend on the batch. */
            float s = fmaf(totals[m][r] * steps[m], op->scale[o + r], op->bias ? op->bias[o + r] : 0.0f);
            op->output[at] = op->residual ? s + op->residual[at] : s;
        }
}

static float to_integers(const float *x, int16_t *q, int64_t k) {
    float most = 0;
    for (int64_t j = 0; j < k; j++) most = fabsf(x[j]) > most ? fabsf(x[j]) : most;
    float inverse = most > 0 ? 32767.0f / most : 0;
    for (int64_t j = 0; j < k; j++) {
        float value = x[j] * inverse;
        q[j] = (int16_t)(value + (value < 0 ? -0.5f : 0.5f));
    }
    return most / 32767.0f;
}

static int64_t integer_product(const Operation *op, int64_t rows, int64_t begin, int64_t end, int16_t *q) {
    int64_t k = op->in, o = begin;
    float steps[rows];
    for (int64_t row = 0; row < rows; row++) steps[row] = to_integers(op->input + row * k, q + row * k, k);
    for (; o + 4 <= end; o += 4) {
        const char *w = (const char *)op->weight + o * k;
        for (int64_t row = 0; row < rows;) {
            int64_t left = rows - row;
            if (left == 1) integer_tile(op, w, o, row, q + row * k, steps + row, 1, 1), row += 1;
            else if (left == 2 || left == 4)
                integer_tile(op, w, o, row, q + row * k, steps + row, 2, 1), row += 2;
            else integer_tile(op, w, o, row, q + row * k, steps + row, 3, 1), row += 3;
        }
    }
    return o;
}
#endif

/* Four weight rows times all input rows; `next` are the `bytes` of weights that come after them. */
INLINE void four_rows(const Operation *op, const char *w, int64_t o, int64_t rows, const int type,
                      const char *next, int64_t bytes) {
    if (rows == 1) tile(op, w, o, 0, 4, 1, type, ROWS, 0, 0);
    else if (rows == 2) tile(op, w, o, 0, 4, 2, type, ROWS, 0, 0);
    else if (rows == 3) tile(op, w, o, 0, 4, 3, type, ROWS, 0, 0);
    int64_t tiles = (rows + 2) / 3, share = bytes / tiles, pace = share * WIDTH / op->in;
    for (int64_t row = 0; rows > 3 && row < rows; next += share) {
        int64_t left = rows - row;
        if (left == 2 || left == 4) tile(op, w, o, row, 4, 2, type, SHARE, next, pace), row += 2;
        else tile(op, w, o, row, 4, 3, type, SHARE, next, pace), row += 3;
    }
}

INLINE void product(const Operation *op, int64_t rows, int64_t begin, int64_t end, float *wide,
                    const int type) {
    int64_t k = op->in, o = begin;
#ifdef PAIRS
    if (type == INT8) o = integer_product(op, rows, begin, end, (int16_t *)wide);
    else
#endif
    for (; o + 4 <= end; o += 4) {
        const char *w = (const char *)op->weight + o * k * BYTES(type), *next = w + 4 * k * BYTES(type);
        if (type == FLOAT32 || rows <= 3) {
            four_rows(op, w, o, rows, type, next, 4 * k * BYTES(type));
            continue;
        }
        int64_t i = 0; /* for more rows it pays to widen the weights once */
        for (; i + WIDTH <= 4 * k; i += WIDTH) *(vec *)(wide + i) = weights_at(w, i, type);
        for (; i < 4 * k; i++) wide[i] = weight_at(w, i, type);
        four_rows(op, (const char *)wide, o, rows, FLOAT32, next, 4 * k * BYTES(type));
    }
    for (; o < end; o++)
        for (int64_t row = 0; row < rows; row++)
            tile(op, (const char *)op->weight + o * k * BYTES(type), o, row, 1, 1, type, NOTHING, 0, 0);
}

static void linear(const Operation *op, const Batch *batch, int64_t rows, int thread, int threads) {
    if (!rows) return; /* nothing of this run is scored */
    float *wide = batch->wide + thread * batch->stride;
    int64_t fours = op->out / 4, begin = fours * thread / threads * 4;
    int64_t end = thread + 1 == threads ? op->out : fours * (thread + 1) / threads * 4;
    if (op->type == FLOAT32) product(op, rows, begin, end, wide, FLOAT32);
    else if (op->type == BFLOAT16) product(op, rows, begin, end, wide, BFLOAT16);
    else product(op, rows, begin, end, wide, INT8);
    for (int64_t row = 0; row < rows && (op->activation != NONE || op->factor); row++) {
        float *y = op->output + row * op->out;
        const float *factor = op->factor + row * op->out;
        if (op->activation == GELU) /* x/2 (1 + tanh u) = x / (1 + e^-2u), u = 0.79788456 x (1 + 0.044715 x^2) */
            for (int64_t j = begin; j < end; j++)
                y[j] = y[j] / (1.0f + exponential(-1.59576912f * y[j] * (1.0f + 0.044715f * y[j] * y[j])));
        if (op->activation == RELU)
            for (int64_t j = begin; j < end; j++) y[j] = y[j] > 0 ? y[j] : 0;
        if (op->factor)
            for (int64_t j = begin; j < end; j++) y[j] *= factor[j];
    }
}

static void embed(const Operation *op, int64_t rows, const int64_t *tokens, int thread, int threads) {
    int64_t n = op->out;
    for (int64_t row = thread; row < rows; row += threads) {
        int64_t from = tokens[row] * n;
        float *y = op->output + row * n;
        if (op->type == FLOAT32) memcpy(y, (const float *)op->weight + from, n * sizeof(float));
        else if (op->type == BFLOAT16)
            for (int64_t j = 0; j < n; j++) y[j] = weight_at(op->weight, from + j, BFLOAT16);
        else
            for (int64_t j = 0; j < n; j++)
                y[j] = op->scale[tokens[row]] * weight_at(op->weight, from + j, INT8);
    }
}

/* Layer norm; without a bias RMS norm. */
static void norm(const Operation *op, int64_t rows, int thread, int threads) {
    int64_t n = op->in;
    for (int64_t row = thread; row < rows; row += threads) {
        const float *x = op->input + row * n, *weight = op->weight;
        float *y = op->output + row * n;
        double mean = 0, square = 0;
        for (int64_t j = 0; j < n && op->bias; j++) mean += x[j];
        mean /= n;
        for (int64_t j = 0; j < n; j++) square += (x[j] - mean) * (x[j] - mean);
        float scale = (float)(1.0 / sqrt(square / n + op->epsilon)), middle = (float)mean;
        for (int64_t j = 0; j < n; j++) y[j] = (x[j] - middle) * scale * weight[j];
        for (int64_t j = 0; j < n && op->bias; j++) y[j] += op->bias[j];
    }
}

/* Where head `head` of a row keeps the position that is `place`th in block number `block`. */
INLINE int64_t slot(const Operation *op, int64_t block, int64_t head, int64_t place) {
    return ((block * op->heads + head) * op->block + place) * op->in;
}

/* key and value (B, n, d), heads `stride` apart: those of the new positions go into their blocks. */
static void store(const Operation *op, const Batch *batch, int thread, int threads) {
    int64_t d = op->in, heads = op->heads, items = batch->rows * heads;
    for (int64_t item = items * thread / threads; item < items * (thread + 1) / threads; item++) {
        int64_t row = item / heads, position = batch->positions[row];
        int64_t block = batch->tables[row * batch->width + position / op->block];
        int64_t to = slot(op, block, item % heads, position % op->block);
        memcpy(op->keys + to, op->key + item * op->stride, d * sizeof(float));
        memcpy(op->values + to, op->value + item * op->stride, d * sizeof(float));
    }
}

/* The place in `pool` that a row's positions from p on have; `upto` is where their block ends. The block after
   it is asked for at once, for the processor sees no order in blocks. */
INLINE const float *run_of(const Operation *op, const float *pool, const int64_t *table, int64_t head, int64_t p,
                           int64_t end, int64_t *upto) {
    int64_t size = op->block, bytes = size * op->in * (int64_t)sizeof(float);
    *upto = (p / size + 1) * size < end ? (p / size + 1) * size : end;
    if (*upto < end) {
        const char *after = (const char *)(pool + slot(op, table[*upto / size], head, 0));
        for (int64_t i = 0; i < bytes && i < 4096; i += 64) __builtin_prefetch(after + i, 0, 2);
    }
    return pool + slot(op, table[p / size], head, p % size);
}

/* input (B, n, d), queries, heads `stride` apart. Every row sees its own positions up to its new one, biased by
   slope (from the first on) or by distance (from the new one back); with `ends`, so many of the keys there are. */
static void attend(const Operation *op, const Batch *batch, int thread, int threads) {
    int64_t d = op->in, heads = op->heads, items = batch->rows * heads;
    float scale = (float)op->scaling, *scores = op->scratch + thread * op->capacity;
    for (int64_t item = items * thread / threads; item < items * (thread + 1) / threads; item++) {
        int64_t row = item / heads, head = item % heads, upto;
        int64_t start = op->ends ? 0 : batch->first[row], end = op->ends ? op->ends[row] : batch->positions[row] + 1;
        const int64_t *table = batch->tables + row * batch->width;
        const float *query = op->input + item * op->stride, *distances = op->distances + head * op->capacity;
        float most = -INFINITY, total = 0, *y = op->output + item * d;
        for (int64_t p = start; p < end;) { /* one block a turn */
            const float *keys = run_of(op, op->keys, table, head, p, end, &upto);
            for (; p + 4 <= upto; p += 4, keys += 4 * d) *(quad *)(scores + p) = four_dots(keys, query, d);
            for (; p < upto; p++, keys += d) scores[p] = dot(query, keys, d);
        }
        for (int64_t p = start; p < end; p++) {
            scores[p] *= scale;
            if (op->slopes) scores[p] += op->slopes[head] * (float)(p - start);
            if (op->distances) scores[p] += distances[end - 1 - p];
            most = scores[p] > most ? scores[p] : most;
        }
        for (int64_t p = start; p < end; p++) scores[p] = exponential(scores[p] - most);
        for (int64_t p = start; p < end; p++) total += scores[p];
        memset(y, 0, d * sizeof(float));
        for (int64_t p = start; p < end;) {
            const float *v = run_of(op, op->values, table, head, p, end, &upto), *s = scores + p;
            for (; p + 4 <= upto; p += 4, s += 4, v += 4 * d)
                for (int64_t j = 0; j < d; j++) { /* one after the other: the sums do not depend on the blocks */
                    float sum = y[j] + s[0] * v[j];
                    sum += s[1] * v[d + j];
                    sum += s[2] * v[2 * d + j];
                    y[j] = sum + s[3] * v[3 * d + j];
                }
            for (; p < upto; p++, s++, v += d)
                for (int64_t j = 0; j < d; j++) y[j] += s[0] * v[j];
        }
        for (int64_t j = 0; j < d; j++) y[j] /= total;
    }
}

/* Run a step for B rows. Row b is a token at positions[b] that sees its table's positions from first[b] on;
   several rows may be neighbouring tokens of one text. Operations marked `scored` run for the first `scored`
   rows only. */
void hortus_step(const Operation *operations, int64_t count, const Batch *batch, int64_t team) {
#pragma omp parallel num_threads((int)team)
    {
        int thread = omp_get_thread_num(), threads = omp_get_num_threads();
        for (int64_t number = 0; number < count; number++) {
            const Operation *op = operations + number;
            int64_t rows = op->scored ? batch->scored : batch->rows;
            if (op->kind == LINEAR) linear(op, batch, rows, thread, threads);
            else if (op->kind == NORM) norm(op, rows, thread, threads);
            else if (op->kind == STORE) store(op, batch, thread, threads);
            else if (op->kind == ATTEND) attend(op, batch, thread, threads);
            else embed(op, rows, batch->tokens, thread, threads);
#pragma omp barrier
        }
    }
}
