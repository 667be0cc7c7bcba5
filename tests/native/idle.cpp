// Put before the C library (LD_PRELOAD) while tests run: a rank of Open MPI that waits for others gives its core away
// by `sched_yield`, and has it back at once. Here it sleeps, as Open MPI 5 can (threads_pthreads_yield_strategy).
#include <ctime>

extern "C" int sched_yield() {
  const timespec time = {0, 50'000};
  return nanosleep(&time, nullptr);
}
