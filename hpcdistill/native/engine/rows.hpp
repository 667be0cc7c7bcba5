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
  Vec<T>*s, *f0, *root, *slope;  // S before the ReLU; f0; n1 n2 root; ∂T'/∂S
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

// S and T of one column behind a unit's linear part.
template <class T>
struct Covariance {
  Vec<T> s{}, t{};
};

template <class T, bool Box, Tangent M>
struct Linear {
  Slider<T, Box> s_window, t_window;
  Vec<T> scale, bias;

  template <class Row>
  HPCD_INLINE explicit Linear(const Row& row)
      : s_window(row.s), t_window(M == Tangent::carried ? row.t : row.s), scale(row.scale), bias(row.bias) {}

  HPCD_INLINE Covariance<T> at(int x) {
    const Vec<T> s = multiply_add(s_window.at(x), scale, bias);
    if constexpr (M == Tangent::none) return {s, Vec<T>{}};
    if constexpr (M == Tangent::born) return {s, s};
    const Vec<T> t = t_window.at(x);
    return {s, Box ? multiply_add(t, scale, s) : t * scale};
  }
};

// A ReLU at one column: what its adjoint needs of it, and what comes out.
template <class T>
struct Rectified {
  Vec<T> f0, root, slope;
  Covariance<T> out;
};

template <class T, class First, Tangent M, bool Adjoint>
HPCD_INLINE Rectified<T> rectify(const UnitRow<T, First>& row, int x, Covariance<T> in) {
  const Vec<T> inverse1 = First::get(row.inverse1[x]), inverse2 = row.inverse2[x];
  const Vec<T> c = in.s * inverse1 * inverse2;
  const Angle<T> a = angle<T>(c);
  const Vec<T> norms = First::get(row.norm1[x]) * row.norm2[x], through = in.s * a.f0;
  Rectified<T> r{a.f0, norms * a.root, {}, {multiply_add(norms, a.root, through), {}}};
  if constexpr (M == Tangent::born) r.out.t = through;
  if constexpr (M == Tangent::carried) r.out.t = in.t * a.f0;
  if constexpr (Adjoint && M != Tangent::none) {
    const Vec<T> ratio = M == Tangent::born ? c : in.t * inverse1 * inverse2;
    const Vec<T> slope = ratio * (broadcast<T>(T(kOneOverTwoPi * kOneOverTwoPi)) / a.root);
    r.slope = a.root > broadcast<T>(Limits<T>::singular) ? slope : Vec<T>{};
  }
  return r;
}

// What comes out of a unit at column x, from what its linear part made.
template <class T, class First, bool Relu, Tangent M, Pass P>
HPCD_INLINE Covariance<T> leave_unit(const UnitRow<T, First>& row, int x, Covariance<T> value) {
  if constexpr (Relu && P == Pass::diagonal) {
    const Vec<T> s = value.s > Vec<T>{} ? value.s : Vec<T>{}, norm = square_root(s);
    row.norm2[x] = norm;
    row.inverse2[x] = norm > Vec<T>{} ? broadcast<T>(1) / norm : Vec<T>{};
    value.s = s * broadcast<T>(0.5);
  } else if constexpr (Relu) {
    const Rectified<T> r = rectify<T, First, M, P == Pass::taped>(row, x, value);
    if constexpr (P == Pass::taped) {
      row.tape.s[x] = value.s;
      row.tape.f0[x] = r.f0;
      row.tape.root[x] = r.root;
      if constexpr (M != Tangent::none) row.tape.slope[x] = r.slope;
    }
    value = r.out;
  }
  return value;
}

template <class T, class First, bool Box, bool Relu, Tangent M, Pass P>
void unit_row(const UnitRow<T, First>& row) {
  Linear<T, Box, M> linear(row);
  for (int x = 0; x < row.columns; ++x) {
    const Covariance<T> value = leave_unit<T, First, Relu, M, P>(row, x, linear.at(x));
    row.s_out[x] = value.s;
    if constexpr (M != Tangent::none) row.t_out[x] = value.t;
  }
  row.s_out[row.columns] = Vec<T>{};
  if constexpr (M != Tangent::none) row.t_out[row.columns] = Vec<T>{};
}

