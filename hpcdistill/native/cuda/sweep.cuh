// A task: one warp takes a few planes of a level row by row, one lane per column, all units of the level in flight.
//
// Horizontal neighbours come by shuffle, vertical ones stay in registers: a unit with a box filter puts out row y when
// row y + 1 has come in. Rows and columns outside the plane are zero. The adjoint recomputes the level in the same
// sweep: unit u gives the gradients of row y back as many rows later as there are box filters behind it, there and back
// again; until then the row waits on a tape in registers. The formulas are engine/rows.hpp's.
#pragma once

#include "angle.cuh"
#include "plan.cuh"

namespace hpcdistill {

constexpr unsigned kAllLanes = 0xffffffffu;

// The pair that a block works on. Pixels are planar, (channels, height, width).
template <class T>
struct Pair {
  const T *pixels1, *norms1, *pixels2;
  T* norms2;                   // written where an image meets itself (Mode::diagonal)
  T* store;                    // planes that enter each level, later their gradients
  T* gradient;                 // of this warp: pixels, then n ∂/∂n of every norm, of the first image
  const T* own_norm_gradient;  // of all warps (Mode::diagonal_adjoint)
  T cotangent;
};

enum class Mode {
  forward,
  adjoint,
  diagonal,  // p = q of an image with itself: c = 1; S is the variance, and its norm is written out
  diagonal_adjoint
};

template <class T>
struct Covariance {
  T s, t;
};

template <class Net, class T, int L, Mode M>
class Sweep {
  static constexpr Level level = Net::levels[L];
  static constexpr int n_units = level.n_units;
  static constexpr bool goes_back = M == Mode::adjoint || M == Mode::diagonal_adjoint;

  template <int U>
  static constexpr Unit unit = Net::units[level.first_unit + U];

  // Rows by which units 0 … U delay what comes in, all units do, and the adjoint of unit U comes after it.
  template <int U>
  static constexpr int filters = unit<U>.filters;
  static constexpr int n_filters = filters<n_units - 1>;
  template <int U>
  static constexpr int delay = 2 * (n_filters - filters<U>);

  // Sums of the gradient, which are far away, are asked for at the start of the row that adds to them.
  static constexpr bool sums_early = M == Mode::adjoint && level.n_rounds == 1;

 public:
  __device__ __forceinline__ Sweep(const Lane& lane, const Pair<T>& pair)
      : lane_(lane),
        pair_(pair),
        left_((lane.flags & kHasLeft) ? T(1) : T(0)),
        right_((lane.flags & kHasRight) ? T(1) : T(0)) {}

  // Returns what leaves the level, summed over the lane's column (Emit::sum), or its last row (Emit::result).
  __device__ __forceinline__ Covariance<T> run() {
    const int rows = __shfl_sync(kAllLanes, lane_.rows, 0), end = rows + (goes_back ? 2 : 1) * n_filters;
#pragma unroll 2
    for (int time = 0; time < end; ++time) {
      if constexpr (sums_early) fetch_sums<0>(time);
      const Covariance<T> out = units<0>(enter(time), time);
      const int y = time - n_filters;
      if constexpr (!goes_back) {
        if (y >= 0) leave(out, y);
      } else {
        hand_back(units_back<n_units - 1>(gradient_of_output(y), time), time - 2 * n_filters);
      }
    }
    return total_;
  }

 private:
  __device__ __forceinline__ bool has(int y) const { return unsigned(y) < unsigned(lane_.rows); }

  static __device__ __forceinline__ Covariance<T> inside(Covariance<T> value, bool is_inside) {
    return {is_inside ? value.s : T(0), is_inside ? value.t : T(0)};
  }

