// Attention of one query a head, as a model reads its cache that writes one token after the other. Keys and values are
// read once for all queries that share them; scores, softmax and sums are fp32.

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "lanes.h"

namespace {

constexpr int64_t KEYS = 128;  // whose values stay in the nearest cache

// Of one head of keys: G queries [G, D], T keys [T, D] and values [T, E], and what is added to scores, or nullptr.
template <typename T> struct Head {
  const T *q, *k, *v;
  const float* mask;
  int64_t mask_stride, G, keys, D, E;
  float scale;
};

template <typename T> float dot(const unit* a, const unit* b, int64_t steps) {
  floats sum = zero();
  for (int64_t i = 0; i < steps; i += LANES) {
    int count = std::min<int64_t>(LANES, steps - i);
    sum = multiply_add<T>(sum, load_first(a + i, count), load_first(b + i, count));
  }
  return total(sum);
}

// scores [M, keys] of up to FEW queries, unscaled.
template <typename T, int M = FEW>
void products_of(int64_t rows, const unit* q, const unit* k, int64_t steps, int64_t keys, float* scores) {
  if constexpr (M > 1)
    if (rows < M) return products_of<T, M - 1>(rows, q, k, steps, keys, scores);
  int64_t t = 0;
  for (; t + LANES <= keys; t += LANES) {
    floats lanes[M][LANES];
    in_lanes<T, M>(q, k + t * steps, steps, lanes);
    for (int i = 0; i < M; i++) store(scores + i * keys + t, added(lanes[i], zero()));
  }
  for (; t < keys; t++)
    for (int i = 0; i < M; i++) scores[i * keys + t] = dot<T>(q + i * steps, k + t * steps, steps);
}

// Scores of one query to weights whose sum is returned; 0 where it sees nothing.
float softmax(float* scores, const float* mask, float scale, int64_t keys) {
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t t = 0; t < keys; t++) {
    scores[t] = scores[t] * scale + (mask ? mask[t] : 0.0f);
    largest = std::max(largest, scores[t]);
  }
  if (std::isinf(largest) && largest < 0) {
    std::fill(scores, scores + keys, 0.0f);
    return 0.0f;
  }
  floats sums = zero(), most = set(largest);
  for (int64_t t = 0; t < keys; t += LANES) {
    int count = std::min<int64_t>(LANES, keys - t);
    floats score = load_first(scores + t, count);
    floats weight = first(unless_less(score, set(-87.0f + largest), exponential(score - most)), count);
    store_first(scores + t, weight, count);
    sums = sums + weight;
  }
  return total(sums);
}

// out [M, 16] += weights [M, count] times 16 columns of v [count, E].
template <typename T, int M = FEW>
void add_values(int64_t rows, const float* weights, int64_t stride, const T* v, int64_t E, int64_t count, float* out) {
  if constexpr (M > 1)
    if (rows < M) return add_values<T, M - 1>(rows, weights, stride, v, E, count, out);
  floats sums[M];
#pragma GCC unroll 8
  for (int i = 0; i < M; i++) sums[i] = load(out + i * E);
  for (int64_t t = 0; t < count; t++) {
    floats value = load(v + t * E);
#pragma GCC unroll 8
    for (int i = 0; i < M; i++) sums[i] = fma(set(weights[i * stride + t]), value, sums[i]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < M; i++) store(out + i * E, sums[i]);
}

// Up to FEW queries from the first on: out [rows, E].
template <typename T> void read(const Head<T>& of, int64_t first, int64_t rows, T* out) {
  static thread_local std::vector<float> scores, sums;
  scores.resize(rows * of.keys);
  sums.assign(rows * of.E, 0.0f);
  float totals[FEW];
  int64_t steps = of.D / PER_UNIT<T>;
  products_of<T>(rows, (const unit*)(of.q + first * of.D), (const unit*)of.k, steps, of.keys, scores.data());
  for (int64_t i = 0; i < rows; i++) {
    const float* mask = of.mask ? of.mask + (first + i) * of.mask_stride : nullptr;
    totals[i] = softmax(scores.data() + i * of.keys, mask, of.scale, of.keys);
  }
  for (int64_t t = 0; t < of.keys; t += KEYS)
    for (int64_t e = 0; e < of.E; e += LANES)
      add_values<T>(rows, scores.data() + t, of.keys, of.v + t * of.E + e, of.E, std::min(KEYS, of.keys - t),
                    sums.data() + e);
  for (int64_t i = 0; i < rows; i++) {
    floats share = set(totals[i] > 0 ? 1 / totals[i] : 0.0f);
    for (int64_t e = 0; e < of.E; e += LANES)
      store(out + i * of.E + e, share * load(sums.data() + i * of.E + e));
  }
}

// out [heads, G, E]: q [heads, G, D], k [heads, keys, D], v [heads, keys, E], of heads of keys in all texts. mask
// [keys] of each query lies `mask_stride` after that of the query before, and of a text `text_stride` after: nullptr is
// none. `heads_each` heads belong to one text.
template <typename T>
void one_query(const T* q, const T* k, const T* v, const float* mask, T* out, int64_t heads, int64_t heads_each,
               int64_t G, int64_t keys, int64_t D, int64_t E, int64_t mask_stride, int64_t text_stride, float scale,
               int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t head = 0; head < heads; head++) {
    int64_t text = head / heads_each, query = head % heads_each * G;
    Head<T> of = {q + head * G * D, k + head * keys * D, v + head * keys * E,
                  mask ? mask + text * text_stride + query * mask_stride : nullptr, mask_stride, G, keys, D, E, scale};
    for (int64_t first = 0; first < G; first += FEW)
      read<T>(of, first, std::min<int64_t>(FEW, G - first), out + (head * G + first) * E);
  }
}

}  // namespace

#define FOR_DTYPE(name, T)                                                                                            \
  void one_query_##name(const T* q, const T* k, const T* v, const float* mask, T* out, int64_t heads,                 \
                        int64_t heads_each, int64_t G, int64_t keys, int64_t D, int64_t E, int64_t mask_stride,       \
                        int64_t text_stride, float scale, int64_t threads) {                                          \
    one_query<T>(q, k, v, mask, out, heads, heads_each, G, keys, D, E, mask_stride, text_stride, scale, threads);     \
  }

extern "C" {
FOR_DTYPE(float32, float)
FOR_DTYPE(bfloat16, bf16)
}
