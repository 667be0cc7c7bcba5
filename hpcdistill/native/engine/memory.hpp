// How one thread's memory is laid out.
#pragma once

#include "rows.hpp"

namespace hpcdistill::HPCD_TARGET {

// Hands out pieces of one allocation, or, without memory, only counts them.
template <class T>
class Arena {
 public:
  explicit Arena(void* memory) : memory_(static_cast<char*>(memory)) {}
  Vec<T>* take(std::size_t n) {
    Vec<T>* piece = memory_ ? reinterpret_cast<Vec<T>*>(memory_ + used_) : nullptr;
    used_ += n * sizeof(Vec<T>);
    return piece;
  }
  std::size_t used() const { return used_; }

 private:
  char* memory_;
  std::size_t used_ = 0;
};

// The last three rows of something that is produced row by row.
template <class T>
struct Ring {
  Vec<T>* base = nullptr;
  std::size_t stride = 0;
  Vec<T>* row(int y) const { return base + unsigned(y) % 3 * stride; }
};

// The last `size` rows of a unit's tape.
template <class T>
struct TapeRing {
  Vec<T>* base = nullptr;
  std::size_t stride = 0;
  unsigned size = 1;
  Tape<T> row(int y) const {
    Vec<T>* start = base + 4 * stride * (unsigned(y) % size);
    return {start, start + stride, start + 2 * stride, start + 3 * stride};
  }
};

template <class T>
struct UnitRings {
  Ring<T> s, t;  // what its window reads
  TapeRing<T> tape;
  Ring<T> s_gradient, t_gradient;  // with respect to its window's sums
};

// Images in the lanes: pixels (y, x, channel), norms √V at every ReLU and their inverses.
template <class T>
struct LaneImages {
  Vec<T>*pixels, *norm, *inverse;
};

template <class T, class First>
struct FirstImage {
  const typename First::Element *pixels, *norm, *inverse;
};

}  // namespace hpcdistill::HPCD_TARGET
