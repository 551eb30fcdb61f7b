// How the commands write for people: aligned tables, sizes, counts and decibels. Relies on nothing but the standard library.

import Glibc

/// A text of a file or a path, as terminals and PNG files may have it, in one line: control characters as the library shows them, \n, \x1b, \u0085.
func shown(_ text: String) -> String {
  var result = ""
  for scalar in text.unicodeScalars {
    let digits = String(scalar.value, radix: 16)
    switch scalar {
    case "\n": result += "\\n"
    case "\r": result += "\\r"
    case "\t": result += "\\t"
    case "\u{00}"..."\u{1F}", "\u{7F}": result += "\\x" + (digits.count == 1 ? "0" : "") + digits
    case "\u{80}"..."\u{9F}": result += "\\u00" + digits
    default: result.unicodeScalars.append(scalar)
    }
  }
  return result
}

/// Rows of columns, each as wide as its widest cell; columns in `right` lean to the right. No space at a line's end.
func aligned(_ table: [[String]], right: Set<Int> = []) -> String {
  let rows = table.map { $0.map(shown) }
  let columns = rows.map(\.count).max() ?? 0
  let widths = (0..<columns).map { column in rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0 }
  return rows.map { row in
    let cells = row.enumerated().map { column, cell in
      let space = String(repeating: " ", count: widths[column] - cell.count)
      return right.contains(column) ? space + cell : cell + space
    }
    let line = cells.joined(separator: "  ")
    return String(line[..<(line.lastIndex { $0 != " " }.map { line.index(after: $0) } ?? line.startIndex)])
  }.joined(separator: "\n")
}

/// 14.9 MB, in powers of a thousand.
func size(_ bytes: UInt64) -> String { size(Double(bytes)) }
func size(_ bytes: Double) -> String {
  for (limit, unit) in [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")] where bytes >= limit {
    return "\(fixed(bytes / limit, digits: 1)) \(unit)"
  }
  return "\(fixed(bytes, digits: 0)) bytes"
}

/// 7,450,720.
func grouped(_ number: UInt64) -> String { grouped(digits: String(number)) }
/// A whole number that may be more than 64 bits hold.
func grouped(_ number: Double) -> String { grouped(digits: fixed(number, digits: 0)) }

private func grouped(digits text: String) -> String {
  let digits = Array(text)
  guard digits.allSatisfy(\.isWholeNumber) else { return text }
  return digits.enumerated().map { ($0 > 0 && (digits.count - $0) % 3 == 0 ? "," : "") + String($1) }.joined()
}

/// 29.5 dB; the library says 300 where nothing differs.
func decibels(_ value: Double) -> String {
  guard value.isFinite, abs(value) < 300 else { return value >= 300 ? "no difference" : "-" }
  return "\(value <= -0.05 ? "-" : "")\(fixed(abs(value), digits: 1)) dB"
}

/// 0.65 % of a share of 0.0065; what is there is never said to be nothing.
func percent(_ share: Double) -> String { share > 0 && share < 0.000_05 ? "< 0.01 %" : "\(fixed(share * 100, digits: 2)) %" }

/// As C's %g: 4, 2.5, 1e-05, with as many digits as it takes to read the same number again.
func general(_ value: Double) -> String {
  var result = ""
  for digits in [6, 15, 16, 17] where Double(result) != value {
    var text = [CChar](repeating: 0, count: 32)
    let count = withVaList([digits, value]) { vsnprintf(&text, 32, "%.*g", $0) }
    result = String(decoding: text.prefix(Int(count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
  return result
}

/// How many of each: "24 W8A8, 6 W8, 5 F16", in the order of `names`' first appearances.
func counts(_ names: [String]) -> [(name: String, count: Int)] {
  var result: [(name: String, count: Int)] = []
  for name in names {
    if let index = result.firstIndex(where: { $0.name == name }) {
      result[index].count += 1
    } else {
      result.append((name, 1))
    }
  }
  return result
}
