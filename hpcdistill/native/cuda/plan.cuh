// Types of the plan that an architecture is compiled for (hpcdistill/kernels/cuda_plan.py writes its constants, from
// engine/plan.hpp, and says what a level, a plane and a task are).
#pragma once

namespace hpcdistill {

enum class Emit { pool, sum, result, nothing };

struct Unit {
  bool box, relu;
  bool tangent_in, tangent_out;
  double scale, bias;
  int map;
  int filters;  // box filters of its level up to this unit
};

struct Level {
  int height, width;
  int first_unit, n_units;
  bool tangent_in;
  Emit emit;
  int s_store, t_store;       // where the planes that enter it start in the store of a pair
  int n_rounds;               // see Lane::round
  int first_phase, n_phases;  // phases[first_phase + k] … phases[first_phase + k + 1] are the tasks of phase k
};

// What one lane does in a task: a column of a plane, row by row.
struct alignas(16) Lane {
  int p, q;  // its first pixel in either image
  int rows;  // of its plane; none for an idle lane, the most in lane 0
  int flags;
  int entry, entry_stride;                     // its first element among the planes that enter the level
  int top;                                     // row of p
  int pooled_end;                              // rows of p from here on are dropped by the pooling
  int pooled_even, pooled_odd, pooled_stride;  // where even and odd rows of p go, at half their row; kDropped
  int round;  // lanes that may meet at one pixel p in different planes add to its gradient one round after another
};
constexpr int kHasLeft = 1, kHasRight = 2, kPairsRight = 4, kEmits = 8, kEvenRows = 16;
constexpr int kDropped = -(1 << 30);

}  // namespace hpcdistill
