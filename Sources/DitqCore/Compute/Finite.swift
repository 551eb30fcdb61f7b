// Finite: whether values are numbers. What a model makes of its weights, and what a host passes, is looked at here, sixteen values at a time: a
// thousandth of the time that making them took.

/// The place of the first of some values that is NaN or infinite; nil where there is none.
func firstNonFinite(_ values: UnsafePointer<Float>, _ count: Int) -> Int? {
  // The bits of a magnitude are in the order of magnitudes, those of infinity and of NaN above all others.
  let mask = SIMD16<Int32>(repeating: .max), infinity = Int32(bitPattern: Float.infinity.bitPattern)
  var start = 0
  while start + 16 <= count {
    let end = min(count & ~15, start + 1024)
    var largest = SIMD16<Int32>.zero
    for i in stride(from: start, to: end, by: 16) {
      let magnitudes = UnsafeRawPointer(values + i).loadUnaligned(as: SIMD16<Int32>.self) & mask
      largest.replace(with: magnitudes, where: magnitudes .> largest)
    }
    if largest.max() >= infinity { break }
    start = end
  }
  return (start..<count).first { !values[$0].isFinite }
}
