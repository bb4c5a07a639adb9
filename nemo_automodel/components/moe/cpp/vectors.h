// Vectors of LANES values, computed in fp32 whatever their dtype.

#pragma once

#include <immintrin.h>

#include <cstdint>
#include <type_traits>

namespace {

constexpr int LANES = 16;  // floats in a register

using bf16 = uint16_t;

// LANES values as fp32.
template <typename T> __m512 load(const T* from) {
  if constexpr (std::is_same_v<T, float>) return _mm512_loadu_ps(from);
  else {
    __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
  }
}

template <typename T> void store(T* to, __m512 values) {
  if constexpr (std::is_same_v<T, float>) _mm512_storeu_ps(to, values);
  else _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh(values));
}

}  // namespace