// Rows of pooled planes that the columns of a plane's row go to, two to one. An even offset has one: columns 2k and
// 2k + 1 go to column k of [0]. An odd one has two: column 2k goes to [0], 2k + 1 to [1]. What is beyond `count`, and
// all of a row that is not wanted (count 0), is dropped.
template <class T>
struct PooledRows {
  Vec<T>*s[2], *t[2];
  int count[2];
};

// A level's last unit, its row added to the pooled planes.
template <class T, class First, bool Box, bool Relu, Tangent M, Pass P, bool Even>
void pooled_row(const UnitRow<T, First>& row, const PooledRows<T>& out) {
  Linear<T, Box, M> linear(row);
  const auto at = [&](int x) { return leave_unit<T, First, Relu, M, P>(row, x, linear.at(x)); };
  const auto add = [&](int i, int k, const Covariance<T>& value) {
    out.s[i][k] += value.s;
    if constexpr (M != Tangent::none) out.t[i][k] += value.t;
  };
  for (int k = 0; 2 * k < row.columns; ++k) {
    const int x = 2 * k;
    const bool second = x + 1 < row.columns;
    if constexpr (Even) {
      Covariance<T> sum = at(x);
      if (second) {
        const Covariance<T> other = at(x + 1);
        sum.s += other.s;
        sum.t += other.t;
      }
      if (k < out.count[0]) add(0, k, sum);
    } else {
      for (int i = 0; i < 1 + second; ++i) {
        if (k < out.count[i])
          add(i, k, at(x + i));
        else
          linear.at(x + i);
      }
    }
  }
}

// Gradients with respect to what comes out of a unit, one column of them turned into those of its window's sums (before
// its scale). `log_norm` += n1 ∂/∂n1.
template <class T, bool Box, bool Relu, Tangent M>
HPCD_INLINE Covariance<T> unit_adjoint(Covariance<T> g, Vec<T> s, Vec<T> f0, Vec<T> root, Vec<T> slope,
                                       Vec<T>* log_norm) {
  if constexpr (Relu) {
    Vec<T> by_norm = g.s * root;
    g.s = g.s * f0;
    if constexpr (M != Tangent::none) {
      const Vec<T> through = g.t * slope;
      by_norm = subtract_product(by_norm, through, s);
      g.s = g.s + through;
      g.t = g.t * f0;
    }
    *log_norm += by_norm;
  }
  if constexpr (M != Tangent::none && Box) g.s = g.s + g.t;
  return g;
}

template <class T>
struct AdjointRow {
  int columns;
  Vec<T> scale;    // of the unit that follows
  Window<T> s, t;  // gradients with respect to what that unit's window sums; of the last unit: to what comes out of it
  Tape<T> tape;
  Vec<T>* log_norm;
  Vec<T>*s_out, *t_out;

  template <Tangent M>
  HPCD_INLINE void put(int x, Covariance<T> g) const {
    s_out[x] = g.s;
    if constexpr (M == Tangent::carried) t_out[x] = g.t;
  }
};

// The adjoint of a unit's row from its tape. `BoxAfter`: the unit that follows has a box filter, its own adjoint.
template <class T, bool BoxAfter, bool Box, bool Relu, Tangent M>
void unit_adjoint_row(const AdjointRow<T>& row) {
  constexpr bool tangent = M != Tangent::none;
  Slider<T, BoxAfter> s_window(row.s), t_window(tangent ? row.t : row.s);
  const Vec<T> scale = row.scale;
  for (int x = 0; x < row.columns; ++x) {
    Covariance<T> g{s_window.at(x) * scale, Vec<T>{}};
    if constexpr (tangent) g.t = t_window.at(x) * scale;
    const Tape<T>& tape = row.tape;
    if constexpr (Relu)
      g = unit_adjoint<T, Box, Relu, M>(g, tape.s[x], tape.f0[x], tape.root[x], tangent ? tape.slope[x] : Vec<T>{},
                                        row.log_norm + x);
    else
      g = unit_adjoint<T, Box, Relu, M>(g, Vec<T>{}, Vec<T>{}, Vec<T>{}, Vec<T>{}, nullptr);
    row.template put<M>(x, g);
  }
  row.template put<M>(row.columns, Covariance<T>{});
}

