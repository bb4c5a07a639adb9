// Products of a few rows with as many others as there are lanes, which are read as they lie.

#pragma once

#include "vectors.h"

namespace {

constexpr int FEW = HAS_MANY ? 8 : 4;  // rows whose sums stay in registers

// sums += x [M, count] times w [C, count], each product in the lane that it is in; count: LANES, or less. What lies C rows
// on is asked for ahead.
template <typename T, int M, int C, bool is_whole>
inline void add_lanes(floats (&sums)[M][C], const unit* x, const unit* w, int64_t steps, int count = LANES) {
  auto read = [=](const unit* from) { return is_whole ? load(from) : load_first(from, count); };
  floats row[C];
#pragma GCC unroll 8
  for (int j = 0; j < C; j++) {
    row[j] = read(w + j * steps);
    _mm_prefetch(w + (C + j) * steps, _MM_HINT_T0);
  }
#pragma GCC unroll 8
  for (int i = 0; i < M; i++) {
    floats value = read(x + i * steps);
#pragma GCC unroll 8
    for (int j = 0; j < C; j++) sums[i][j] = multiply_add<T>(sums[i][j], value, row[j]);
  }
}

// lanes [M, 16] = x [M, steps] times 16 rows of w, a few at a time; each product still in LANES parts.
template <typename T, int M>
void in_lanes(const unit* x, const unit* w, int64_t steps, floats (&lanes)[M][LANES]) {
  constexpr int C = HAS_MANY ? (M > 4 ? 2 : 4) : (M > 2 ? 1 : 4 / M);
  for (int c = 0; c < LANES; c += C, w += C * steps) {
    floats sums[M][C];
#pragma GCC unroll 8
    for (int i = 0; i < M; i++)
#pragma GCC unroll 8
      for (int j = 0; j < C; j++) sums[i][j] = zero();
    int64_t k = 0;
    for (; k + LANES <= steps; k += LANES) add_lanes<T, M, C, true>(sums, x + k, w + k, steps);
    if (k < steps) add_lanes<T, M, C, false>(sums, x + k, w + k, steps, steps - k);
#pragma GCC unroll 8
    for (int i = 0; i < M; i++)
#pragma GCC unroll 8
      for (int j = 0; j < C; j++) lanes[i][c + j] = sums[i][j];
  }
}

// start + the sums over the lanes of each of 16 vectors.
inline floats added(floats (&lanes)[LANES], floats start) {
  transpose(lanes);
  for (int lane = 0; lane < LANES; lane++) start = start + lanes[lane];
  return start;
}

}  // namespace
