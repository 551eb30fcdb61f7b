// What this process may use of the machine: CPUs by affinity and cgroup quota, and the instruction sets. Relies on CPlatform, /proc and
// /sys/fs/cgroup; what cannot be read limits nothing.

import CPlatform

/// CPUs this process may use: those of its affinity mask, but no more than its cgroup's quota, rounded up; at least 1.
func availableCPUs() -> Int {
  let affinity = max(1, Int(ditqp_affinity_count()))
  guard let quota = cgroupQuota() else { return affinity }
  return min(affinity, max(1, Int(quota.rounded(.up))))
}

/// The smallest CPU quota on the way from this process's cgroup to the root, in CPUs; nil where there is none.
private func cgroupQuota() -> Double? {
  guard let table = readSmallFile("/proc/self/cgroup") else { return nil }
  var smallest: Double?
  for line in table.split(separator: UInt8(ascii: "\n")) {
    let fields = line.split(separator: UInt8(ascii: ":"), maxSplits: 2, omittingEmptySubsequences: false)
    guard fields.count == 3 else { continue }
    let unified = fields[1].isEmpty
    guard unified || fields[1].split(separator: UInt8(ascii: ",")).contains(where: { $0.elementsEqual("cpu".utf8) }) else { continue }
    var path = Array(fields[2])
    while true {
      let folder = "/sys/fs/cgroup" + (unified ? "" : "/cpu") + String(decoding: path, as: UTF8.self)
      let quota = unified ? unifiedQuota(readSmallFile(folder + "/cpu.max")) : legacyQuota(folder)
      if let quota { smallest = min(smallest ?? quota, quota) }
      guard let slash = path.lastIndex(of: UInt8(ascii: "/")) else { break }
      path.removeSubrange(slash...)
    }
  }
  return smallest
}

/// CPUs of a cgroup v2 cpu.max: "150000 100000" is 1.5, "max 100000" no limit.
func unifiedQuota(_ text: [UInt8]?) -> Double? {
  guard let fields = text?.split(whereSeparator: { $0 <= 32 }), fields.count == 2 else { return nil }
  return quota(fields[0], fields[1])
}

private func legacyQuota(_ folder: String) -> Double? {
  guard let quotaText = readSmallFile(folder + "/cpu.cfs_quota_us"), let periodText = readSmallFile(folder + "/cpu.cfs_period_us") else {
    return nil
  }
  return quota(quotaText.prefix { $0 > 32 }, periodText.prefix { $0 > 32 })
}

private func quota(_ quota: ArraySlice<UInt8>, _ period: ArraySlice<UInt8>) -> Double? {
  guard let quota = decimal(quota), let period = decimal(period), quota > 0, period > 0 else { return nil }
  return Double(quota) / Double(period)
}

/// An unsigned decimal number of at most 15 digits, and nothing else.
private func decimal(_ digits: ArraySlice<UInt8>) -> Int? {
  guard (1...15).contains(digits.count) else { return nil }
  var value = 0
  for digit in digits {
    guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
    value = value * 10 + Int(digit - UInt8(ascii: "0"))
  }
  return value
}
