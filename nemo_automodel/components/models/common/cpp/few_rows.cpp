// Products of a few rows: of a linear layer, and of the experts that have some.

#include "few_rows.h"

#define FOR_DTYPE(name, T)                                                                                            \
  void few_rows_##name(const T* x, const T* w, const T* bias, T* out, const int64_t* ids, const int64_t* ends,        \
                       int64_t size, int64_t K, int64_t N, int64_t threads) {                                         \
    few_rows<T>(x, w, bias, out, {ids, ends, size}, K, N, threads);                                                   \
  }                                                                                                                   \
  void linear_##name(const T* x, const T* w, const T* bias, T* out, int64_t rows, int64_t K, int64_t N,               \
                     int64_t threads) {                                                                               \
    int64_t only = 0;                                                                                                 \
    few_rows<T>(x, w, bias, out, {&only, &rows, 1}, K, N, threads);                                                   \
  }

extern "C" {
FOR_DTYPE(float32, float)
FOR_DTYPE(bfloat16, bf16)
}
