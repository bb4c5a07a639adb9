// Vectors of LANES values, computed in fp32 whatever their dtype, on what the compiler is told the processor has.
//
// What a product sums over is counted in units of 32 bits: one float, or two bfloat16 that follow each other along the
// summed dimension. Nothing is contracted but by fma: the compiler is told so.

#pragma once

#include <cstdint>
#include <initializer_list>
#include <type_traits>

namespace {

constexpr int LANES = 16;

using bf16 = uint16_t;

}  // namespace

#ifdef __AVX512F__
#include "avx512.h"
#else
#include "avx2.h"
#endif

namespace {

constexpr bool HAS_MANY = REGISTERS >= 32;

typedef float unit __attribute__((may_alias));

template <typename T> constexpr int PER_UNIT = sizeof(unit) / sizeof(T);

// sum + a b, in units.
template <typename T> floats multiply_add(floats sum, floats a, floats b) {
  if constexpr (std::is_same_v<T, float>) return fma(a, b, sum);
  else return multiply_add(T(), sum, a, b);
}

// The same values, rounded to T.
template <typename T> floats rounded(floats values) {
  if constexpr (std::is_same_v<T, float>) return values;
  else return rounded_to(T(), values);
}

// e^x to 2 units in the last place: 2^n e^r with |r| <= ln(2) / 2, e^r by its Taylor series. Bounds keep n in range.
inline floats exponential(floats x) {
  x = min(set(88.0f), max(set(-87.0f), x));  // in this order NaN stays NaN
  floats n = nearest(x * set(1.44269504f));
  floats r = fnma(n, set(0.693359375f), x);  // ln(2) in two parts, the first exact times n
  r = fnma(n, set(-2.12194440e-4f), r);
  floats sum = set(1.0f / 5040);
  for (float factorial : {720.0f, 120.0f, 24.0f, 6.0f, 2.0f, 1.0f, 1.0f}) sum = fma(sum, r, set(1.0f / factorial));
  return times_power(sum, n);
}

}  // namespace