  // Sum of a value and its neighbours to the left and right.
  __device__ __forceinline__ T across(T value) const {
    const T left = __shfl_up_sync(kAllLanes, value, 1), right = __shfl_down_sync(kAllLanes, value, 1);
    return fused(right_, right, fused(left_, left, value));
  }
  // Sum over three rows of sums of three, the newest being `value`'s. `rows` keeps the sum of the last two, and the
  // last.
  __device__ __forceinline__ T window(T (&rows)[2], T value) const {
    const T newest = across(value), sum = rows[0] + newest;
    rows[0] = rows[1] + newest;
    rows[1] = newest;
    return sum;
  }

  // What comes in as row y: products of pixels, or the planes that the level before has pooled. Rows of images that are
  // not there may be read (kMargin), and what is read is not used; but of planes a lane reads its own alone, as other
  // warps may be writing to theirs.
  __device__ __forceinline__ Covariance<T> enter(int y) const {
    Covariance<T> in{};
    if constexpr (L == 0) {
      const int p = lane_.p + y * Net::width, q = lane_.q + y * Net::width;
      in.s = pair_.pixels1[p] * pair_.pixels2[q];
#pragma unroll
      for (int c = 1; c < Net::channels; ++c)
        in.s = fused(pair_.pixels1[c * Net::pixels + p], pair_.pixels2[c * Net::pixels + q], in.s);
    } else if (has(y)) {
      const int at = lane_.entry + y * lane_.entry_stride;
      in.s = pair_.store[level.s_store + at];
      if constexpr (level.tangent_in) in.t = pair_.store[level.t_store + at];
    }
    return inside(in, has(y));
  }

  template <int U>
  __device__ __forceinline__ Covariance<T> units(Covariance<T> in, int time) {
    if constexpr (U == n_units)
      return in;
    else
      return units<U + 1>(step<U>(in, time - filters<U>), time);
  }

  // Row y through unit U; zero outside the plane.
  template <int U>
  __device__ __forceinline__ Covariance<T> step(Covariance<T> in, int y) {
    constexpr Unit u = unit<U>;
    constexpr bool born = u.tangent_out && !u.tangent_in;
    Covariance<T> value{};
    value.s = fused(u.box ? window(s_rows_[U], in.s) : in.s, T(u.scale), T(u.bias));
    if constexpr (u.tangent_in) {
      const T t = u.box ? window(t_rows_[U], in.t) : in.t;
      value.t = u.box ? fused(t, T(u.scale), value.s) : t * T(u.scale);
    } else if constexpr (born) {
      value.t = value.s;
    }
    if constexpr (u.relu && M == Mode::diagonal) {
      value = diagonal_relu(value, u.map + lane_.p + y * level.width, has(y));
    } else if constexpr (u.relu) {
      value = relu<U>(value, y);
    }
    return inside(value, has(y));
  }

  __device__ __forceinline__ Covariance<T> diagonal_relu(Covariance<T> value, int at, bool is_inside) {
    const T s = value.s > T(0) ? value.s : T(0);
    if (is_inside) pair_.norms2[at] = norm_of(s);
    return {T(0.5) * s, T(0)};
  }

  template <int U>
  __device__ __forceinline__ Covariance<T> relu(Covariance<T> in, int y) {
    constexpr Unit u = unit<U>;
    const int at = u.map + y * level.width;
    const T norms = pair_.norms1[at + lane_.p] * pair_.norms2[at + lane_.q], over = reciprocal(norms);
    const T inverse = norms > T(0) ? over : T(0), c = in.s * inverse;
    const Angle<T> a = angle(c);
    const T root = norms * a.root;
    if constexpr (goes_back) {
      T slope = T(0);
      if constexpr (u.tangent_out) {
        const T steep = in.t * inverse * (T(kOneOverTwoPi * kOneOverTwoPi) * reciprocal(a.root));
        slope = a.root > Limits<T>::singular ? steep : T(0);
      }
      record<U>(in.s, a.f0, root, slope);
    }
    return {fused(in.s, a.f0, root), in.t * a.f0};
  }

