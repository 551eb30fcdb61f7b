// The monotonic clock. Times are only reported, never used to decide anything but when to ask the host.

import CPlatform

@export(interface)
package func nanoseconds() -> UInt64 {
  var now = timespec()
  clock_gettime(CLOCK_MONOTONIC, &now)
  return UInt64(now.tv_sec) &* 1_000_000_000 &+ UInt64(now.tv_nsec)
}

@export(interface)
package func seconds(since start: UInt64) -> Double { Double(nanoseconds() &- start) * 1e-9 }
