// One row of one plane at a time: the recursion S, T → S', T' of a unit and its adjoint.
//
//   box filter  S ← scale · Σ S + bias,  T ← scale · Σ T + S          (sum over the 3×3 window, zero outside)
//   ReLU        S' = S f0 + n1 n2 root,  T' = T f0                     (f0, root: arc_cosine.hpp at c = S / n1 n2)
//
// A row is an array of vectors, one per column, each holding as many pairs of images as there are lanes; the vector
// after its last column is zero. Source: arXiv:1912.02803 and arXiv:1904.11955; derivatives as in
// hpcdistill/kernels/native.py.
#pragma once

#include "arc_cosine.hpp"

namespace hpcdistill::HPCD_TARGET {

// How the first image of the pairs is read: one image for all lanes, or another in each.
template <class T>
struct Shared {
  using Element = T;
  static HPCD_INLINE Vec<T> get(T x) { return broadcast<T>(x); }
};
template <class T>
struct PerLane {
  using Element = Vec<T>;
  static HPCD_INLINE Vec<T> get(Vec<T> x) { return x; }
};

// T's part in a unit: there is none; it is born equal to S; it comes in and goes out.
enum class Tangent { none, born, carried };

enum class Pass {
  plain,
  taped,    // keep what the adjoint needs
  diagonal  // p = q of an image with itself: c = 1; S is the variance, and its norm is written out
};

// Three successive rows, the middle one being the row itself; outside the plane they are rows of zeros.
template <class T>
struct Window {
  const Vec<T>*above, *middle, *below;
};

// Sum over the window at column x, sliding to the right.
template <class T, bool Box>
struct Slider {
  Window<T> rows;
  Vec<T> left{}, centre{};