  template <int U>
  __device__ __forceinline__ void record(T s, T f0, T root, T slope) {
    T(&tape)[2 * n_units + 1][4] = tape_[U];
#pragma unroll
    for (int k = delay<U>; k > 0; --k)
#pragma unroll
      for (int i = 0; i < 4; ++i) tape[k][i] = tape[k - 1][i];
    tape[0][0] = s, tape[0][1] = f0, tape[0][2] = root, tape[0][3] = slope;
  }

  // Where row y of the lane's column goes in the store of the next level; kDropped if nowhere.
  __device__ __forceinline__ int pooled(int y) const {
    const int row = lane_.top + y, start = row & 1 ? lane_.pooled_odd : lane_.pooled_even;
    return row < lane_.pooled_end && start != kDropped ? start + (row >> 1) * lane_.pooled_stride : kDropped;
  }

  // Row y out of the level. Two rows, or two columns, that go to the same element of a pooled plane go there as one.
  __device__ __forceinline__ void leave(Covariance<T> out, int y) {
    if constexpr (level.emit == Emit::sum) {
      total_.s += out.s;
      total_.t += out.t;
    } else if constexpr (level.emit == Emit::result) {
      if (has(y)) total_ = out;
    } else if constexpr (level.emit == Emit::pool) {
      constexpr Level next = Net::levels[L + 1];
      const T s = __shfl_down_sync(kAllLanes, out.s, 1),
              t = next.tangent_in ? __shfl_down_sync(kAllLanes, out.t, 1) : T(0);
      const bool pairs = lane_.flags & kPairsRight;
      out.s += pairs ? s : T(0);
      out.t += pairs ? t : T(0);
      const bool even_rows = lane_.flags & kEvenRows, second = (lane_.top + y) & 1;
      if (even_rows && !second) {
        total_ = out;  // waits for the row below
      } else {
        const int at = has(y) && (lane_.flags & kEmits) ? pooled(y) : kDropped;
        if (at != kDropped) {
          pair_.store[next.s_store + at] += even_rows ? total_.s + out.s : out.s;
          if constexpr (next.tangent_in) pair_.store[next.t_store + at] += even_rows ? total_.t + out.t : out.t;
        }
      }
    }
  }

  // Gradients with respect to row y of what leaves the level.
  __device__ __forceinline__ Covariance<T> gradient_of_output(int y) const {
    constexpr bool tangent = unit<n_units - 1>.tangent_out;
    Covariance<T> g{};
    if (!has(y)) return g;
    if constexpr (level.emit == Emit::result) {
      (Net::tangent ? g.t : g.s) = pair_.cotangent;
    } else if constexpr (level.emit == Emit::sum) {
      constexpr Level next = Net::levels[L + 1];
      g.s = pair_.store[next.s_store];
      if constexpr (tangent) g.t = pair_.store[next.t_store];
    } else if constexpr (level.emit == Emit::pool) {
      constexpr Level next = Net::levels[L + 1];
      const int at = pooled(y);
      if (at != kDropped) {
        g.s = pair_.store[next.s_store + at];
        if constexpr (tangent) g.t = pair_.store[next.t_store + at];
      }
    }
    return g;
  }

  // Row of which unit U gives the gradients back at a time.
  template <int U>
  static __device__ __forceinline__ int row_back(int time) {
    return time - n_filters - (n_filters - filters<U>);
  }

  // What the gradient has so far of the rows that are given back at this time.
  template <int U>
  __device__ __forceinline__ void fetch_sums(int time) {
    if constexpr (U < n_units) {
      const int y = row_back<U>(time);
      if (unit<U>.relu && has(y)) norm_sums_[U] = pair_.gradient[norm_at<U>(y)];
      fetch_sums<U + 1>(time);
    } else if constexpr (L == 0) {
      const int y = time - 2 * n_filters;
#pragma unroll
      for (int c = 0; c < Net::channels; ++c)
        if (has(y)) pixel_sums_[c] = pair_.gradient[c * Net::pixels + lane_.p + y * Net::width];
    }
  }
  template <int U>
  __device__ __forceinline__ int norm_at(int y) const {
    return Net::channels * Net::pixels + unit<U>.map + lane_.p + y * level.width;
  }