// A level's last unit, forward and back in one go; gradients with respect to what leaves it are in back.s, back.t.
template <class T, class First, bool Box, bool Relu, Tangent M>
HPCD_INLINE void turn_column(const UnitRow<T, First>& row, const AdjointRow<T>& back, int x, Covariance<T> value,
                             Covariance<T> g) {
  if constexpr (Relu) {
    const Rectified<T> r = rectify<T, First, M, true>(row, x, value);
    g = unit_adjoint<T, Box, Relu, M>(g, value.s, r.f0, r.root, r.slope, back.log_norm + x);
  } else {
    g = unit_adjoint<T, Box, Relu, M>(g, Vec<T>{}, Vec<T>{}, Vec<T>{}, Vec<T>{}, nullptr);
  }
  back.template put<M>(x, g);
}

template <class T, class First, bool Box, bool Relu, Tangent M>
void turning_row(const UnitRow<T, First>& row, const AdjointRow<T>& back) {
  Linear<T, Box, M> linear(row);
  for (int x = 0; x < row.columns; ++x) {
    Covariance<T> g{back.s.middle[x], Vec<T>{}};
    if constexpr (M != Tangent::none) g.t = back.t.middle[x];
    turn_column<T, First, Box, Relu, M>(row, back, x, linear.at(x), g);
  }
  back.template put<M>(row.columns, Covariance<T>{});
}

// The same where the gradients are those of pooled planes.
template <class T, class First, bool Box, bool Relu, Tangent M, bool Even>
void pooled_turning_row(const UnitRow<T, First>& row, const AdjointRow<T>& back, const PooledRows<T>& in) {
  Linear<T, Box, M> linear(row);
  for (int k = 0; 2 * k < row.columns; ++k)
    for (int i = 0; i < 2 && 2 * k + i < row.columns; ++i) {
      const int from = Even ? 0 : i, x = 2 * k + i;
      const Covariance<T> value = linear.at(x);
      if (k < in.count[from]) {
        Covariance<T> g{in.s[from][k], Vec<T>{}};
        if constexpr (M != Tangent::none) g.t = in.t[from][k];
        turn_column<T, First, Box, Relu, M>(row, back, x, value, g);
      } else {
        back.template put<M>(x, Covariance<T>{});
      }
    }
  back.template put<M>(row.columns, Covariance<T>{});
}

// Gradients with respect to what the first unit's window sums, from those of the sums.
template <class T, bool Box>
void scale_row(int columns, Vec<T> scale, const Window<T>& gradient, Vec<T>* out) {
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

// *out += the sum of a row.
template <class T>
void sum_row(int columns, const Vec<T>* in, Vec<T>* out) {
  Vec<T> sum = *out;
  for (int x = 0; x < columns; ++x) sum += in[x];
  *out = sum;
}

template <class T>
void fill_row(int columns, Vec<T> value, Vec<T>* out) {
  for (int x = 0; x < columns; ++x) out[x] = value;
}

// first_out += gradient times second, where the gradient is that of what the first unit's window sums.
template <class T, bool Box, int C>
void product_adjoint_row(int columns, int channels, Vec<T> scale, const Window<T>& gradient, const Vec<T>* second,
                         Vec<T>* first_out) {
  const int n = C ? C : channels;
  Slider<T, Box> window(gradient);
  for (int x = 0; x < columns; ++x) {
    const Vec<T> g = window.at(x) * scale;
    for (int k = 0; k < n; ++k) first_out[x * n + k] = multiply_add(g, second[x * n + k], first_out[x * n + k]);
  }
}

}  // namespace hpcdistill::HPCD_TARGET
