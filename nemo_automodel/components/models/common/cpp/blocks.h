// Which rows are whose.

#pragma once

#include <cstdint>

namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The rows of the experts that have some: those of ids[i] end at ends[i], and begin where the expert before ends.
struct Block {
  const int64_t *ids, *ends;
  int64_t size;
  int64_t start(int64_t i) const { return i ? ends[i - 1] : 0; }
};

}  // namespace
