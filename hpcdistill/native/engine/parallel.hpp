// A loop over tasks shared by threads that live as long as the loop.
#pragma once

#include <functional>

namespace hpcdistill {

// Call `make_body(thread)` once in each of `threads` threads, and what it returns for tasks 0 … n_tasks − 1, each once,
// in any order. Meanwhile the caller's thread calls `poll` ten times a second; where it returns true, no further task
// is begun and the result is false. An exception in a thread is thrown again here.
bool parallel_for(std::size_t n_tasks, int threads, const std::function<std::function<void(std::size_t)>()>& make_body,
                  const std::function<bool()>& poll);

}  // namespace hpcdistill
