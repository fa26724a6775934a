#pragma once

// All of weft but its I/O, which is in <weft/io/...>, and <weft/stop_token.hpp>.
#include <weft/barrier.hpp>
#include <weft/bounded_semaphore.hpp>
#include <weft/cancelled.hpp>
#include <weft/condition.hpp>
#include <weft/deadline.hpp>
#include <weft/deadlock.hpp>
#include <weft/diag.hpp>
#include <weft/event.hpp>
#include <weft/fiber.hpp>
#include <weft/fiber_ref.hpp>
#include <weft/latch.hpp>
#include <weft/local.hpp>
#include <weft/lock.hpp>
#include <weft/once.hpp>
#include <weft/rlock.hpp>
#include <weft/runtime.hpp>
#include <weft/semaphore.hpp>
#include <weft/shared_lock.hpp>
#include <weft/testing.hpp>
#include <weft/this_fiber.hpp>
#include <weft/thread.hpp>
#include <weft/timeout.hpp>
#include <weft/timer.hpp>
#include <weft/wait_group.hpp>
