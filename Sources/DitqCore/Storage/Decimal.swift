// A decimal number as a file writes it, digit by digit, and the double next to it. Relies on nothing; refuses nothing: what is beyond doubles
// is infinite or 0.

/// mantissa · 10^exponent. strtod would do, but it follows the host's locale.
struct Decimal {
  private var mantissa: UInt64 = 0
  var exponent = 0

  /// Digits after the nineteenth are dropped: they weigh less than a fiftieth of half a unit of the double's last place.
  mutating func append(_ digit: UInt64, isFraction: Bool) {
    let fits = mantissa < 1_000_000_000_000_000_000
    if fits { mantissa = mantissa * 10 + digit }
    if fits == isFraction { exponent += isFraction ? -1 : 1 }
  }

  /// Scaled as the sum of two doubles, which carries over 100 bits: correctly rounded but for ties closer than that, and for subnormals.
  var nearestDouble: Double {
    guard mantissa > 0, exponent > -400 else { return 0 }
    guard exponent < 400 else { return .infinity }
    // Away from where the range of doubles ends, for the low part would lose its bits there.
    let shift = exponent > 0 ? 0x1p-200 : 0x1p200
    var high = Double(mantissa) * shift
    var low = Double(Int64(bitPattern: mantissa &- UInt64(Double(mantissa)))) * shift
    var rest = exponent.magnitude
    while rest > 0 {
      var power = 1.0  // powers of ten up to 10²² are doubles
      for _ in 0..<min(rest, 22) { power *= 10 }
      rest -= min(rest, 22)
      let scaled = exponent > 0 ? high * power : high / power
      let correction =
        exponent > 0 ? (-scaled).addingProduct(high, power) + low * power : (high.addingProduct(-scaled, power) + low) / power
      high = scaled + correction
      low = correction - (high - scaled)
    }
    return high / shift
  }
}
