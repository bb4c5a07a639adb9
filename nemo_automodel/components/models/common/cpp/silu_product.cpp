// silu(gate) * up of two matrices, and its gradients, in one pass each; silu(gate) is rounded, as in PyTorch.

#include "swiglu.h"

namespace {

constexpr int64_t PIECE = 1 << 14;  // numbers that a thread takes at once

template <typename T> void silu_product(const T* gates, const T* ups, T* out, int64_t count, int threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t start = 0; start < count; start += PIECE)
    for (int64_t i = start; i < count && i < start + PIECE; i += LANES) {
      floats gate = load(gates + i), silu = rounded<T>(gate * sigmoid(gate));
      store(out + i, silu * load(ups + i));
    }
}

// The gradient of silu(gate) is rounded where PyTorch's is: on its way from the product to the activation.
template <typename T>
void silu_product_backward(const T* gates, const T* ups, const T* grad, T* grad_gates, T* grad_ups, int64_t count,
                           int threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t start = 0; start < count; start += PIECE)
    for (int64_t i = start; i < count && i < start + PIECE; i += LANES) {
      floats gate = load(gates + i), g = load(grad + i), s = sigmoid(gate), one = set(1.0f);
      floats slope = s * fma(gate, one - s, one);
      store(grad_ups + i, g * rounded<T>(gate * s));
      store(grad_gates + i, rounded<T>(g * load(ups + i)) * slope);
    }
}

}  // namespace

#define FOR_DTYPE(name, T)                                                                                            \
  void silu_product_##name(const T* gates, const T* ups, T* out, int64_t count, int64_t threads) {                    \
    silu_product<T>(gates, ups, out, count, threads);                                                                 \
  }                                                                                                                   \
  void silu_product_backward_##name(const T* gates, const T* ups, const T* grad, T* grad_gates, T* grad_ups,          \
                                    int64_t count, int64_t threads) {                                                 \
    silu_product_backward<T>(gates, ups, grad, grad_gates, grad_ups, count, threads);                                 \
  }

extern "C" {
FOR_DTYPE(float32, float)
FOR_DTYPE(bfloat16, bf16)
}
