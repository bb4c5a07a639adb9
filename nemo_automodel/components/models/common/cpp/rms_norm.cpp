// RMSNorm in one pass over each row, and its gradients in another: PyTorch's formula reads memory once for each of its
// operations, and takes longer to call than to compute where there are few rows. The mean of squares is a sum in fp64,
// rounded once; the rest is fp32.

#include <cmath>

#include "vectors.h"

namespace {

template <typename T> double squares(const T* x, int64_t width) {
  Doubles sum;
  for (int64_t i = 0; i < width; i += LANES) sum.add_squares(load(x + i));
  return sum.total();
}

// out [rows, width] = x / rms(x), rounded to T where `rounds_first`, times weight [width]. scales [rows]: 1 / rms(x), read
// where `again`, else written; null: of no interest.
template <typename T, typename W>
void rms_norm(const T* x, const W* weight, T* out, float* scales, int64_t rows, int64_t width, double eps,
              bool rounds_first, bool again, int threads) {
#pragma omp parallel for num_threads(threads)
  for (int64_t row = 0; row < rows; row++) {
    const T* from = x + row * width;
    T* to = out + row * width;
    float scale = again ? scales[row] : 1 / std::sqrt(squares(from, width) / width + eps);
    if (scales && !again) scales[row] = scale;
    for (int64_t i = 0; i < width; i += LANES) {
      floats unit = load(from + i) * set(scale);
      if (rounds_first) unit = rounded<T>(unit);
      store(to + i, unit * load(weight + i));
    }
  }
}

// With y = x / rms(x) and h = grad * weight: grad_x = (h - y * mean(h * y)) / rms(x); grad_weights [threads, width] are
// sums of grad * y, each of the rows of one thread.
template <typename T, typename W>
void rms_norm_backward(const T* x, const W* weight, const float* scales, const T* grad, T* grad_x, float* grad_weights,
                       int64_t rows, int64_t width, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int thread = 0; thread < threads; thread++) {
    float* sums = grad_weights + thread * width;
    for (int64_t row = rows * thread / threads; row < rows * (thread + 1) / threads; row++) {
      const T *from = x + row * width, *g = grad + row * width;
      T* to = grad_x + row * width;
      floats scale = set(scales[row]), along = zero();
      for (int64_t i = 0; i < width; i += LANES) {
        floats product = load(g + i) * (load(from + i) * scale);
        store(sums + i, load(sums + i) + product);
        along = fma(product, load(weight + i), along);
      }
      floats mean = set(total(along) / width);
      for (int64_t i = 0; i < width; i += LANES) {
        floats h = load(g + i) * load(weight + i), unit = load(from + i) * scale;
        store(to + i, fnma(unit, mean, h) * scale);
      }
    }
  }
}

}  // namespace

// The weight is in fp32 where `wide`, else in the dtype of x.
#define FOR_DTYPE(name, T)                                                                                            \
  void rms_norm_##name(const T* x, const void* weight, T* out, float* scales, int64_t rows, int64_t width,            \
                       double eps, int64_t rounds_first, int64_t again, int64_t wide, int64_t threads) {              \
    if (wide) rms_norm(x, (const float*)weight, out, scales, rows, width, eps, rounds_first, again, threads);         \
    else rms_norm(x, (const T*)weight, out, scales, rows, width, eps, rounds_first, again, threads);                  \
  }                                                                                                                   \
  void rms_norm_backward_##name(const T* x, const void* weight, const float* scales, const T* grad, T* grad_x,        \
                                float* grad_weights, int64_t rows, int64_t width, int64_t wide, int64_t threads) {    \
    if (wide) rms_norm_backward(x, (const float*)weight, scales, grad, grad_x, grad_weights, rows, width, threads);   \
    else rms_norm_backward(x, (const T*)weight, scales, grad, grad_x, grad_weights, rows, width, threads);            \
  }

extern "C" {
FOR_DTYPE(float32, float)
FOR_DTYPE(bfloat16, bf16)
}
