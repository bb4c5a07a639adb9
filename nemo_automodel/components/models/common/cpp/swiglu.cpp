// SwiGLU of rows with a factor each, and its gradients, in one pass.

#include "swiglu.h"

namespace {

// out is computed again; grad_h [S, 2I], grad_factors [S].
template <typename T>
void swiglu_backward(const T* h, const float* factors, const T* grad, T* out, T* grad_h, float* grad_factors,
                     int64_t rows, int64_t I, int threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t row = 0; row < rows; row++) {
    const T *gates = h + row * 2 * I, *ups = gates + I;
    T* grad_gates = grad_h + row * 2 * I;
    floats factor = set(factors[row]), grad_factor = zero(), one = set(1.0f);
    for (int64_t i = 0; i < I; i += LANES) {
      floats gate = load(gates + i), up = load(ups + i), g = load(grad + row * I + i), s = sigmoid(gate);
      floats silu = gate * s, product = silu * up;
      floats slope = s * fma(gate, one - s, one);
      grad_factor = fma(g, product, grad_factor);
      g = g * factor;
      store(out + row * I + i, product * factor);
      store(grad_gates + i, g * up * slope);
      store(grad_gates + I + i, g * silu);
    }
    grad_factors[row] = total(grad_factor);
  }
}

}  // namespace

#define FOR_DTYPE(name, T)                                                                                            \
  void swiglu_##name(const T* h, const float* factors, T* out, int64_t rows, int64_t I, int64_t threads) {            \
    swiglu<T>(h, factors, out, rows, I, threads);                                                                     \
  }                                                                                                                   \
  void swiglu_backward_##name(const T* h, const float* factors, const T* grad, T* out, T* grad_h,                     \
                              float* grad_factors, int64_t rows, int64_t I, int64_t threads) {                        \
    swiglu_backward<T>(h, factors, grad, out, grad_h, grad_factors, rows, I, threads);                                \
  }

extern "C" {
FOR_DTYPE(float32, float)
FOR_DTYPE(bfloat16, bf16)
}
