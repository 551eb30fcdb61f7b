// A run as bytes, little endian, so that it can go on later, elsewhere, on another instruction set. Refuses what was cut, changed or made
// with another model. The record, byte by byte, numbers of 8 bytes unless they say otherwise:
//
//   0    "DITQRUN" and a zero byte             88   guidance_scale, f64
//   8    version of the format                 96   guidance_begin, f64
//   16   bytes of the whole record             104  guidance_end, f64
//   24   fingerprint of the model, 32 bytes    112  guidance_channels; 0 in early records: by the model
//   56   sampler, never "automatic"            120  eta, f64
//   64   steps                                 128  images
//   72   steps taken                           136  latent values of an image, L
//   80   random numbers, 0 torch, 1 philox     144  the images, one after the other; then 32 bytes, the SHA-256 of all before them
//
//   of an image:  0   label, 4 bytes                       24    the spare normal, f64
//                 4   words used of the 624, 4 bytes       32    mt19937's 624 words of 4 bytes
//                 8   seed                                 2528  L latents, f32
//                 16  1 where a normal is spare, 4 bytes   …     L values, f32: the network's last guess of the finished latents
//                 20  0, 4 bytes
//
// The generator stands there for philox too, which does not use it. Version 2, of samplers that keep values beside, has L more f32 of each image
// at its end; all others are of version 1.

extension Run {
  /// Writes as much of the record as there is room for; the result is how long it is.
  @export(interface)
  package func save(into buffer: UnsafeMutableRawBufferPointer) throws(DitqError) -> Int {
    var byteCount = 0
    try exclusively {
      var header = RunHeader(self)
      byteCount = Int(header.byteCount)
      guard buffer.count > 0 else { return }
      var cursor = RecordCursor(writing: buffer)
      header.move(&cursor)
      for image in 0..<count { cursor.moveImage(image, of: self) }
      guard cursor.offset < buffer.count else { return }
      var checksum = RunHeader.checksum(UnsafeRawBufferPointer(rebasing: buffer[..<cursor.offset]))
      cursor.moveDigest(&checksum)
    }
    return byteCount
  }

  /// A run that goes on where the one that was saved stood.
  @export(interface)
  package convenience init(restoring bytes: UnsafeRawBufferPointer, _ model: Model) throws(DitqError) {
    let header = try RunHeader(reading: bytes, for: model), run = try model.run(header.options())
    guard header.hasHistory == run.hasHistory else {
      throw RunHeader.wrong("version", run.hasHistory ? "2, as its sampler keeps values beside," : "1", String(header.version))
    }
    guard header.stepsTaken <= header.steps else {
      throw RunHeader.wrong("steps taken", "at most " + String(header.steps), String(header.stepsTaken))
    }
    try self.init(model, run, count: Int(header.images), stepsTaken: Int(header.stepsTaken))
    var cursor = RecordCursor(reading: bytes, from: RunHeader.byteCount)
    for image in 0..<count {
      _ = TorchGenerator(seed: 0, in: images.generators + image)
      guard cursor.moveImage(image, of: self) else {
        throw RunHeader.wrong("image " + String(image), "the state of a generator", "another")
      }
    }
    try model.check(labels: labels, count: count)
    try checkFinite("latents", images.latents, count * images.latentCount)
    try checkFinite("guess", images.origins, count * images.latentCount)
    if run.hasHistory { try checkFinite("history", images.histories, count * images.latentCount) }
  }
}

/// All that stands before the images.
private struct RunHeader {
  static let byteCount = 144
  static let checksumBytes = 32
  /// "DITQRUN\0".
  private static let mark: UInt64 = 0x004e_5552_5154_4944
  private static let newestVersion: UInt64 = 2

