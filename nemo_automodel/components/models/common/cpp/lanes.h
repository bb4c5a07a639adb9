// Products of a few rows with as many others as there are lanes, which are read as they lie.

#pragma once

#include "vectors.h"

namespace {

constexpr int FEW = 8;  // rows whose sums stay in registers, beside those of two others

// sums += x [M, LANES] times w [C, LANES], each product in the lane that it is in. What lies C rows on is asked for
// ahead.
template <typename T, int M, int C>
inline void add_lanes(__m512 (&sums)[M][C], const unit* x, const unit* w, int64_t steps, __mmask16 inside) {
  __m512 row[C];
#pragma GCC unroll 8
  for (int j = 0; j < C; j++) {
    row[j] = _mm512_maskz_loadu_ps(inside, w + j * steps);
    _mm_prefetch(w + (C + j) * steps, _MM_HINT_T0);
  }
#pragma GCC unroll 8
  for (int i = 0; i < M; i++) {
    __m512 value = _mm512_maskz_loadu_ps(inside, x + i * steps);
#pragma GCC unroll 8
    for (int j = 0; j < C; j++) sums[i][j] = multiply_add<T>(sums[i][j], value, row[j]);
  }
}

// lanes [M, 16] = x [M, steps] times 16 rows of w, a few at a time; each product still in LANES parts.
template <typename T, int M>
void in_lanes(const unit* x, const unit* w, int64_t steps, __m512 (&lanes)[M][LANES]) {
  constexpr int C = M > 4 ? 2 : 4;
  for (int c = 0; c < LANES; c += C, w += C * steps) {
    __m512 sums[M][C];
#pragma GCC unroll 8
    for (int i = 0; i < M; i++)
#pragma GCC unroll 8
      for (int j = 0; j < C; j++) sums[i][j] = _mm512_setzero_ps();
    int64_t k = 0;
    for (; k + LANES <= steps; k += LANES) add_lanes<T, M, C>(sums, x + k, w + k, steps, 0xffff);
    if (k < steps) add_lanes<T, M, C>(sums, x + k, w + k, steps, (1u << (steps - k)) - 1);
#pragma GCC unroll 8
    for (int i = 0; i < M; i++)
#pragma GCC unroll 8
      for (int j = 0; j < C; j++) lanes[i][c + j] = sums[i][j];
  }
}

// start + the sums over the lanes of each of 16 vectors.
__m512 added(__m512 (&lanes)[LANES], __m512 start) {
  transpose(lanes);
  for (int lane = 0; lane < LANES; lane++) start = _mm512_add_ps(start, lanes[lane]);
  return start;
}

}  // namespace
