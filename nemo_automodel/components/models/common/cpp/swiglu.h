// silu(gate) * up * factor of each row, in fp32 and rounded once: [S, 2I] -> [S, I].

#pragma once

#include "vectors.h"

namespace {

inline floats sigmoid(floats x) {
  floats one = set(1.0f);
  return one / (one + exponential(zero() - x));
}

template <typename T> void swiglu(const T* h, const float* factors, T* out, int64_t rows, int64_t I, int threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t row = 0; row < rows; row++) {
    const T *gates = h + row * 2 * I, *ups = gates + I;
    floats factor = set(factors[row]);
    for (int64_t i = 0; i < I; i += LANES) {
      floats gate = load(gates + i), silu = gate * sigmoid(gate);
      store(out + row * I + i, silu * load(ups + i) * factor);
    }
  }
}

}  // namespace