  private var mark = RunHeader.mark
  private(set) var version: UInt64 = 1
  private(set) var byteCount: UInt64 = 0
  private var fingerprint = SIMD8<UInt32>()
  private var sampler: UInt64 = 0
  private(set) var steps: UInt64 = 0
  private(set) var stepsTaken: UInt64 = 0
  private var random: UInt64 = 0
  private var guidanceScale: UInt64 = 0
  private var guidanceBegin: UInt64 = 0
  private var guidanceEnd: UInt64 = 0
  private var guidanceChannels: UInt64 = 0
  private var eta: UInt64 = 0
  private(set) var images: UInt64 = 0
  private var latentCount: UInt64 = 0

  init(_ run: Run) {
    let sampling = run.sampling, options = sampling.options
    (fingerprint, version) = (run.fingerprint, sampling.hasHistory ? 2 : 1)
    (images, latentCount) = (UInt64(run.count), UInt64(run.images.latentCount))
    byteCount = UInt64(RunHeader.byteCount + run.count * imageBytes(run.images.latentCount) + RunHeader.checksumBytes)
    (sampler, guidanceChannels) = (UInt64(sampling.sampler.rawValue), UInt64(sampling.guidance.channels))
    (steps, stepsTaken, random) = (UInt64(options.steps), UInt64(run.stepsTaken), UInt64(options.random.rawValue))
    guidanceScale = options.guidanceScale.bitPattern
    (guidanceBegin, guidanceEnd, eta) = (options.guidanceBegin.bitPattern, options.guidanceEnd.bitPattern, options.eta.bitPattern)
  }

  /// Checks that the bytes are whole, and of a run of this model; the options are still to be checked.
  init(reading bytes: UnsafeRawBufferPointer, for model: Model) throws(DitqError) {
    let least = RunHeader.byteCount + RunHeader.checksumBytes
    guard bytes.count >= least else { throw RunHeader.wrong("size", "at least " + String(least) + " bytes", String(bytes.count)) }
    var cursor = RecordCursor(reading: bytes, from: 0)
    move(&cursor)
    guard mark == RunHeader.mark else { throw RunHeader.wrong("first bytes", "\"DITQRUN\"", "others") }
    guard version >= 1 && version <= RunHeader.newestVersion else {
      throw DitqError(.unsupported, "run: version", expected: "1 to " + String(RunHeader.newestVersion), found: String(version))
    }
    guard byteCount == bytes.count else { throw RunHeader.wrong("size", String(byteCount) + " bytes, as it says,", String(bytes.count)) }
    let end = bytes.count - RunHeader.checksumBytes
    var recorded = SIMD8<UInt32>()
    cursor = RecordCursor(reading: bytes, from: end)
    cursor.moveDigest(&recorded)
    guard RunHeader.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<end])) == recorded else {
      throw DitqError(.checksumMismatch, "run: SHA-256", expected: "the one at its end", found: "another")
    }
    guard fingerprint == model.fingerprint && latentCount == model.config.latentCount else {
      throw DitqError(.invalidArgument, "model", expected: "the one that the run was saved with", found: "another")
    }
    let (whole, rest) = (end - RunHeader.byteCount).quotientAndRemainder(dividingBy: imageBytes(model.config.latentCount))
    guard rest == 0 && images == whole else { throw RunHeader.wrong("images", String(whole), String(images)) }
  }

  /// Their numbers are still to be checked, but for those that name something.
  func options() throws(DitqError) -> SamplingOptions {
    var options = SamplingOptions()
    guard let sampler = Sampler(rawValue: Int32(clamping: sampler)) else {
      throw RunHeader.wrong("sampler", "1 to " + String(Sampler.allCases.count), String(self.sampler))
    }
    guard let random = RandomNumbers(rawValue: Int32(clamping: random)) else {
      throw RunHeader.wrong("random", "0 or 1", String(self.random))
    }
    (options.sampler, options.random, options.steps) = (sampler, random, Int(clamping: steps))
    options.guidanceChannels = guidanceChannels == 0 ? nil : Int(clamping: guidanceChannels)
    options.guidanceScale = Double(bitPattern: guidanceScale)
    options.guidanceBegin = Double(bitPattern: guidanceBegin)
    options.guidanceEnd = Double(bitPattern: guidanceEnd)
    options.eta = Double(bitPattern: eta)
    return options
  }

  var hasHistory: Bool { version == 2 }

  mutating func move(_ cursor: inout RecordCursor) {
    cursor.move(&mark)
    cursor.move(&version)
    cursor.move(&byteCount)
    cursor.moveDigest(&fingerprint)
    cursor.move(&sampler)
    cursor.move(&steps)
    cursor.move(&stepsTaken)
    cursor.move(&random)
    cursor.move(&guidanceScale)
    cursor.move(&guidanceBegin)
    cursor.move(&guidanceEnd)
    cursor.move(&guidanceChannels)
    cursor.move(&eta)
    cursor.move(&images)
    cursor.move(&latentCount)
  }

  private func imageBytes(_ latentCount: Int) -> Int { 32 + 624 * 4 + (hasHistory ? 3 : 2) * 4 * latentCount }

  static func checksum(_ bytes: UnsafeRawBufferPointer) -> SIMD8<UInt32> {
    var hash = SHA256()
    hash.update(bytes)
    return hash.words()
  }

  static func wrong(_ what: String, _ expected: String, _ found: String) -> DitqError {
    DitqError(.malformed, "run: " + what, expected: expected, found: found)
  }
}