  HPCD_INLINE explicit Slider(const Window<T>& window) : rows(window) {
    if constexpr (Box) centre = column(0);
  }
  HPCD_INLINE Vec<T> column(int x) const { return rows.above[x] + rows.middle[x] + rows.below[x]; }
  HPCD_INLINE Vec<T> at(int x) {
    if constexpr (!Box) return rows.middle[x];
    const Vec<T> right = column(x + 1);
    const Vec<T> sum = left + centre + right;
    left = centre;
    centre = right;
    return sum;
  }
};

template <class T>
struct Tape {
  Vec<T>*s, *f0, *root, *tangent_slope;  // `root` times n1 n2; `tangent_slope` is ∂T'/∂S
};

template <class T, class First>
struct UnitRow {
  int columns;
  Vec<T> scale, bias;
  Window<T> s, t;
  const typename First::Element *norm1, *inverse1;
  Vec<T>*norm2, *inverse2;
  Vec<T>*s_out, *t_out;
  Tape<T> tape;
};

template <class T, class First, bool Box, bool Relu, Tangent M, Pass P>
void unit_row(const UnitRow<T, First>& row) {
  Slider<T, Box> s_window(row.s), t_window(M == Tangent::carried ? row.t : row.s);
  for (int x = 0; x < row.columns; ++x) {
    Vec<T> s = multiply_add(s_window.at(x), row.scale, row.bias);
    Vec<T> t{};
    if constexpr (M == Tangent::born) t = s;
    if constexpr (M == Tangent::carried) {
      t = t_window.at(x);
      t = Box ? multiply_add(t, row.scale, s) : t * row.scale;
    }
    if constexpr (Relu && P == Pass::diagonal) {
      s = s > Vec<T>{} ? s : Vec<T>{};
      const Vec<T> norm = square_root(s);
      row.norm2[x] = norm;
      row.inverse2[x] = norm > Vec<T>{} ? broadcast<T>(1) / norm : Vec<T>{};
      s = s * broadcast<T>(0.5);
    } else if constexpr (Relu) {
      const Vec<T> inverse1 = First::get(row.inverse1[x]), inverse2 = row.inverse2[x];
      const Vec<T> c = s * inverse1 * inverse2;
      const Angle<T> a = angle<T>(c);
      const Vec<T> root = First::get(row.norm1[x]) * row.norm2[x] * a.root;
      const Vec<T> through = s * a.f0;
      if constexpr (P == Pass::taped) {
        row.tape.s[x] = s;
        row.tape.f0[x] = a.f0;
        row.tape.root[x] = root;
        if constexpr (M != Tangent::none) {
          const Vec<T> ratio = M == Tangent::born ? c : t * inverse1 * inverse2;
          const Vec<T> factor = broadcast<T>(T(kOneOverTwoPi * kOneOverTwoPi)) / a.root;
          row.tape.tangent_slope[x] = a.root > broadcast<T>(Limits<T>::singular) ? ratio * factor : Vec<T>{};
        }
      }
      s = through + root;
      if constexpr (M == Tangent::born) t = through;
      if constexpr (M == Tangent::carried) t = t * a.f0;
    }
    row.s_out[x] = s;
    if constexpr (M != Tangent::none) row.t_out[x] = t;
  }
  row.s_out[row.columns] = Vec<T>{};
  if constexpr (M != Tangent::none) row.t_out[row.columns] = Vec<T>{};
}

template <class T>
struct AdjointRow {
  int columns;
  Vec<T> scale;    // of the unit that follows
  Window<T> s, t;  // gradients with respect to what that unit's window sums
  Tape<T> tape;
  Vec<T>* log_norm;  // += n1 ∂/∂n1
  Vec<T>*s_out, *t_out;
};

// From gradients behind a unit to those of what its own window sums, before its scale. `BoxAfter`: the unit that
// follows has a box filter, which is its own adjoint.
template <class T, bool BoxAfter, bool Box, bool Relu, Tangent M>
void unit_adjoint_row(const AdjointRow<T>& row) {
  constexpr bool tangent = M != Tangent::none;
  Slider<T, BoxAfter> s_window(row.s), t_window(tangent ? row.t : row.s);
  for (int x = 0; x < row.columns; ++x) {
    Vec<T> s = s_window.at(x) * row.scale, t{};
    if constexpr (tangent) t = t_window.at(x) * row.scale;
    if constexpr (Relu) {
      const Vec<T> f0 = row.tape.f0[x];
      Vec<T> by_norm = s * row.tape.root[x];
      s = s * f0;
      if constexpr (tangent) {
        const Vec<T> slope = t * row.tape.tangent_slope[x];
        by_norm = subtract_product(by_norm, slope, row.tape.s[x]);
        s = s + slope;
        t = t * f0;
      }
      row.log_norm[x] += by_norm;
    }
    if constexpr (tangent && Box) s = s + t;
    row.s_out[x] = s;
    if constexpr (M == Tangent::carried) row.t_out[x] = t;
  }
  row.s_out[row.columns] = Vec<T>{};
  if constexpr (M == Tangent::carried) row.t_out[row.columns] = Vec<T>{};
}

// What enters a level, from what the first unit's window sums: out[x] = scale · (window sum).
template <class T, bool Box>
void spread_row(int columns, Vec<T> scale, const Window<T>& gradient, Vec<T>* out) {
  Slider<T, Box> window(gradient);
  for (int x = 0; x < columns; ++x) out[x] = window.at(x) * scale;
}

// Inner products over the channels (C of them, or `channels` where C is 0).
template <class T, class First, int C>
void product_row(int columns, int channels, const typename First::Element* first, const Vec<T>* second, Vec<T>* out) {
  const int n = C ? C : channels;
  for (int x = 0; x < columns; ++x) {
    Vec<T> sum = First::get(first[x * n]) * second[x * n];
    for (int k = 1; k < n; ++k) sum = multiply_add(First::get(first[x * n + k]), second[x * n + k], sum);
    out[x] = sum;
  }
  out[columns] = Vec<T>{};
}

template <class T, int C>
void product_adjoint_row(int columns, int channels, const Vec<T>* gradient, const Vec<T>* second, Vec<T>* first_out) {
  const int n = C ? C : channels;
  for (int x = 0; x < columns; ++x)
    for (int k = 0; k < n; ++k)
      first_out[x * n + k] = multiply_add(gradient[x], second[x * n + k], first_out[x * n + k]);
}

}  // namespace hpcdistill::HPCD_TARGET
