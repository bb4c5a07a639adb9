// Rotary positions of one token, in pairs (i, i + half): PyTorch's formula takes longer to call than to compute. All
// products are rounded, as in PyTorch.

#include <algorithm>

#include "vectors.h"

namespace {

// a * b, rounded to T. Said with its rounding, as a compiler makes one operation of a plain product and a sum.
template <typename T> __m512 product(__m512 a, __m512 b) {
  __m512 values = _mm512_mul_round_ps(a, b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  if constexpr (std::is_same_v<T, float>) return values;
  else return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(values)), 16));
}

// out [texts, heads, D] = x with its first 2 * half numbers turned by cos and sin [half] of each text, which lie `stride`
// apart.
template <typename T>
void rope(const T* x, const T* cos, const T* sin, T* out, int64_t texts, int64_t heads, int64_t D, int64_t half,
          int64_t stride) {
  for (int64_t row = 0; row < texts * heads; row++, x += D, out += D) {
    const T *c = cos + row / heads * stride, *s = sin + row / heads * stride;
    for (int64_t i = 0; i < half; i += LANES) {
      __m512 a = load(x + i), b = load(x + half + i), along = load(c + i), across = load(s + i);
      store(out + i, _mm512_sub_ps(product<T>(a, along), product<T>(b, across)));
      store(out + half + i, _mm512_add_ps(product<T>(b, along), product<T>(a, across)));
    }
    std::copy_n(x + 2 * half, D - 2 * half, out + 2 * half);
  }
}

}  // namespace

#define FOR_DTYPE(name, T)                                                                                            \
  void rope_##name(const T* x, const T* cos, const T* sin, T* out, int64_t texts, int64_t heads, int64_t D,           \
                   int64_t half, int64_t stride) {                                                                    \
    rope<T>(x, cos, sin, out, texts, heads, D, half, stride);                                                         \
  }

extern "C" {
FOR_DTYPE(float32, float)
FOR_DTYPE(bfloat16, bf16)
}