/// Moves numbers, one after the other, from a record or into as much of one as there is room for: the fields are listed once for both.
private struct RecordCursor {
  private let source: UnsafeRawBufferPointer?
  private let target: UnsafeMutableRawBufferPointer?
  private(set) var offset: Int

  init(reading source: UnsafeRawBufferPointer, from offset: Int) { (self.source, target, self.offset) = (source, nil, offset) }
  init(writing target: UnsafeMutableRawBufferPointer) { (source, self.target, offset) = (nil, target, 0) }

  mutating func move<T: FixedWidthInteger>(_ value: inout T) {
    if let source {
      value = T(littleEndian: source.loadUnaligned(fromByteOffset: offset, as: T.self))
    } else if let target {
      withUnsafeBytes(of: value.littleEndian) { bytes in
        for i in 0..<bytes.count where offset + i < target.count { target[offset + i] = bytes[i] }
      }
    }
    offset += MemoryLayout<T>.size
  }

  /// In the order of bytes that SHA-256 has.
  mutating func moveDigest(_ words: inout SIMD8<UInt32>) {
    for i in 0..<8 {
      var word = words[i].byteSwapped
      move(&word)
      words[i] = word.byteSwapped
    }
  }

  private mutating func moveFloats(_ values: UnsafeMutablePointer<Float>, _ count: Int) {
    for i in 0..<count {
      var bits = values[i].bitPattern
      move(&bits)
      values[i] = Float(bitPattern: bits)
    }
  }

  /// False where a generator cannot be in the state that was read.
  @discardableResult
  mutating func moveImage(_ image: Int, of run: Run) -> Bool {
    let states = run.images, generator = states.generators + image
    var used = UInt32(generator.pointee.next), spares: UInt32 = generator.pointee.hasSpare ? 1 : 0, zero: UInt32 = 0
    var spare = generator.pointee.spare.bitPattern
    move(&run.labels[image])
    move(&used)
    move(&states.seeds[image])
    move(&spares)
    move(&zero)
    move(&spare)
    for i in 0..<624 { move(&generator.pointee.words[i]) }
    moveFloats(states.latents + image * states.latentCount, states.latentCount)
    moveFloats(states.origins + image * states.latentCount, states.latentCount)
    if run.sampling.hasHistory { moveFloats(states.histories + image * states.latentCount, states.latentCount) }
    (generator.pointee.next, generator.pointee.hasSpare) = (Int(used), spares == 1)
    generator.pointee.spare = Double(bitPattern: spare)
    return used <= 624 && spares <= 1 && zero == 0 && generator.pointee.spare.isFinite
  }
}
