// Rotary positions in pairs (i, i + half), in one pass: PyTorch's formula reads memory once for each of its operations, and
// takes longer to call than to compute where there is one token. All products are rounded, as in PyTorch.

#include <algorithm>

#include "vectors.h"

namespace {

// out [texts, places, heads, D] = x with its first 2 * half numbers turned by cos and sin [half] of each text and place.
// strides: how far texts, places and heads of x lie apart, and texts of the table, whose places are dense.
template <typename T>
void rope(const T* x, const T* cos, const T* sin, T* out, int64_t texts, int64_t places, int64_t heads, int64_t D,
          int64_t half, const int64_t* strides, int threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t token = 0; token < texts * places; token++) {
    int64_t text = token / places, place = token % places, at = text * strides[3] + place * half;
    const T *c = cos + at, *s = sin + at, *from = x + text * strides[0] + place * strides[1];
    T* to = out + token * heads * D;
    for (int64_t head = 0; head < heads; head++, from += strides[2], to += D) {
      for (int64_t i = 0; i < half; i += LANES) {
        floats a = load(from + i), b = load(from + half + i), along = load(c + i), across = load(s + i);
        store(to + i, rounded<T>(a * along) - rounded<T>(b * across));
        store(to + half + i, rounded<T>(b * along) + rounded<T>(a * across));
      }
      std::copy_n(from + 2 * half, D - 2 * half, to + 2 * half);
    }
  }
}

}  // namespace

#define FOR_DTYPE(name, T)                                                                                            \
  void rope_##name(const T* x, const T* cos, const T* sin, T* out, int64_t texts, int64_t places, int64_t heads,      \
                   int64_t D, int64_t half, const int64_t* strides, int64_t threads) {                                \
    rope<T>(x, cos, sin, out, texts, places, heads, D, half, strides, threads);                                       \
  }

extern "C" {
FOR_DTYPE(float32, float)
FOR_DTYPE(bfloat16, bf16)
}
