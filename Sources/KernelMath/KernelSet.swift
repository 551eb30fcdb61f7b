// KernelSet: what the functions of this module are methods of. Each kernel module conforms a type of its own, and with it every function it
// uses is specialized under a name of its own. Without that, what the compiler does not inline would have one name in several modules, each
// compiled for another CPU, and the linker would keep any of them.

/// An instruction set, as a type without values.
public protocol KernelSet {
  /// Rows of the register tile.
  static var tileRows: Int { get }
  /// sums [rows][32] = tile [depth][rows] · panel [depth][32], for 1 to `tileRows` rows.
  static func multiplyTile(
    _ rows: Int, _ tile: UnsafePointer<Float>, _ panel: UnsafePointer<Float>, _ depth: Int, _ sums: UnsafeMutablePointer<Float>)
}
