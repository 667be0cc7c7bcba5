// Put before the C library (LD_PRELOAD) while tests run. A rank of Open MPI that waits for others calls `sched_yield`
// again and again, and takes a core for it. Here it sleeps each time, as Open MPI 5 can
// (threads_pthreads_yield_strategy). Longer sleeps are no better: what comes by TCP is looked at in one of many turns.
#include <ctime>

extern "C" int sched_yield() {
  const timespec time = {0, 50'000};  // nanoseconds
  return nanosleep(&time, nullptr);
}
