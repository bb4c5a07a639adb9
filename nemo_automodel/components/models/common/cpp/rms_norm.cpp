// RMSNorm of a few rows in one pass over each, as a model that writes one token after the other needs it: PyTorch's
// formula takes longer to call than to compute. The mean of squares is a sum in fp64, rounded once; the rest is fp32.

#include <cmath>

#include "vectors.h"

namespace {

template <typename T> double squares(const T* x, int64_t width) {
  __m512d low = _mm512_setzero_pd(), high = _mm512_setzero_pd();
  for (int64_t i = 0; i < width; i += LANES) {
    __m512 values = load(x + i);
    __m512d first = _mm512_cvtps_pd(_mm512_castps512_ps256(values));
    __m512d second = _mm512_cvtps_pd(_mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(values), 1)));
    low = _mm512_fmadd_pd(first, first, low), high = _mm512_fmadd_pd(second, second, high);
  }
  return _mm512_reduce_add_pd(_mm512_add_pd(low, high));
}

// out [rows, width] = x / rms(x), rounded to T where `rounds_first`, times weight [width].
template <typename T, typename W>
void rms_norm(const T* x, const W* weight, T* out, int64_t rows, int64_t width, double eps, bool rounds_first) {
  for (int64_t row = 0; row < rows; row++, x += width, out += width) {
    __m512 scale = _mm512_set1_ps(1 / std::sqrt(squares(x, width) / width + eps));
    for (int64_t i = 0; i < width; i += LANES) {
      __m512 unit = _mm512_mul_ps(load(x + i), scale);
      if (rounds_first) store(out + i, unit), unit = load(out + i);
      store(out + i, _mm512_mul_ps(unit, load(weight + i)));
    }
  }
}

}  // namespace

// The weight is in fp32 where `wide`, else in the dtype of x.
#define FOR_DTYPE(name, T)                                                                                            \
  void rms_norm_##name(const T* x, const void* weight, T* out, int64_t rows, int64_t width, double eps,               \
                       int64_t rounds_first, int64_t wide) {                                                          \
    if (wide) rms_norm<T, float>(x, (const float*)weight, out, rows, width, eps, rounds_first);                       \
    else rms_norm<T, T>(x, (const T*)weight, out, rows, width, eps, rounds_first);                                    \
  }

extern "C" {
FOR_DTYPE(float32, float)
FOR_DTYPE(bfloat16, bf16)
}