  template <class Add>
  __device__ __forceinline__ void in_rounds(const Add& add) const {
    if constexpr (level.n_rounds == 1) {
      add();
    } else {
      for (int k = 0; k < level.n_rounds; ++k) {
        if (lane_.round == k) add();
        __syncwarp();
      }
    }
  }

  // From gradients of what comes out of unit U to those of what came into the level.
  template <int U>
  __device__ __forceinline__ Covariance<T> units_back(Covariance<T> g, int time) {
    constexpr Unit u = unit<U>;
    const int y = row_back<U>(time);
    g = step_back<U>(g, y);
    Covariance<T> in{};
    in.s = T(u.scale) * (u.box ? window(s_back_[U], g.s) : g.s);
    if constexpr (u.tangent_in) in.t = T(u.scale) * (u.box ? window(t_back_[U], g.t) : g.t);
    if constexpr (U == 0)
      return in;
    else
      return units_back<U - 1>(in, time);
  }

  // Gradients of row y through unit U's ReLU, and the part of T's that S has (T ← … + S).
  template <int U>
  __device__ __forceinline__ Covariance<T> step_back(Covariance<T> g, int y) {
    constexpr Unit u = unit<U>;
    if constexpr (u.relu) {
      const T(&tape)[4] = tape_[U][delay<U>];
      T by_norm = g.s * tape[2];
      g.s *= tape[1];
      if constexpr (u.tangent_out) {
        const T through = g.t * tape[3];
        by_norm = fused(-through, tape[0], by_norm);
        g.s += through;
        g.t *= tape[1];
      }
      if constexpr (M == Mode::adjoint)
        in_rounds([&] {
          T& sum = pair_.gradient[norm_at<U>(y)];
          if (has(y)) sum = (sums_early ? norm_sums_[U] : sum) + by_norm;
        });
      if constexpr (M == Mode::diagonal_adjoint)
        if (has(y)) {  // S is the variance V there, and ∂/∂V = (n ∂/∂n) / 2V
          const int at = u.map + lane_.p + y * level.width;
          const T norm = pair_.norms1[at], inverse = norm > T(0) ? T(1) / norm : T(0);
          g.s += pair_.own_norm_gradient[at] * inverse * inverse;
        }
    }
    if constexpr (u.tangent_out && u.box) g.s += g.t;
    return inside(g, has(y));
  }

  // Gradients of row y of what came in: on to the pixels, or in place of the planes.
  __device__ __forceinline__ void hand_back(Covariance<T> g, int y) {
    if constexpr (L == 0) {
      const int p = lane_.p + y * Net::width, q = lane_.q + y * Net::width;
      in_rounds([&] {
        if (!has(y)) return;
#pragma unroll
        for (int c = 0; c < Net::channels; ++c) {
          T& sum = pair_.gradient[c * Net::pixels + p];
          sum = fused(g.s, pair_.pixels2[c * Net::pixels + q], sums_early ? pixel_sums_[c] : sum);
        }
      });
    } else if (has(y)) {
      const int at = lane_.entry + y * lane_.entry_stride;
      pair_.store[level.s_store + at] = g.s;
      if constexpr (level.tangent_in) pair_.store[level.t_store + at] = g.t;
    }
  }

  const Lane& lane_;
  const Pair<T>& pair_;
  const T left_, right_;
  Covariance<T> total_{};
  T s_rows_[n_units][2]{}, t_rows_[n_units][2]{}, s_back_[n_units][2]{}, t_back_[n_units][2]{};
  T tape_[n_units][2 * n_units + 1][4]{};
  T norm_sums_[n_units]{}, pixel_sums_[Net::channels]{};
};

}  // namespace hpcdistill
