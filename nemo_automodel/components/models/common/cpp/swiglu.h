// silu(gate) * up * factor of each row, in fp32 and rounded once: [S, 2I] -> [S, I].

#pragma once

#include "vectors.h"

namespace {

__m512 sigmoid(__m512 x) {
  __m512 one = _mm512_set1_ps(1.0f);
  return _mm512_div_ps(one, _mm512_add_ps(one, exponential(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

template <typename T> void swiglu(const T* h, const float* factors, T* out, int64_t rows, int64_t I, int threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t row = 0; row < rows; row++) {
    const T *gates = h + row * 2 * I, *ups = gates + I;
    __m512 factor = _mm512_set1_ps(factors[row]);
    for (int64_t i = 0; i < I; i += LANES) {
      __m512 gate = load(gates + i), silu = _mm512_mul_ps(gate, sigmoid(gate));
      store(out + row * I + i, _mm512_mul_ps(_mm512_mul_ps(silu, load(ups + i)), factor));
    }
  }
}

}  // namespace
